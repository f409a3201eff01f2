// The product over rows that XLA calls.
//
//   codegemma_rows: x bfloat16 [M, K], y bfloat16 [M, N] -> float32 [K, N]
//
// A task makes a part of the result from all rows, chunk by chunk in their order, and packs what it needs for itself: that
// costs less than waiting for each other after each chunk. How a number is summed does not depend on the threads.
#include <algorithm>
#include <atomic>
#include <string>

#include "calls.h"
#include "memory.h"
#include "pool.h"
#include "rows.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace codegemma {
namespace {

constexpr int64_t kChunkRows = 512;     // a panel of y's takes 64 KiB
constexpr int64_t kTilesTogether = 32;  // columns of x are packed 32 tiles at a time: a whole number of registers
constexpr int64_t kMostTiles = 64;      // of a task: 384 KiB packed, which stay in the second-level cache
constexpr int64_t kMostPanels = 8;      // of a task
constexpr int64_t kLeastTiles = 16, kLeastPanels = 2;  // fewer, and packing takes its time
constexpr int64_t kTasksPerThread = 4;

const RowProduct* available() {
#if defined(__x86_64__)
  if (has_avx512_bf16()) return &kRowProductAvx512Bf16;
#endif
  return nullptr;
}

// The operands, and how many tiles and panels a task takes.
struct Part {
  const uint16_t *x, *y;
  float* out;
  int64_t m, k, n, tiles, panels;
};

// The part of the result that begins at a tile and a panel; false where there is no memory.
bool make(const Part& part, const RowProduct& level, int64_t first_tile, int64_t first_panel) {
  const int64_t k0 = first_tile * kTile, n0 = first_panel * kPanel;
  const int64_t width_k = std::min(part.tiles * kTile, part.k - k0), width_n = std::min(part.panels * kPanel, part.n - n0);
  const int64_t tiles = ceil(width_k, kTile), panels = ceil(width_n, kPanel);
  const int64_t most_pairs = ceil(std::min(part.m, kChunkRows), 2);
  const Memory tiled = allocate(ceil(tiles, kTilesTogether) * kTilesTogether * kTile * most_pairs * 4);
  const Memory panelled = allocate(kPanel * most_pairs * 4);
  if (tiled == nullptr || panelled == nullptr) return false;
  uint32_t *of_tiles = static_cast<uint32_t*>(tiled.get()), *of_panel = static_cast<uint32_t*>(panelled.get());
  for (int64_t row = 0; row < part.m; row += kChunkRows) {
    const int64_t count = std::min(kChunkRows, part.m - row), pairs = ceil(count, 2);
    level.pack_tiles(part.x + row * part.k + k0, count, part.k, width_k, of_tiles);
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t c = panel * kPanel, width = std::min(kPanel, width_n - c);
      level.pack_panel(part.y + row * part.n + n0 + c, count, part.n, width, of_panel);
      for (int64_t tile = 0; tile < tiles; ++tile)
        level.add(of_tiles + tile * kTile * pairs, of_panel, pairs, std::min(kTile, width_k - tile * kTile),
                  width, row == 0, part.out + (k0 + tile * kTile) * part.n + n0 + c, part.n);
    }
  }
  return true;
}

ffi::Error rows(ffi::Buffer<ffi::BF16> x, ffi::Buffer<ffi::BF16> y, ffi::ResultBuffer<ffi::F32> out) {
  const auto of_x = x.dimensions(), of_y = y.dimensions(), of_out = out->dimensions();
  if (of_x.size() != 2 || of_y.size() != 2 || of_x[0] != of_y[0]) return bad("operands must be [M, K] and [M, N]");
  const int64_t m = of_x[0], k = of_x[1], n = of_y[1];
  if (of_out.size() != 2 || of_out[0] != k || of_out[1] != n) return bad("the result must be [K, N]");
  const RowProduct* level = available();
  if (level == nullptr) return lacks_avx512_bf16();
  float* sums = out->typed_data();
  if (m == 0) std::fill(sums, sums + k * n, 0.0f);
  if (m == 0 || k == 0 || n == 0) return ffi::Error::Success();

  const int64_t tiles = ceil(k, kTile), panels = ceil(n, kPanel);
  int64_t tiles_each = std::min(tiles, kMostTiles), panels_each = std::min(panels, kMostPanels);
  while (ceil(tiles, tiles_each) * ceil(panels, panels_each) < kTasksPerThread * thread_count()) {
    if (tiles_each * kTile >= panels_each * kPanel && tiles_each / 2 >= kLeastTiles)
      tiles_each = ceil(tiles_each, 2);
    else if (panels_each / 2 >= kLeastPanels)
      panels_each = ceil(panels_each, 2);
    else if (tiles_each / 2 >= kLeastTiles)
      tiles_each = ceil(tiles_each, 2);
    else
      break;
  }
  const Part part = {bits(x), bits(y), sums, m, k, n, tiles_each, panels_each};
  const int64_t across = ceil(panels, panels_each);
  std::atomic<bool> failed{false};
  parallel_for(ceil(tiles, tiles_each) * across, [&](int64_t task) {
    if (!make(part, *level, task / across * tiles_each, task % across * panels_each)) failed = true;
  });
  if (failed) return no_memory("to pack rows in");
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_rows, rows,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::BF16>>()
                                  .Arg<ffi::Buffer<ffi::BF16>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());

}  // namespace codegemma

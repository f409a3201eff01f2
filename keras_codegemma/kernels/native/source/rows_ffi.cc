// The product over rows that XLA calls.
//
//   codegemma_rows: x bfloat16 [M, K], y bfloat16 [M, N] -> float32 [K, N]
//
// Rows are summed in chunks, in their order, so the result does not depend on the number of threads.
#include <algorithm>
#include <atomic>
#include <string>

#include "levels.h"
#include "memory.h"
#include "pool.h"
#include "rows.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace codegemma {
namespace {

constexpr int64_t kChunkRows = 512;    // a panel of y's takes 64 KiB, which stay in the second-level cache
constexpr int64_t kTilesOfTask = 22;   // of x, that a task multiplies with its panel
constexpr int64_t kTilesTogether = 32; // columns of x are packed 32 tiles at a time: a whole number of registers

ffi::Error bad(const char* message) { return ffi::Error::InvalidArgument(std::string("codegemma: ") + message); }

const RowProduct* available() {
#if defined(__x86_64__)
  if (level_for(true) == &kAvx512Bf16) return &kRowProductAvx512Bf16;
#endif
  return nullptr;
}

ffi::Error rows(ffi::Buffer<ffi::BF16> x, ffi::Buffer<ffi::BF16> y, ffi::ResultBuffer<ffi::F32> out) {
  const auto of_x = x.dimensions(), of_y = y.dimensions(), of_out = out->dimensions();
  if (of_x.size() != 2 || of_y.size() != 2 || of_x[0] != of_y[0]) return bad("operands must be [M, K] and [M, N]");
  const int64_t m = of_x[0], k = of_x[1], n = of_y[1];
  if (of_out.size() != 2 || of_out[0] != k || of_out[1] != n) return bad("the result must be [K, N]");
  const RowProduct* level = available();
  if (level == nullptr) return bad("this processor, or the limit that was set, lacks AVX-512 BF16");
  float* sums = out->typed_data();
  if (m == 0) std::fill(sums, sums + k * n, 0.0f);

  const int64_t tiles = (k + kTile - 1) / kTile, panels = (n + kPanel - 1) / kPanel;
  const int64_t most_pairs = (std::min(m, kChunkRows) + 1) / 2;
  const int64_t groups = (tiles + kTilesTogether - 1) / kTilesTogether;
  const Memory tiled = allocate(groups * kTilesTogether * kTile * most_pairs * 4);
  const Memory panelled = allocate(panels * kPanel * most_pairs * 4);
  if (tiled == nullptr || panelled == nullptr) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "codegemma: memory");
  uint32_t *of_tiles = static_cast<uint32_t*>(tiled.get()), *of_panels = static_cast<uint32_t*>(panelled.get());
  const uint16_t *from_x = reinterpret_cast<const uint16_t*>(x.typed_data()),
                 *from_y = reinterpret_cast<const uint16_t*>(y.typed_data());

  for (int64_t row = 0; row < m; row += kChunkRows) {
    const int64_t count = std::min(kChunkRows, m - row), pairs = (count + 1) / 2;
    const uint16_t *chunk_x = from_x + row * k, *chunk_y = from_y + row * n;
    parallel_for(panels + groups, [&](int64_t task) {
      if (task < panels) {
        const int64_t c = task * kPanel;
        level->pack_panel(chunk_y + c, count, n, std::min(kPanel, n - c), of_panels + c * pairs);
      } else {
        const int64_t c = (task - panels) * kTilesTogether * kTile;
        level->pack_tiles(chunk_x + c, count, k, std::min(kTilesTogether * kTile, k - c), of_tiles + c * pairs);
      }
    });
    const int64_t parts = (tiles + kTilesOfTask - 1) / kTilesOfTask;
    parallel_for(panels * parts, [&](int64_t task) {
      const int64_t c = task % panels * kPanel, begin = task / panels * kTilesOfTask;
      for (int64_t tile = begin; tile < std::min(begin + kTilesOfTask, tiles); ++tile)
        level->add(of_tiles + tile * kTile * pairs, of_panels + c * pairs, pairs, std::min(kTile, k - tile * kTile),
                   std::min(kPanel, n - c), row == 0, sums + tile * kTile * n + c, n);
    });
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_rows, rows,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::BF16>>()
                                  .Arg<ffi::Buffer<ffi::BF16>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());

}  // namespace codegemma

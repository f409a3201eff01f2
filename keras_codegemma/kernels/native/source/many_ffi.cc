// The products of many rows that XLA calls.
//
//   codegemma_many_kn: x bfloat16 [M, K], weight bfloat16 [K, N] or [heads, K, N / heads] -> bfloat16 or float32 [M, N]
//   codegemma_many_nk: x bfloat16 [M, K], weight bfloat16 [N, K]                          -> bfloat16 or float32 [M, N]
//   codegemma_many_quantized: as codegemma_nk, of bfloat16 rows and int8 or int4
//
// A number is summed over the inputs in one order, whatever the rows beside it and the threads.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "calls.h"
#include "many.h"
#include "memory.h"
#include "operands.h"
#include "pages.h"
#include "pool.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace codegemma {
namespace {

constexpr int64_t kMostRows = 1024;      // of a task, or packed at a time
constexpr int64_t kLeastRows = 128;      // fewer, and packing the weights takes its time
constexpr int64_t kTasksPerThread = 4;

const ManyLevel* available() {
#if defined(__x86_64__)
  if (has_avx512_bf16()) return &kManyAvx512Bf16;
#endif
  return nullptr;
}

ffi::Error no_memory() { return codegemma::no_memory("to pack rows in"); }

struct Call {
  const uint16_t *x, *weight;
  char* out;
  bool out_is_bfloat16;
  int64_t m, n, k;

  ManyOut out_at(int64_t row, int64_t column) const {
    return {out + (row * n + column) * (out_is_bfloat16 ? 2 : 4), out_is_bfloat16, n};
  }
};

ffi::Error prepare(Call& call, const Halves& x, const Halves& weight, ffi::Result<ffi::AnyBuffer>& out) {
  const auto of_x = x.dimensions(), of_out = out->dimensions();
  if (of_x.size() != 2 || of_out.size() != 2 || of_x[0] != of_out[0]) return bad("rows must be [M, K] and [M, N]");
  call = {bits(x), bits(weight), static_cast<char*>(out->untyped_data()),
          out->element_type() == ffi::DataType::BF16, of_x[0], of_out[1], of_x[1]};
  if (!call.out_is_bfloat16 && out->element_type() != ffi::DataType::F32) return bad("results are bfloat16 or float32");
  if (call.k == 0 || call.k % 2 || static_cast<int64_t>(weight.element_count()) != call.n * call.k)
    return bad("weights must have as many inputs as rows have columns, an even number");
  if (available() == nullptr) return lacks_avx512_bf16();
  prefer_large_pages(weight.untyped_data(), weight.size_bytes());
  return ffi::Error::Success();
}

ffi::Error by_inputs(Halves x, Halves weight, ffi::Result<ffi::AnyBuffer> out) {
  Call call;
  if (auto error = prepare(call, x, weight, out); error.failure()) return error;
  const auto shape = weight.dimensions();
  if (shape.size() < 2 || shape.size() > 3 || shape[shape.size() - 2] != call.k) return bad("weights must be [.., K, N]");
  const int64_t width = shape.back(), heads = shape.size() == 3 ? shape[0] : 1, panels = ceil(width, kManyColumns);
  int64_t rows = std::min(call.m, kMostRows);
  while (heads * panels * ceil(call.m, rows) < kTasksPerThread * thread_count() && rows / 2 >= kLeastRows)
    rows = ceil(rows, 2);
  const int64_t row_parts = ceil(call.m, rows);
  std::atomic<bool> failed{false};
  parallel_for(heads * panels * row_parts, [&](int64_t task) {
    const int64_t m0 = task % row_parts * rows, panel = task / row_parts, head = panel / panels;
    const int64_t n0 = panel % panels * kManyColumns;
    thread_local Kept kept;
    Memory own;
    uint32_t* packed = static_cast<uint32_t*>(kept.get((kManyInputs / 2 + rows) * kManyColumns * 4, own));
    if (packed == nullptr) {
      failed = true;
      return;
    }
    available()->by_inputs(call.x + m0 * call.k, std::min(rows, call.m - m0), call.k,
                           call.weight + head * call.k * width + n0, width, std::min(kManyColumns, width - n0), packed,
                           reinterpret_cast<float*>(packed + kManyInputs / 2 * kManyColumns),
                           call.out_at(m0, head * width + n0));
  });
  return failed ? no_memory() : ffi::Error::Success();
}

// Packs rows [m, k], some at a time, and calls `run` with the first of them, how many there are, and their tiles.
template <class Run>
ffi::Error with_packed(const uint16_t* x, int64_t m, int64_t k, const Run& run) {
  const int64_t words = k / 2 * kManyColumns;
  thread_local Kept kept;
  Memory own;
  uint32_t* tiles = static_cast<uint32_t*>(kept.get(ceil(std::min(m, kMostRows), kManyColumns) * words * 4, own));
  if (tiles == nullptr) return no_memory();
  for (int64_t m0 = 0; m0 < m; m0 += kMostRows) {
    const int64_t rows = std::min(kMostRows, m - m0);
    parallel_for(ceil(rows, kManyColumns), [&](int64_t tile) {
      const int64_t first = tile * kManyColumns;
      available()->pack(x + (m0 + first) * k, std::min(kManyColumns, rows - first), k, tiles + tile * words);
    });
    run(m0, rows, tiles);
  }
  return ffi::Error::Success();
}

// Calls `run` with the first of up to kManyColumns outputs, and with the tiles from `first` up to `last` that are to be
// multiplied with them.
template <class Run>
void over_outputs(int64_t n, int64_t tiles, const Run& run) {
  const int64_t parts = ceil(n, kManyColumns);
  int64_t together = tiles;
  while (parts * ceil(tiles, together) < kTasksPerThread * thread_count() && together > 1) together = ceil(together, 2);
  const int64_t groups = ceil(tiles, together);
  parallel_for(parts * groups, [&](int64_t task) {
    const int64_t first = task % groups * together;
    run(task / groups * kManyColumns, first, std::min(first + together, tiles));
  });
}

ffi::Error by_outputs(Halves x, Halves weight, ffi::Result<ffi::AnyBuffer> out) {
  Call call;
  if (auto error = prepare(call, x, weight, out); error.failure()) return error;
  const int64_t words = call.k / 2 * kManyColumns;
  return with_packed(call.x, call.m, call.k, [&](int64_t m0, int64_t rows, const uint32_t* tiles) {
    over_outputs(call.n, ceil(rows, kManyColumns), [&](int64_t n0, int64_t first, int64_t last) {
      alignas(64) float sums[kManyColumns * kManyColumns];
      for (int64_t tile = first; tile < last; ++tile)
        available()->by_outputs(tiles + tile * words, std::min(kManyColumns, rows - tile * kManyColumns), call.k,
                                call.weight + n0 * call.k, std::min(kManyColumns, call.n - n0), sums,
                                call.out_at(m0 + tile * kManyColumns, n0));
    });
  });
}

// Whether there was memory.
bool multiply(const Product& product, int64_t m0, int64_t rows, const uint32_t* tiles) {
  const Weights& w = product.weights;
  std::atomic<bool> failed{false};
  over_outputs(w.n, ceil(rows, kManyColumns), [&](int64_t n0, int64_t first, int64_t last) {
    constexpr int64_t kDecodedBytes = kManyColumns * kManyDecodedPitch * 2;
    thread_local Kept kept;
    Memory own;
    char* scratch = static_cast<char*>(kept.get(kDecodedBytes + (last - first) * kManyColumns * kManyColumns * 4, own));
    if (scratch == nullptr) {
      failed = true;
      return;
    }
    const int64_t row = first * kManyColumns;
    const ManyOut out = {static_cast<char*>(product.out) + ((m0 + row) * w.n + n0) * (product.out_is_bfloat16 ? 2 : 4),
                         product.out_is_bfloat16, w.n};
    available()->by_quantized(tiles + row * (w.k / 2), std::min(last * kManyColumns, rows) - row, w, n0,
                              std::min(kManyColumns, w.n - n0), reinterpret_cast<uint16_t*>(scratch),
                              reinterpret_cast<float*>(scratch + kDecodedBytes), out);
  });
  return !failed;
}

ffi::Error quantized(Halves x, ffi::RemainingArgs args, ffi::RemainingRets rets, int64_t format, int64_t group,
                     int64_t) {
  const auto of_x = x.dimensions();
  if (of_x.size() != 2 || of_x[1] == 0 || of_x[1] % 2) return bad("rows must be [M, K], K even");
  if (format != kInt8 && format != kInt4) return bad("weights must be int8 or int4");
  if (available() == nullptr) return lacks_avx512_bf16();
  std::vector<Product> products;
  if (auto error = read_products(args, rets, of_x[0], of_x[1], format, group, products); error.failure()) return error;
  bool failed = false;
  auto error = with_packed(bits(x), of_x[0], of_x[1], [&](int64_t m0, int64_t rows, const uint32_t* tiles) {
    for (const Product& product : products) failed = !multiply(product, m0, rows, tiles) || failed;
  });
  return failed ? no_memory() : error;
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_many_kn, by_inputs,
                              ffi::Ffi::Bind().Arg<Halves>().Arg<Halves>().Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_many_nk, by_outputs,
                              ffi::Ffi::Bind().Arg<Halves>().Arg<Halves>().Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_many_quantized, quantized,
                              ffi::Ffi::Bind()
                                  .Arg<Halves>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<int64_t>("format")
                                  .Attr<int64_t>("group")
                                  .Attr<int64_t>("heads"));

}  // namespace codegemma

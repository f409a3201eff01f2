// The products that XLA calls.
//
//   codegemma_nk, codegemma_kn: (x [M, K], then data and scale of each of W weights) -> W products [M, N]
//   attributes: format (`Format`), group (of int4, else 0), heads (kn: a weight is `heads` matrices [K, N / heads])
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "errors.h"
#include "kernels.h"
#include "levels.h"
#include "memory.h"
#include "operands.h"
#include "pool.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace codegemma {
namespace {

constexpr int64_t kChunk = 64;       // outputs that a thread takes at once from rows of weights, at least
constexpr int64_t kShare = 1024;     // inputs that are summed by themselves from a row per input, a multiple of 16
constexpr int64_t kSplitColumns = 2048;  // fewer columns a thread than this, and threads split the inputs instead
constexpr int64_t kSumBytes = 65536;     // sums of one panel, which stay in the second-level cache

struct Call {
  const Level* level;
  bool x_is_bfloat16;
  int64_t rows, k;
  Memory packed;
  size_t row_bytes;
  std::vector<Product> products;
};

bool is_bfloat16(const ffi::AnyBuffer& buffer) { return buffer.element_type() == ffi::DataType::BF16; }

ffi::Error prepare(Call& call, ffi::AnyBuffer x, ffi::RemainingArgs args, ffi::RemainingRets rets, int64_t format,
                   int64_t group) {
  if (x.dimensions().size() != 2) return bad("activations must be [M, K]");
  if (!is_bfloat16(x) && x.element_type() != ffi::DataType::F32) return bad("activations must be bfloat16 or float32");
  call.x_is_bfloat16 = is_bfloat16(x);
  call.rows = x.dimensions()[0];
  call.k = x.dimensions()[1];
  call.level = level_for(call.x_is_bfloat16);
  if (auto error = read_products(args, rets, call.rows, call.k, format, group, call.products); error.failure())
    return error;
  const Format kind = static_cast<Format>(format);
  call.row_bytes = call.level->packed_row_bytes(kind, call.x_is_bfloat16, call.k);
  call.packed = allocate(call.rows * call.row_bytes);
  if (call.packed == nullptr) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "codegemma: out of memory");
  const char* from = static_cast<const char*>(x.untyped_data());
  const int64_t stride = call.k * (call.x_is_bfloat16 ? 2 : 4);
  auto pack = [&](int64_t m) {
    call.level->pack_row(kind, from + m * stride, call.x_is_bfloat16, call.k,
                         static_cast<char*>(call.packed.get()) + m * call.row_bytes);
  };
  if (call.rows > kFewRows)
    parallel_for(call.rows, pack);
  else
    for (int64_t m = 0; m < call.rows; ++m) pack(m);
  return ffi::Error::Success();
}

// A piece of one product.
struct Piece {
  int64_t product, begin, end;
};

std::vector<Piece> pieces(const Call& call, int64_t threads, int64_t multiple) {
  int64_t total = 0;
  for (const Product& product : call.products) total += product.weights.n;
  // Several pieces a thread, so that a thread that is held up delays the others little.
  const int64_t aimed = std::max(multiple, total / (threads * 8) / multiple * multiple);
  std::vector<Piece> found;
  for (size_t i = 0; i < call.products.size(); ++i)
    for (int64_t n = 0; n < call.products[i].weights.n; n += aimed)
      found.push_back({static_cast<int64_t>(i), n, std::min(n + aimed, call.products[i].weights.n)});
  return found;
}

ffi::Error nk(ffi::AnyBuffer x, ffi::RemainingArgs args, ffi::RemainingRets rets, int64_t format, int64_t group,
              int64_t) {
  Call call;
  if (auto error = prepare(call, x, args, rets, format, group); error.failure()) return error;
  const auto found = pieces(call, thread_count(), kChunk);
  std::atomic<bool> failed{false};
  parallel_for(static_cast<int64_t>(found.size()), [&](int64_t index) {
    const Piece& piece = found[index];
    const Product& product = call.products[piece.product];
    const Memory scratch = allocate(call.level->nk_scratch_bytes(call.rows, call.k));
    if (scratch == nullptr) {
      failed = true;
      return;
    }
    call.level->nk(product.weights, call.packed.get(), call.x_is_bfloat16, call.rows, piece.begin, piece.end,
                   product.out, product.out_is_bfloat16, product.weights.n, scratch.get());
  });
  if (failed) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "codegemma: out of memory");
  return ffi::Error::Success();
}

// A row per input. Whether threads split columns or inputs, sums are made of the same shares of the inputs in the same
// order, so that neither batch-mates nor the number of threads change anything.

int64_t shares(int64_t k) { return (k + kShare - 1) / kShare; }

// Sums [rows, stride] of one share of the inputs, of columns begin .. end.
void sum_share(const Call& call, const Weights& w, int64_t share, int64_t m0, int64_t rows, int64_t begin, int64_t end,
               float* sums, int64_t stride) {
  std::memset(sums, 0, rows * stride * 4);
  const char* packed = static_cast<const char*>(call.packed.get()) + m0 * call.row_bytes;
  call.level->kn(w, packed, call.x_is_bfloat16, rows, share * kShare, std::min((share + 1) * kShare, w.k), begin, end,
                 sums, stride);
}

void add(const float* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

// Panels of columns, each summed over all inputs by one thread.
ffi::Error kn_by_columns(const Call& call, int64_t heads, int64_t m0, int64_t rows) {
  struct Panel {
    int64_t product, head, begin, end;
  };
  std::vector<Panel> panels;
  for (size_t i = 0; i < call.products.size(); ++i) {
    const int64_t columns = call.products[i].weights.n / heads;
    int64_t width = std::max<int64_t>(kSumBytes / (4 * rows) / 32 * 32, 32);
    width = std::min(width, std::max<int64_t>((columns / (thread_count() * 4) + 31) / 32 * 32, kSplitColumns));
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t n = 0; n < columns; n += width)
        panels.push_back({static_cast<int64_t>(i), head, n, std::min(n + width, columns)});
  }
  std::atomic<bool> failed{false};
  parallel_for(static_cast<int64_t>(panels.size()), [&](int64_t index) {
    const Panel& panel = panels[index];
    const Product& product = call.products[panel.product];
    Weights matrix = product.weights;
    matrix.n /= heads;
    matrix.data = static_cast<const char*>(matrix.data) + panel.head * matrix.n * matrix.k * 2;
    const int64_t stride = (panel.end - panel.begin + 31) / 32 * 32;
    const Memory memory = allocate(2 * rows * stride * 4);
    if (memory == nullptr) {
      failed = true;
      return;
    }
    float *sums = static_cast<float*>(memory.get()), *own = sums + rows * stride;
    for (int64_t share = 0; share < shares(matrix.k); ++share) {
      sum_share(call, matrix, share, m0, rows, panel.begin, panel.end, share == 0 ? sums : own, stride);
      if (share > 0) add(own, rows * stride, sums);
    }
    const int64_t size = product.out_is_bfloat16 ? 2 : 4;
    for (int64_t m = 0; m < rows; ++m) {
      const int64_t place = (m0 + m) * product.weights.n + panel.head * matrix.n + panel.begin;
      call.level->kn_finish(sums + m * stride, panel.end - panel.begin,
                            static_cast<char*>(product.out) + place * size, product.out_is_bfloat16);
    }
  });
  if (failed) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "codegemma: out of memory");
  return ffi::Error::Success();
}

// All columns, each thread over some of the inputs, which are the weights as they lie in memory.
ffi::Error kn_by_inputs(const Call& call, int64_t m0, int64_t rows) {
  thread_local Kept kept;
  for (const Product& product : call.products) {
    const Weights& w = product.weights;
    const int64_t stride = (w.n + 31) / 32 * 32, count = rows * stride;
    Memory own;
    float* sums = static_cast<float*>(kept.get(shares(w.k) * count * 4, own));
    if (sums == nullptr) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "codegemma: out of memory");
    parallel_for(shares(w.k),
                 [&](int64_t share) { sum_share(call, w, share, m0, rows, 0, w.n, sums + share * count, stride); });
    for (int64_t share = 1; share < shares(w.k); ++share) add(sums + share * count, count, sums);
    const int64_t size = product.out_is_bfloat16 ? 2 : 4;
    for (int64_t m = 0; m < rows; ++m)
      call.level->kn_finish(sums + m * stride, w.n, static_cast<char*>(product.out) + (m0 + m) * w.n * size,
                            product.out_is_bfloat16);
  }
  return ffi::Error::Success();
}

// Sums of two rows at most are few beside the weights, and reading these as they lie is worth writing all of them.
bool is_by_inputs(const Call& call, int64_t heads, int64_t rows) {
  const bool is_narrow = call.products[0].weights.n < thread_count() * kSplitColumns;
  return heads == 1 && (is_narrow || (rows <= 2 && shares(call.k) >= thread_count()));
}

ffi::Error kn(ffi::AnyBuffer x, ffi::RemainingArgs args, ffi::RemainingRets rets, int64_t format, int64_t group,
              int64_t heads) {
  if (format != kBfloat16) return bad("weights with a row per input must be bfloat16");
  Call call;
  if (auto error = prepare(call, x, args, rets, format, group); error.failure()) return error;
  for (int64_t m = 0; m < call.rows; m += kFewRows) {
    const int64_t rows = std::min(kFewRows, call.rows - m);
    auto error = is_by_inputs(call, heads, rows) ? kn_by_inputs(call, m, rows) : kn_by_columns(call, heads, m, rows);
    if (error.failure()) return error;
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_nk, nk,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<int64_t>("format")
                                  .Attr<int64_t>("group")
                                  .Attr<int64_t>("heads"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_kn, kn,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<int64_t>("format")
                                  .Attr<int64_t>("group")
                                  .Attr<int64_t>("heads"));

}  // namespace codegemma

extern "C" {

int codegemma_threads() { return codegemma::thread_count(); }

int codegemma_interface() { return 10; }
}

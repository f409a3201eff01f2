// The causal attention over whole rows that XLA calls, for training.
//
//   codegemma_causal:          query [B, T, N, H], key, value [B, T, K, H], segments int32 [B, T]
//                              -> output [B, T, N, H], log_total float32 [B, N, T]
//   codegemma_causal_backward: the same, then output, log_total and the output's gradient -> gradients of the first three
//
// All bfloat16 where nothing else is said. How a number is summed does not depend on the threads.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "causal.h"
#include "calls.h"
#include "memory.h"
#include "pool.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace codegemma {
namespace {

using HalvesOut = ffi::ResultBuffer<ffi::BF16>;

// Fewer rows times key-value heads than this, and each query head is a task of its own, with sums of its own.
constexpr int64_t kFewTasks = 8;

const CausalLevel* available() {
#if defined(__x86_64__)
  if (has_avx512_bf16()) return &kCausalAvx512Bf16;
#endif
  return nullptr;
}


ffi::Error no_memory() { return codegemma::no_memory("for attention"); }

// Shapes, and the range of segments in each tile.
struct Call {
  CausalShape shape;
  CausalOperands operands;
  std::vector<int32_t> lowest, highest;
};

ffi::Error prepare(Call& call, const Halves& query, const Halves& key, const Halves& value,
                   const ffi::Buffer<ffi::S32>& segments) {
  const auto q = query.dimensions(), k = key.dimensions(), v = value.dimensions(), s = segments.dimensions();
  if (q.size() != 4 || k.size() != 4 || v.size() != 4 || s.size() != 2) return bad("arrays of a wrong number of axes");
  call.shape = {q[0], q[1], q[2], k[2], q[3]};
  const CausalShape& shape = call.shape;
  if (k[0] != q[0] || k[1] != q[1] || k[3] != q[3] || !std::equal(k.begin(), k.end(), v.begin()) || s[0] != q[0] ||
      s[1] != q[1] || shape.kv_heads == 0 || shape.heads % shape.kv_heads || shape.width % 16)
    return bad("shapes that do not fit");
  const int32_t* from = segments.typed_data();
  for (int64_t b = 0; b < shape.batch; ++b)
    for (int64_t tile = 0; tile < shape.tiles(); ++tile) {
      const int32_t* first = from + b * shape.time + tile * kAttended;
      const auto found = std::minmax_element(first, first + std::min(kAttended, shape.time - tile * kAttended));
      call.lowest.push_back(*found.first);
      call.highest.push_back(*found.second);
    }
  call.operands = {bits(query), bits(key), bits(value), from, call.lowest.data(), call.highest.data()};
  return available() ? ffi::Error::Success() : lacks_avx512_bf16();
}

ffi::Error forward(Halves query, Halves key, Halves value, ffi::Buffer<ffi::S32> segments, HalvesOut out,
                   ffi::ResultBuffer<ffi::F32> log_total) {
  Call call;
  if (auto error = prepare(call, query, key, value, segments); error.failure()) return error;
  const CausalShape& shape = call.shape;
  const CausalLevel& level = *available();
  const int64_t tiles = shape.tiles();
  thread_local Kept kept;
  Memory own;
  uint32_t* values = static_cast<uint32_t*>(kept.get(shape.batch * shape.kv_heads * tiles * shape.packed() * 4, own));
  if (values == nullptr) return no_memory();
  parallel_for(shape.batch * shape.kv_heads * tiles, [&](int64_t i) {
    const int64_t b = i / (shape.kv_heads * tiles), head = i / tiles % shape.kv_heads, first = i % tiles * kAttended;
    const int64_t stride = shape.kv_heads * shape.width;
    level.pack_pairs(call.operands.value + (b * shape.time + first) * stride + head * shape.width,
                     std::min(kAttended, shape.time - first), stride, shape.width, values + i * shape.packed());
  });
  std::atomic<bool> failed{false};
  // The last tiles see the most keys and come first, so that no thread begins a long one when others have ended.
  parallel_for(shape.batch * shape.heads * tiles, [&](int64_t i) {
    const int64_t tile = tiles - 1 - i / (shape.batch * shape.heads), row = i % (shape.batch * shape.heads);
    const int64_t b = row / shape.heads, head = row % shape.heads;
    const Memory scratch = allocate(level.forward_words(shape) * 4);
    if (scratch == nullptr) {
      failed = true;
      return;
    }
    level.forward(shape, call.operands, values + (b * shape.kv_heads + head / shape.group()) * tiles * shape.packed(), b,
                  head, tile, static_cast<uint32_t*>(scratch.get()), bits(out), log_total->typed_data());
  });
  return failed ? no_memory() : ffi::Error::Success();
}

ffi::Error backward(Halves query, Halves key, Halves value, ffi::Buffer<ffi::S32> segments, Halves output,
                    ffi::Buffer<ffi::F32> log_total, Halves gradient, HalvesOut query_gradient, HalvesOut key_gradient,
                    HalvesOut value_gradient) {
  Call call;
  if (auto error = prepare(call, query, key, value, segments); error.failure()) return error;
  const CausalShape& shape = call.shape;
  const CausalLevel& level = *available();
  const CausalGradients gradients = {bits(output), bits(gradient), log_total.typed_data(), bits(query_gradient)};
  const int64_t shared = shape.batch * shape.kv_heads;
  const int64_t parts = shared < kFewTasks ? shape.group() : 1, heads = shape.group() / parts;
  const int64_t size = shape.tiles() * kAttended * shape.width;
  thread_local Kept kept;
  Memory own;
  float* sums = static_cast<float*>(kept.get(shared * parts * 2 * size * 4, own));
  if (sums == nullptr) return no_memory();
  std::atomic<bool> failed{false};
  parallel_for(shared * parts, [&](int64_t i) {
    thread_local Kept of_task;
    Memory large;
    uint32_t* scratch = static_cast<uint32_t*>(of_task.get(level.backward_words(shape) * 4, large));
    if (scratch == nullptr) {
      failed = true;
      return;
    }
    float *of_key = sums + i * 2 * size, *of_value = of_key + size;
    std::memset(of_key, 0, 2 * size * 4);
    const int64_t b = i / (shape.kv_heads * parts), first = i % (shape.kv_heads * parts) * heads;
    level.backward(shape, call.operands, gradients, b, first, first + heads, scratch, of_key, of_value);
  });
  if (failed) return no_memory();
  const int64_t stride = shape.kv_heads * shape.width;
  parallel_for(shared * shape.tiles(), [&](int64_t i) {
    const int64_t row = i / shape.tiles(), t0 = i % shape.tiles() * kAttended;
    float* from = sums + row * parts * 2 * size;
    for (int64_t t = t0; t < std::min(t0 + kAttended, shape.time); ++t) {
      const int64_t to = (row / shape.kv_heads * shape.time + t) * stride + row % shape.kv_heads * shape.width;
      for (int64_t which = 0; which < 2; ++which) {
        float* first = from + which * size + t * shape.width;
        for (int64_t part = 1; part < parts; ++part)
          for (int64_t h = 0; h < shape.width; ++h) first[h] += first[part * 2 * size + h];
        level.narrow(first, shape.width, (which == 0 ? bits(key_gradient) : bits(value_gradient)) + to);
      }
    }
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_causal, forward,
                              ffi::Ffi::Bind()
                                  .Arg<Halves>()
                                  .Arg<Halves>()
                                  .Arg<Halves>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::BF16>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_causal_backward, backward,
                              ffi::Ffi::Bind()
                                  .Arg<Halves>()
                                  .Arg<Halves>()
                                  .Arg<Halves>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<Halves>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<Halves>()
                                  .Ret<ffi::Buffer<ffi::BF16>>()
                                  .Ret<ffi::Buffer<ffi::BF16>>()
                                  .Ret<ffi::Buffer<ffi::BF16>>());

}  // namespace codegemma

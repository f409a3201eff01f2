// The normalisation that XLA calls. Rows are [M, D], bfloat16 or float32, the scale is float32 [D].
//
//   codegemma_norm:              x, scale                               -> normed
//   codegemma_add_norm:          x, residual, scale                     -> x + residual, normed
//   codegemma_norm_backward:     rows, scale, of_normed                 -> gradients of rows and, float32, scale
//   codegemma_add_norm_backward: rows, scale, of_normed, of_rows        -> the same
//
// The scale's gradient is summed over the same shares of the rows in the same order, whatever the threads.
#include <algorithm>
#include <cstring>

#include "errors.h"
#include "kernels.h"
#include "levels.h"
#include "memory.h"
#include "pool.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace codegemma {
namespace {

using Scale = ffi::Buffer<ffi::F32>;
using Out = ffi::Result<ffi::AnyBuffer>;

constexpr int64_t kChunk = 16;   // rows that a thread takes at once
constexpr int64_t kShares = 64;  // of the rows, at most, whose sums for the scale are kept apart

struct Call {
  NormRows shape;
  bool is_bfloat16;
  int64_t row_bytes;
};

const char* at(const ffi::AnyBuffer* buffer, const Call& call, int64_t row) {
  return buffer == nullptr ? nullptr : static_cast<const char*>(buffer->untyped_data()) + row * call.row_bytes;
}

char* at(Out& buffer, const Call& call, int64_t row) {
  return static_cast<char*>(buffer->untyped_data()) + row * call.row_bytes;
}

ffi::Error prepare(Call& call, const ffi::AnyBuffer& x, const Scale& scale, float epsilon) {
  const auto shape = x.dimensions();
  if (shape.size() != 2 || static_cast<int64_t>(scale.element_count()) != shape[1])
    return bad("rows must be [M, D] and the scale [D]");
  if (x.element_type() != ffi::DataType::BF16 && x.element_type() != ffi::DataType::F32)
    return bad("rows must be bfloat16 or float32");
  call.is_bfloat16 = x.element_type() == ffi::DataType::BF16;
  call.shape = {shape[0], shape[1], scale.typed_data(), epsilon};
  call.row_bytes = shape[1] * (call.is_bfloat16 ? 2 : 4);
  return ffi::Error::Success();
}

bool fits(const ffi::AnyBuffer& buffer, const ffi::AnyBuffer& x) {
  return buffer.element_type() == x.element_type() && buffer.element_count() == x.element_count();
}

ffi::Error run(const ffi::AnyBuffer& x, const ffi::AnyBuffer* residual, const Scale& scale, Out* total, Out& out,
               float epsilon) {
  Call call;
  if (auto error = prepare(call, x, scale, epsilon); error.failure()) return error;
  if (!fits(*out, x) || (residual && (!fits(*residual, x) || !fits(**total, x))))
    return bad("rows and results must be of one shape and type");
  const Norm* level = level_for(false)->norm;
  parallel_for((call.shape.rows + kChunk - 1) / kChunk, [&](int64_t chunk) {
    const int64_t row = chunk * kChunk;
    NormRows some = call.shape;
    some.rows = std::min(kChunk, call.shape.rows - row);
    level->run(some, call.is_bfloat16, at(&x, call, row), at(residual, call, row),
               total == nullptr ? nullptr : at(*total, call, row), at(out, call, row));
  });
  return ffi::Error::Success();
}

ffi::Error backward(const ffi::AnyBuffer& rows, const Scale& scale, const ffi::AnyBuffer& of_normed,
                    const ffi::AnyBuffer* of_rows, Out& out, ffi::ResultBuffer<ffi::F32>& of_scale, float epsilon) {
  Call call;
  if (auto error = prepare(call, rows, scale, epsilon); error.failure()) return error;
  const int64_t width = call.shape.width;
  if (!fits(of_normed, rows) || !fits(*out, rows) || (of_rows && !fits(*of_rows, rows)) ||
      static_cast<int64_t>(of_scale->element_count()) != width)
    return bad("rows and gradients must be of one shape and type");
  const int64_t each = std::max<int64_t>((call.shape.rows + kShares - 1) / kShares, 1);
  const int64_t shares = (call.shape.rows + each - 1) / each;
  const Memory memory = allocate(shares * width * 4);
  if (memory == nullptr) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "codegemma: no memory for sums");
  float* sums = static_cast<float*>(memory.get());
  const Norm* level = level_for(false)->norm;
  parallel_for(shares, [&](int64_t share) {
    const int64_t row = share * each;
    NormRows some = call.shape;
    some.rows = std::min(each, call.shape.rows - row);
    std::memset(sums + share * width, 0, width * 4);
    level->backward(some, call.is_bfloat16, at(&rows, call, row), at(of_rows, call, row), at(&of_normed, call, row),
                    at(out, call, row), sums + share * width);
  });
  float* to = of_scale->typed_data();
  std::memset(to, 0, width * 4);
  for (int64_t share = 0; share < shares; ++share)
    for (int64_t i = 0; i < width; ++i) to[i] += sums[share * width + i];
  return ffi::Error::Success();
}

ffi::Error norm(ffi::AnyBuffer x, Scale scale, Out normed, float epsilon) {
  return run(x, nullptr, scale, nullptr, normed, epsilon);
}

ffi::Error add_norm(ffi::AnyBuffer x, ffi::AnyBuffer residual, Scale scale, Out total, Out normed, float epsilon) {
  return run(x, &residual, scale, &total, normed, epsilon);
}

ffi::Error norm_backward(ffi::AnyBuffer rows, Scale scale, ffi::AnyBuffer of_normed, Out out,
                         ffi::ResultBuffer<ffi::F32> of_scale, float epsilon) {
  return backward(rows, scale, of_normed, nullptr, out, of_scale, epsilon);
}

ffi::Error add_norm_backward(ffi::AnyBuffer rows, Scale scale, ffi::AnyBuffer of_normed, ffi::AnyBuffer of_rows, Out out,
                             ffi::ResultBuffer<ffi::F32> of_scale, float epsilon) {
  return backward(rows, scale, of_normed, &of_rows, out, of_scale, epsilon);
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_norm, norm,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<Scale>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<float>("epsilon"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_add_norm, add_norm,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<Scale>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<float>("epsilon"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_norm_backward, norm_backward,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<Scale>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<Scale>()
                                  .Attr<float>("epsilon"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_add_norm_backward, add_norm_backward,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<Scale>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<Scale>()
                                  .Attr<float>("epsilon"));

}  // namespace codegemma

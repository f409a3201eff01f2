// The gated unit that XLA calls.
//
//   codegemma_gated:          gate, up of one shape and type, bfloat16 or float32 -> gelu(gate) * up
//   codegemma_gated_backward: the same, then the result's gradient                -> gradients of both
#include <algorithm>
#include <string>

#include "errors.h"
#include "kernels.h"
#include "levels.h"
#include "pool.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace codegemma {
namespace {

constexpr int64_t kChunk = 4096;  // elements that a thread takes at once

ffi::Error gated(ffi::AnyBuffer gate, ffi::AnyBuffer up, ffi::Result<ffi::AnyBuffer> out) {
  const ffi::DataType type = gate.element_type();
  if (type != ffi::DataType::BF16 && type != ffi::DataType::F32) return bad("gate must be bfloat16 or float32");
  if (up.element_type() != type || out->element_type() != type) return bad("gate, up and result must be of one type");
  const int64_t count = gate.element_count();
  if (static_cast<int64_t>(up.element_count()) != count || static_cast<int64_t>(out->element_count()) != count)
    return bad("gate, up and result must be of one shape");
  const Gated* level = level_for(false)->gated;
  const int64_t bytes = type == ffi::DataType::BF16 ? 2 : 4;
  const char *from = static_cast<const char*>(gate.untyped_data()), *by = static_cast<const char*>(up.untyped_data());
  char* to = static_cast<char*>(out->untyped_data());
  parallel_for((count + kChunk - 1) / kChunk, [&](int64_t chunk) {
    const int64_t offset = chunk * kChunk * bytes;
    level->run(from + offset, by + offset, bytes == 2, std::min(kChunk, count - chunk * kChunk), to + offset);
  });
  return ffi::Error::Success();
}

ffi::Error backward(ffi::AnyBuffer gate, ffi::AnyBuffer up, ffi::AnyBuffer gradient, ffi::Result<ffi::AnyBuffer> of_gate,
                    ffi::Result<ffi::AnyBuffer> of_up) {
  const ffi::DataType type = gate.element_type();
  if (type != ffi::DataType::BF16 && type != ffi::DataType::F32) return bad("gate must be bfloat16 or float32");
  const int64_t count = gate.element_count();
  for (const ffi::AnyBuffer& other : {up, gradient, *of_gate, *of_up})
    if (other.element_type() != type || static_cast<int64_t>(other.element_count()) != count)
      return bad("gate, up and gradients must be of one shape and type");
  const Gated* level = level_for(false)->gated;
  const int64_t bytes = type == ffi::DataType::BF16 ? 2 : 4;
  parallel_for((count + kChunk - 1) / kChunk, [&](int64_t chunk) {
    const int64_t offset = chunk * kChunk * bytes;
    const auto at = [&](const ffi::AnyBuffer& buffer) { return static_cast<char*>(buffer.untyped_data()) + offset; };
    const void* in[] = {at(gate), at(up), at(gradient)};
    void* out[] = {at(*of_gate), at(*of_up)};
    level->backward(in, bytes == 2, std::min(kChunk, count - chunk * kChunk), out);
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_gated, gated,
                              ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_gated_backward, backward,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>());

}  // namespace codegemma

// What calls of several foreign functions share. Code in a header: for units that are compiled for no level alone.
#pragma once

#include <cstdint>
#include <string>

#include "errors.h"
#include "levels.h"
#include "xla/ffi/api/ffi.h"

namespace codegemma {

using Halves = xla::ffi::Buffer<xla::ffi::BF16>;

inline const uint16_t* bits(const Halves& buffer) { return reinterpret_cast<const uint16_t*>(buffer.typed_data()); }
inline uint16_t* bits(xla::ffi::Result<Halves>& buffer) { return reinterpret_cast<uint16_t*>(buffer->typed_data()); }

inline int64_t ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline xla::ffi::Error no_memory(const std::string& purpose) {
  return xla::ffi::Error(xla::ffi::ErrorCode::kResourceExhausted, "codegemma: no memory " + purpose);
}

// Whether the instructions that some kernels need are there, and allowed.
inline bool has_avx512_bf16() {
#if defined(__x86_64__)
  return level_for(true) == &kAvx512Bf16;
#else
  return false;
#endif
}

inline xla::ffi::Error lacks_avx512_bf16() {
  return bad("this processor, or the limit that was set, lacks AVX-512 BF16");
}

}  // namespace codegemma

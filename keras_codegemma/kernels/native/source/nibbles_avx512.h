// The numbers of 4 bits as bfloat16, for units with AVX-512. Code in a header: in a namespace without a name.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace codegemma {
namespace {

// The bfloat16 of each of the 16, twice, because what chooses among them has 5 bits.
using Nibbles = __m512i;

static inline Nibbles make_nibbles() {
  alignas(64) uint16_t nibble[32];
  for (int i = 0; i < 32; ++i) {
    const float wide = static_cast<float>((i & 15) < 8 ? (i & 15) : (i & 15) - 16);
    uint32_t bits;
    __builtin_memcpy(&bits, &wide, 4);
    nibble[i] = static_cast<uint16_t>(bits >> 16);
  }
  return _mm512_load_si512(nibble);
}

}  // namespace
}  // namespace codegemma

// What the units with AVX-512 BF16 share. All code is in a namespace without a name; see `kernels.h`.
#pragma once

#include <immintrin.h>

#include "kernels.h"

// A call within an inner loop would put every register aside; left to itself, the compiler makes some.
#define INLINE_METHOD __attribute__((always_inline)) inline
#define INLINE static INLINE_METHOD

namespace codegemma {

// The level's packing of activations, and its `kn` and `kn_finish`.
size_t packed_row_bytes_avx512_bf16(Format, bool, int64_t k);
void pack_row_avx512_bf16(Format format, const void* x, bool, int64_t k, void* packed);
void add_inputs_avx512_bf16(const Weights& w, const void* packed, bool, int64_t rows, int64_t k0, int64_t k1, int64_t n0,
                            int64_t n1, float* sums, int64_t stride);
void finish_inputs_avx512_bf16(const float* sums, int64_t count, void* out, bool out_is_bfloat16);

namespace {

static inline int64_t padded(int64_t k) { return (k + kUnit - 1) / kUnit * kUnit; }

// Inputs that share a scale where activations are words; integer sums of as many products do not overflow.
constexpr int64_t kScaledInputs = 2048;

// Elements from one row of packed activations to the next: some registers more than there are, for scales, and because
// rows a multiple of 4 KiB apart would all fall into the same few places of the first-level cache.
static inline int64_t packed_stride(int64_t k) { return padded(k) + 32 + padded(k) / (16 * kScaledInputs) * 32; }

// A mask of the first `count` of `width` lanes.
static inline uint64_t first_lanes(int64_t count, int64_t width) {
  if (count <= 0) return 0;
  return count >= width ? (width == 64 ? ~0ull : (1ull << width) - 1) : (1ull << count) - 1;
}

static inline __m512bh pairs(__m512i value) { return (__m512bh)value; }

// Stores the lanes in the mask from out[index] on, rounded to nearest, even ones of two; NaN stays NaN.
static inline void put16(void* out, bool is_bfloat16, int64_t index, __mmask16 mask, __m512 value) {
  if (!is_bfloat16) return _mm512_mask_storeu_ps(static_cast<float*>(out) + index, mask, value);
  const __m512i bits = _mm512_castps_si512(value);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i nan = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
  const __m512i high = _mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, is_nan, nan), 16);
  _mm512_mask_cvtepi32_storeu_epi16(static_cast<uint16_t*>(out) + index, mask, high);
}

}  // namespace
}  // namespace codegemma

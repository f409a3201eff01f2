// Activations as the products with AVX-512 BF16 take them; see `avx512_bf16.cc`.
#include "avx512_bf16.h"

namespace codegemma {
namespace {

// 64 elements of which lane i of the two registers takes the one at `order`.
static inline __m512i pick(__m512i low, __m512i high, const uint16_t* order) {
  return _mm512_permutex2var_epi16(low, _mm512_loadu_si512(order), high);
}

static inline __m512i inputs(const uint16_t* from, int64_t left) {
  return _mm512_maskz_loadu_epi16(static_cast<__mmask32>(first_lanes(left, 32)), from);
}

// Words, and behind them a float32 for each kScaledInputs of them, which they are to be multiplied with: NaN where one
// was not finite.
static void pack_words(const uint16_t* from, int64_t k, __m512i* to) {
  float* scales = reinterpret_cast<float*>(to + padded(k) / 32);
  for (int64_t first = 0; first < k; first += kScaledInputs, ++scales) {
    const int64_t count = k - first < kScaledInputs ? k - first : kScaledInputs;
    __m512i largest = _mm512_setzero_si512();
    for (int64_t i = 0; i < count; i += 32) {
      const __m512i magnitudes = _mm512_and_si512(inputs(from + first + i, count - i), _mm512_set1_epi16(0x7fff));
      largest = _mm512_max_epu16(largest, magnitudes);
    }
    // As the bits of a float32, of the even ones and of the odd ones.
    const __m512i odd = _mm512_and_si512(largest, _mm512_set1_epi32(-65536));
    const uint32_t bits = _mm512_reduce_max_epu32(_mm512_max_epu32(_mm512_slli_epi32(largest, 16), odd));
    float most;
    __builtin_memcpy(&most, &bits, 4);
    const bool is_finite = bits < 0x7f800000u;
    // Below this all are taken as 0: its inverse would not be finite much further down.
    most = most > 1e-30f ? most : 1e-30f;
    const __m512 factor = _mm512_set1_ps(is_finite ? 32767.0f / most : 0.0f);
    *scales = is_finite ? most / 32767.0f : __builtin_nanf("");
    const auto words = [&](__m256i half) {
      const __m512 wide = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
      return _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(_mm512_mul_ps(wide, factor)));
    };
    for (int64_t i = 0; i < count; i += 32) {
      const __m512i some = is_finite ? inputs(from + first + i, count - i) : _mm512_setzero_si512();
      to[(first + i) / 32] = _mm512_inserti64x4(_mm512_castsi256_si512(words(_mm512_castsi512_si256(some))),
                                                words(_mm512_extracti64x4_epi64(some, 1)), 1);
    }
  }
  for (int64_t i = (k + 31) / 32; i < padded(k) / 32; ++i) to[i] = _mm512_setzero_si512();
}

}  // namespace

size_t packed_row_bytes_avx512_bf16(Format, bool, int64_t k) { return packed_stride(k) * 2; }

void pack_row_avx512_bf16(Format format, const void* x, bool, int64_t k, void* packed) {
  const uint16_t* from = static_cast<const uint16_t*>(x);
  __m512i* to = static_cast<__m512i*>(packed);
  if (format == kInt8) return pack_words(from, k, to);
  // Lanes from 16 on are of the unit's second half, from where `pick` takes its elements again.
  uint16_t int4_order[4][32];
  for (int s = 0; s < 4; ++s)
    for (int i = 0; i < 32; ++i) int4_order[s][i] = i % 16 / 2 * 8 + i % 2 * 4 + s;
  for (int64_t u = 0; u < padded(k); u += kUnit, to += 4) {
    __m512i unit[4];
    for (int i = 0; i < 4; ++i) unit[i] = inputs(from + u + 32 * i, k - u - 32 * i);
    for (int i = 0; i < 4; ++i) {
      if (format == kInt4) {
        const __m512i first = pick(unit[0], unit[1], int4_order[i]), second = pick(unit[2], unit[3], int4_order[i]);
        to[i] = _mm512_mask_mov_epi16(first, 0xffff0000u, second);
      } else {
        to[i] = unit[i];
      }
    }
  }
}

}  // namespace codegemma

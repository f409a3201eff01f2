// The products of many rows with AVX-512 BF16: what a task does, compiled for these instructions.
#include "many.h"

#include "pairs_avx512_bf16.h"

namespace codegemma {
namespace {

static_assert(kManyColumns == kTileLanes, "a panel is as wide as a register tile");

static inline void put(const ManyOut& out, int64_t row, int64_t column, __mmask16 mask, __m512 value) {
  const int64_t place = row * out.stride + column;
  if (out.is_bfloat16)
    _mm256_mask_storeu_epi16(static_cast<uint16_t*>(out.to) + place, mask, (__m256i)_mm512_cvtneps_pbh(value));
  else
    _mm512_mask_storeu_ps(static_cast<float*>(out.to) + place, mask, value);
}

static void by_inputs(const uint16_t* x, int64_t rows, int64_t k, const uint16_t* weight, int64_t stride, int64_t width,
                      uint32_t* panel, float* sums, const ManyOut& out) {
  for (int64_t k0 = 0; k0 < k; k0 += kManyInputs) {
    const int64_t count = k - k0 < kManyInputs ? k - k0 : kManyInputs;
    pack_pairs(weight + k0 * stride, count, stride, width, count / 2, kTileLanes, panel);
    const Factors a = {words(x) + k0 / 2, k / 2, 1};
    if (k0 == 0)
      long_product<false>(a, panel, count / 2, rows, sums);
    else
      long_product<true>(a, panel, count / 2, rows, sums);
  }
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t n = 0; n < width; n += 16) put(out, m, n, lanes(width - n), _mm512_loadu_ps(sums + m * kTileLanes + n));
}

static void pack(const uint16_t* x, int64_t rows, int64_t k, uint32_t* tile) { pack_columns(x, rows, k, k / 2, tile); }

static void by_outputs(const uint32_t* tile, int64_t rows, int64_t k, const uint16_t* weight, int64_t outputs, float* sums,
                       const ManyOut& out) {
  long_product<false>({words(weight), k / 2, 1}, tile, k / 2, outputs, sums);
  for (int64_t m = 0; m < rows; m += 16)
    for (int64_t n = 0; n < outputs; n += 16) {
      __m512i block[16];
      for (int i = 0; i < 16; ++i)
        block[i] = n + i < outputs ? _mm512_loadu_si512(sums + (n + i) * kTileLanes + m) : _mm512_setzero_si512();
      transpose(block);
      for (int i = 0; i < 16 && m + i < rows; ++i) put(out, m + i, n, lanes(outputs - n), (__m512)block[i]);
    }
}

}  // namespace

extern const ManyLevel kManyAvx512Bf16;
const ManyLevel kManyAvx512Bf16 = {by_inputs, pack, by_outputs};

}  // namespace codegemma

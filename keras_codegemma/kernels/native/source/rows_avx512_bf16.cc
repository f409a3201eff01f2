// The product over rows with AVX-512 BF16: the innermost loops, compiled for these instructions.
#include "rows.h"

#include <immintrin.h>

namespace codegemma {
namespace {

constexpr int kVectors = kPanel / 16;
static_assert(kPanel % 32 == 0 && kTile * kVectors <= 24, "sums, a row of the panel and one factor fill 32 registers");

// Two rows of 32 columns as 32 pairs, the first row's number in the low half.
static inline void interleave(__m512i even, __m512i odd, uint32_t* to) {
  alignas(64) static const uint16_t kLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  _mm512_storeu_si512(to, _mm512_permutex2var_epi16(even, low, odd));
  _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi16(even, high, odd));
}

static inline __m512i columns(const uint16_t* row, int64_t from, int64_t count) {
  const int64_t left = count - from;
  if (left >= 32) return _mm512_loadu_si512(row + from);
  return left <= 0 ? _mm512_setzero_si512() : _mm512_maskz_loadu_epi16((1u << left) - 1, row + from);
}

static void pack_panel(const uint16_t* rows, int64_t count, int64_t stride, int64_t width, uint32_t* to) {
  for (int64_t row = 0; row < count; row += 2, to += kPanel)
    for (int64_t c = 0; c < kPanel; c += 32) {
      const __m512i even = columns(rows + row * stride, c, width);
      const __m512i odd = row + 1 < count ? columns(rows + (row + 1) * stride, c, width) : _mm512_setzero_si512();
      interleave(even, odd, to + c);
    }
}

static void pack_tiles(const uint16_t* rows, int64_t count, int64_t stride, int64_t width, uint32_t* to) {
  const int64_t pairs = (count + 1) / 2;
  alignas(64) uint32_t wide[32 * kTile];
  for (int64_t c = 0; c < width; c += 32 * kTile)
    for (int64_t pair = 0; pair < pairs; ++pair) {
      const uint16_t *even = rows + 2 * pair * stride + c, *odd = even + stride;
      const int64_t left = width - c;
      for (int64_t i = 0; i < 32 * kTile && i < left; i += 32)
        interleave(columns(even, i, left), 2 * pair + 1 < count ? columns(odd, i, left) : _mm512_setzero_si512(),
                   wide + i);
      for (int64_t tile = 0; tile < 32 && tile * kTile < left; ++tile)
        __builtin_memcpy(to + ((c / kTile + tile) * pairs + pair) * kTile, wide + tile * kTile, kTile * 4);
    }
}

static void add(const uint32_t* tile, const uint32_t* panel, int64_t pairs, int64_t rows, int64_t columns, bool first,
                float* out, int64_t stride) {
  __m512 sums[kTile][kVectors];
#pragma GCC unroll 8
  for (int t = 0; t < kTile; ++t)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[t][v] = _mm512_setzero_ps();
  for (int64_t pair = 0; pair < pairs; ++pair, tile += kTile, panel += kPanel) {
    __m512bh row[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) row[v] = (__m512bh)_mm512_load_si512(panel + 16 * v);
#pragma GCC unroll 8
    for (int t = 0; t < kTile; ++t) {
      const __m512bh factor = (__m512bh)_mm512_set1_epi32(static_cast<int>(tile[t]));
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[t][v] = _mm512_dpbf16_ps(sums[t][v], factor, row[v]);
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTile; ++t) {
    if (t >= rows) break;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const int64_t left = columns - 16 * v;
      const __mmask16 mask = left >= 16 ? 0xffff : left <= 0 ? 0 : static_cast<__mmask16>((1u << left) - 1);
      float* to = out + t * stride + 16 * v;
      const __m512 before = first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, to);
      _mm512_mask_storeu_ps(to, mask, _mm512_add_ps(before, sums[t][v]));
    }
  }
}

}  // namespace

extern const RowProduct kRowProductAvx512Bf16;
const RowProduct kRowProductAvx512Bf16 = {pack_panel, pack_tiles, add};

}  // namespace codegemma

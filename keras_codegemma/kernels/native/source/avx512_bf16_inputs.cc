// The product with weights that have a row per input, [K, N], with AVX-512 BF16; see `avx512_bf16.cc`.
#include "avx512_bf16.h"

namespace codegemma {
namespace {

// Some rows of weights at a time, 32 columns of each, two rows interleaved into pairs. Interleaving within 128 bits
// leaves the sums in the order (of columns, within 32) 0-3 8-11 16-19 24-27 and then 4-7 12-15 20-23 28-31.

template <int M, int kPairs>
INLINE void kn_step(const uint16_t* const* row, int64_t n, uint32_t mask, const uint16_t* x, int64_t x_row,
                    float* sums, int64_t stride) {
  __m512i low[kPairs], high[kPairs];
#pragma GCC unroll 8
  for (int p = 0; p < kPairs; ++p) {
    const __m512i a = _mm512_maskz_loadu_epi16(mask, row[2 * p] + n);
    const __m512i b = row[2 * p + 1] ? _mm512_maskz_loadu_epi16(mask, row[2 * p + 1] + n) : _mm512_setzero_si512();
    low[p] = _mm512_unpacklo_epi16(a, b);
    high[p] = _mm512_unpackhi_epi16(a, b);
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    __m512 s0 = _mm512_loadu_ps(sums + m * stride), s1 = _mm512_loadu_ps(sums + m * stride + 16);
#pragma GCC unroll 8
    for (int p = 0; p < kPairs; ++p) {
      int32_t pair;
      __builtin_memcpy(&pair, x + m * x_row + 2 * p, 4);
      const __m512i both = _mm512_set1_epi32(pair);
      s0 = _mm512_dpbf16_ps(s0, pairs(low[p]), pairs(both));
      s1 = _mm512_dpbf16_ps(s1, pairs(high[p]), pairs(both));
    }
    _mm512_storeu_ps(sums + m * stride, s0);
    _mm512_storeu_ps(sums + m * stride + 16, s1);
  }
}

// Whole rows are prefetched as they lie in memory, the next ones behind these, so many bytes ahead: memory is fastest from
// one place on, and four rows that are each fetched beside their own are four places (decode of 2B in bfloat16, `RESULTS.md`,
// read at 86% of the bandwidth so, 92% in order). Rows of many columns for many activations are left to the processor's own
// prefetching.
constexpr int64_t kLeastAhead = 8192, kMostAhead = 131072;

template <int M, int kPairs>
static void kn_rows(const Weights& w, const uint16_t* x, int64_t k, int64_t end, int64_t n0, int64_t n1, float* sums,
                    int64_t stride) {
  const uint16_t* row[2 * kPairs];
  for (int i = 0; i < 2 * kPairs; ++i)
    row[i] = k + i < end ? static_cast<const uint16_t*>(w.data) + (k + i) * w.n : nullptr;
  constexpr int kRows = 2 * kPairs;
  constexpr auto kHint = M <= 2 ? _MM_HINT_NTA : _MM_HINT_T0;
  const bool whole = n1 - n0 == w.n;
  const int64_t block = kRows * w.n * 2;
  const char* ahead = reinterpret_cast<const char*>(row[0] + n0) + (whole && block < kLeastAhead ? kLeastAhead : block);
  const bool prefetches = !whole || block <= kMostAhead;
  const int64_t step = whole ? kRows * 64 : 64, apart = whole ? 64 : 2 * w.n;
  int64_t n = n0;
  for (; n + 32 <= n1; n += 32, ahead += step) {
    if (prefetches) {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) _mm_prefetch(ahead + i * apart, kHint);
    }
    kn_step<M, kPairs>(row, n, ~0u, x + k, packed_stride(w.k), sums + n - n0, stride);
  }
  if (n < n1)
    kn_step<M, kPairs>(row, n, static_cast<uint32_t>(first_lanes(n1 - n, 32)), x + k, packed_stride(w.k), sums + n - n0,
                       stride);
}

template <int M>
static void kn_of(const Weights& w, const uint16_t* x, int64_t k0, int64_t k1, int64_t n0, int64_t n1, float* sums,
                  int64_t stride) {
  int64_t k = k0;
  // Sums of several rows are loaded and stored too often unless many weights are added each time; with one row, reading
  // from few places at a time is faster.
  constexpr int kPairs = M <= 2 ? 2 : 8;
  for (; k + 2 * kPairs <= k1; k += 2 * kPairs) kn_rows<M, kPairs>(w, x, k, k1, n0, n1, sums, stride);
  for (; k < k1; k += 2) kn_rows<M, 1>(w, x, k, k1, n0, n1, sums, stride);
}

}  // namespace

void add_inputs_avx512_bf16(const Weights& w, const void* packed, bool, int64_t rows, int64_t k0, int64_t k1, int64_t n0,
               int64_t n1, float* sums, int64_t stride) {
  const uint16_t* x = static_cast<const uint16_t*>(packed);
  switch (rows) {
    case 1: return kn_of<1>(w, x, k0, k1, n0, n1, sums, stride);
    case 2: return kn_of<2>(w, x, k0, k1, n0, n1, sums, stride);
    case 3: return kn_of<3>(w, x, k0, k1, n0, n1, sums, stride);
    case 4: return kn_of<4>(w, x, k0, k1, n0, n1, sums, stride);
    case 5: return kn_of<5>(w, x, k0, k1, n0, n1, sums, stride);
    case 6: return kn_of<6>(w, x, k0, k1, n0, n1, sums, stride);
    case 7: return kn_of<7>(w, x, k0, k1, n0, n1, sums, stride);
    default: return kn_of<8>(w, x, k0, k1, n0, n1, sums, stride);
  }
}

void finish_inputs_avx512_bf16(const float* sums, int64_t count, void* out, bool out_is_bfloat16) {
  // Lanes 0-3 of either register's quarters alternate.
  const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i second = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  for (int64_t i = 0; i < count; i += 32) {
    const __m512 even = _mm512_loadu_ps(sums + i), odd = _mm512_loadu_ps(sums + i + 16);
    put16(out, out_is_bfloat16, i, static_cast<__mmask16>(first_lanes(count - i, 16)),
          _mm512_permutex2var_ps(even, first, odd));
    if (count - i > 16)
      put16(out, out_is_bfloat16, i + 16, static_cast<__mmask16>(first_lanes(count - i - 16, 16)),
            _mm512_permutex2var_ps(even, second, odd));
  }
}

}  // namespace codegemma

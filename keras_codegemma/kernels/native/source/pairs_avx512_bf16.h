// Products of bfloat16 matrices in register tiles with AVX-512 BF16, whose instructions multiply pairs: what is summed over
// lies in pairs, one operand's along each row (`Factors`), the other's packed to rows of pairs with a lane per column.
// Code in a header: for units of that level alone, and in a namespace without a name.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include <type_traits>

#include "floats.h"

namespace codegemma {
namespace {

constexpr int64_t kTileLanes = 64;  // columns of a tile

static inline __m512i columns(const uint16_t* row, int64_t count) {
  if (count >= 32) return _mm512_loadu_si512(row);
  return count <= 0 ? _mm512_setzero_si512() : _mm512_maskz_loadu_epi16((1u << count) - 1, row);
}

static inline __mmask16 lanes(int64_t count) {
  return count >= 16 ? 0xffff : count <= 0 ? 0 : static_cast<__mmask16>((1u << count) - 1);
}

// Two vectors of floats as pairs of bfloat16, the first's number in the low half.
static inline __m512i as_pairs(__m512 first, __m512 second) {
  alignas(64) static const uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                  8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

// Rows of `width` columns, `stride` elements apart, to pairs of rows [pairs, pitch]; zeros where there is none. The pitch is
// a multiple of 16.
static void pack_pairs(const uint16_t* rows, int64_t count, int64_t stride, int64_t width, int64_t pairs, int64_t pitch,
                       uint32_t* to) {
  alignas(64) static const uint16_t kLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int64_t row = 0; row < 2 * pairs; row += 2, to += pitch)
    for (int64_t c = 0; c < pitch; c += 32) {
      const __m512i even = row < count ? columns(rows + row * stride + c, width - c) : _mm512_setzero_si512();
      const __m512i odd = row + 1 < count ? columns(rows + (row + 1) * stride + c, width - c) : _mm512_setzero_si512();
      _mm512_storeu_si512(to + c, _mm512_permutex2var_epi16(even, low, odd));
      if (pitch - c > 16) _mm512_storeu_si512(to + c + 16, _mm512_permutex2var_epi16(even, high, odd));
    }
}

// 16 rows of 16 words become their columns.
static inline void transpose(__m512i* rows) {
  __m512i half[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    half[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    half[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    rows[i] = _mm512_unpacklo_epi64(half[i], half[i + 2]);
    rows[i + 1] = _mm512_unpackhi_epi64(half[i], half[i + 2]);
    rows[i + 2] = _mm512_unpacklo_epi64(half[i + 1], half[i + 3]);
    rows[i + 3] = _mm512_unpackhi_epi64(half[i + 1], half[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    half[i] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0x88);
    half[i + 4] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0xdd);
    half[i + 8] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0x88);
    half[i + 12] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0xdd);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    rows[i] = _mm512_shuffle_i32x4(half[i], half[i + 8], 0x88);
    rows[i + 8] = _mm512_shuffle_i32x4(half[i], half[i + 8], 0xdd);
  }
}

// Rows of `pairs` pairs, `stride` elements apart, to columns of pairs [pairs, kTileLanes]; zeros where there is no row.
static void pack_columns(const uint16_t* rows, int64_t count, int64_t stride, int64_t pairs, uint32_t* to) {
  for (int64_t row = 0; row < kTileLanes; row += 16)
    for (int64_t pair = 0; pair < pairs; pair += 16) {
      const __mmask16 mask = lanes(pairs - pair);
      __m512i block[16];
      for (int i = 0; i < 16; ++i)
        block[i] = row + i < count ? _mm512_maskz_loadu_epi32(mask, rows + (row + i) * stride + 2 * pair)
                                   : _mm512_setzero_si512();
      transpose(block);
      for (int i = 0; i < 16 && pair + i < pairs; ++i)
        _mm512_storeu_si512(to + (pair + i) * kTileLanes + row, block[i]);
    }
}

// What the lanes' operand is multiplied by: pair p of row r is at from[r * row + p * pair].
struct Factors {
  const uint32_t* from;
  int64_t row, pair;
};

// Adds the product of R rows and 16 V lanes to sums, which are to stay in registers.
template <int R, int V>
__attribute__((always_inline)) static inline void add_product(const Factors& a, const uint32_t* b, int64_t b_stride,
                                                              int64_t pairs, __m512 (&sums)[R][V]) {
  const uint32_t* factor = a.from;
  for (int64_t p = 0; p < pairs; ++p, factor += a.pair, b += b_stride) {
    __m512bh row[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) row[v] = (__m512bh)_mm512_loadu_si512(b + 16 * v);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512bh both = (__m512bh)_mm512_set1_epi32(static_cast<int>(factor[r * a.row]));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], both, row[v]);
    }
  }
}

template <int R, int V, bool kAdd>
static inline void small_product(const Factors& a, const uint32_t* b, int64_t b_stride, int64_t pairs, float* c,
                                 int64_t c_stride) {
  __m512 sums[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      sums[r][v] = kAdd ? _mm512_loadu_ps(c + r * c_stride + 16 * v) : _mm512_setzero_ps();
  add_product(a, b, b_stride, pairs, sums);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) _mm512_storeu_ps(c + r * c_stride + 16 * v, sums[r][v]);
}

template <int V, class Run>
static inline void over_rows(int64_t rows, int64_t n, const Run& run) {
  int64_t r = 0;
  const auto some = [&](auto count) {
    for (; r + count <= rows; r += count) run(count, std::integral_constant<int, V>(), r, n);
  };
  some(std::integral_constant<int, V == 4 ? 6 : V == 2 ? 12 : 16>());  // enough sums to wait for none
  some(std::integral_constant<int, 4>());
  some(std::integral_constant<int, 2>());
  some(std::integral_constant<int, 1>());
}

// Calls `run` with the rows R and vectors of lanes V of each register tile, as types, and with its first row and lane; the
// width is a multiple of 16.
template <class Run>
static inline void over_tiles(int64_t rows, int64_t width, const Run& run) {
  int64_t n = 0;
  for (; n + 64 <= width; n += 64) over_rows<4>(rows, n, run);
  for (; n + 32 <= width; n += 32) over_rows<2>(rows, n, run);
  for (; n < width; n += 16) over_rows<1>(rows, n, run);
}

// c [rows, width] = or += a [rows, pairs] b [pairs, width], all of pairs; rows of b and c are `pitch` apart.
template <bool kAdd>
static void product(const Factors& a, const uint32_t* b, int64_t width, int64_t pairs, int64_t rows, float* c,
                    int64_t pitch) {
  over_tiles(rows, width, [&](auto tall, auto vectors, int64_t r, int64_t n) {
    small_product<tall, vectors, kAdd>({a.from + r * a.row, a.row, a.pair}, b + n, pitch, pairs, c + r * pitch + n, pitch);
  });
}

template <bool kAdd>
static void product(const Factors& a, const uint32_t* b, int64_t width, int64_t pairs, int64_t rows, float* c) {
  product<kAdd>(a, b, width, pairs, rows, c, width);
}

constexpr int64_t kTilePairs = 128;  // multiplied before sums go back to memory: 32 KiB of packed pairs, a first-level cache

// sums [rows, kTileLanes] = or += a [rows, pairs] b [pairs, kTileLanes], any number of pairs; of the first `width` lanes, a
// multiple of 16.
template <bool kAdd>
static void long_product(const Factors& a, const uint32_t* b, int64_t pairs, int64_t rows, float* sums,
                         int64_t width = kTileLanes) {
  for (int64_t p = 0; p < pairs; p += kTilePairs) {
    const int64_t count = pairs - p < kTilePairs ? pairs - p : kTilePairs;
    const Factors part = {a.from + p * a.pair, a.row, a.pair};
    if (kAdd || p > 0)
      product<true>(part, b + p * kTileLanes, width, count, rows, sums, kTileLanes);
    else
      product<false>(part, b + p * kTileLanes, width, count, rows, sums, kTileLanes);
  }
}

static inline const uint32_t* words(const uint16_t* from) { return reinterpret_cast<const uint32_t*>(from); }

static inline __m512 exponential_of(__m512 x) { return (__m512)exponential((Floats)x); }

static void narrow(const float* from, int64_t count, uint16_t* to) {
  for (int64_t i = 0; i < count; i += 16) {
    const __m256i half = (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), half);
  }
}

}  // namespace
}  // namespace codegemma

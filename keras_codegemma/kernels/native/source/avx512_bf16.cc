// The products with AVX-512 BF16 and VBMI (AMD from Zen 4, Intel from Sapphire Rapids): bfloat16 activations, and
// weights that are made bfloat16 in registers, which is exact for int8 and int4. Sums are float32.
//
// Activations are packed once, in the order in which the weights come out of the registers, a unit of 128 being four
// registers of 16 pairs:
//   bfloat16  natural order
//   int8      within 64: the low 8 of each 16, then the high 8 of each 16 (what unpacking bytes to words gives)
//   int4      register s, pair j: elements 8 j + s and 8 j + 4 + s (the nibbles s of the two words of 8 nibbles)
// A float32 activation has no such path here; the caller takes the AVX-512 level for it.
#include "kernels.h"

#include <immintrin.h>

namespace codegemma {
namespace {

constexpr int64_t kBlockOutputs = 32;  // of many rows: weights decoded at a time ...
constexpr int64_t kBlockK = 2048;      // ... 128 KiB, which stay in the second-level cache
constexpr int64_t kBlockRows = 6;
constexpr int64_t kAhead = 4096;  // bytes to prefetch ahead: the processor's own prefetching ends at each page

static int64_t padded(int64_t k) { return (k + kUnit - 1) / kUnit * kUnit; }

static size_t packed_row_bytes(Format, bool, int64_t k) { return padded(k) * 2; }

static void pack_row(Format format, const void* x, bool, int64_t k, void* packed) {
  const uint16_t* from = static_cast<const uint16_t*>(x);
  uint16_t* to = static_cast<uint16_t*>(packed);
  for (int64_t u = 0; u < padded(k); u += kUnit) {
    for (int64_t i = 0; i < kUnit; ++i) {
      int64_t source = i;
      if (format == kInt8) {
        const int64_t half = i % 64 / 32, lane = i % 32 / 8;
        source = i / 64 * 64 + lane * 16 + half * 8 + i % 8;
      } else if (format == kInt4) {
        source = i % 32 / 2 * 8 + i % 2 * 4 + i / 32;
      }
      to[u + i] = u + source < k ? from[u + source] : 0;
    }
  }
}

// The 256 bytes of constants that turn bytes and nibbles into bfloat16.
struct Tables {
  __m512i low[2], high[2];  // of |v| in 0 .. 127: the bytes of its bfloat16
  __m512i nibble;           // of 5 bits, the highest of which is ignored
};

static uint16_t bits_of(int value) {
  float wide = static_cast<float>(value);
  uint32_t bits;
  __builtin_memcpy(&bits, &wide, 4);
  return static_cast<uint16_t>(bits >> 16);
}

static Tables make_tables() {
  alignas(64) uint8_t low[128], high[128];
  alignas(64) uint16_t nibble[32];
  for (int i = 0; i < 128; ++i) {
    low[i] = static_cast<uint8_t>(bits_of(i));
    high[i] = static_cast<uint8_t>(bits_of(i) >> 8);
  }
  for (int i = 0; i < 32; ++i) nibble[i] = bits_of((i & 15) < 8 ? (i & 15) : (i & 15) - 16);
  Tables tables;
  for (int i = 0; i < 2; ++i) {
    tables.low[i] = _mm512_load_si512(low + 64 * i);
    tables.high[i] = _mm512_load_si512(high + 64 * i);
  }
  tables.nibble = _mm512_load_si512(nibble);
  return tables;
}

static inline __m512bh pairs(__m512i value) { return (__m512bh)value; }

// A mask of the first `count` of `width` lanes.
static inline uint64_t first(int64_t count, int64_t width) {
  if (count <= 0) return 0;
  return count >= width ? (width == 64 ? ~0ull : (1ull << width) - 1) : (1ull << count) - 1;
}

template <bool kWhole>
static inline __m512i load(const uint8_t* from, int64_t bytes) {
  return kWhole ? _mm512_loadu_si512(from) : _mm512_maskz_loadu_epi8(first(bytes, 64), from);
}

// Elements k .. k + 128 of a row of weights as bfloat16, in the order of the packed activations.
template <Format F, bool kWhole>
static inline void decode(const Tables& t, const uint8_t* row, int64_t k, int64_t count, __m512i* out) {
  if constexpr (F == kBfloat16) {
    for (int i = 0; i < 4; ++i) out[i] = load<kWhole>(row + 2 * k + 64 * i, 2 * count - 64 * i);
  } else if constexpr (F == kInt8) {
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    for (int i = 0; i < 2; ++i) {
      const __m512i value = load<kWhole>(row + k + 64 * i, count - 64 * i);
      const __m512i index = _mm512_abs_epi8(value);
      const __m512i low = _mm512_permutex2var_epi8(t.low[0], index, t.low[1]);
      __m512i high = _mm512_permutex2var_epi8(t.high[0], index, t.high[1]);
      high = _mm512_ternarylogic_epi32(high, value, sign, 0xf8);
      out[2 * i] = _mm512_unpacklo_epi8(low, high);
      out[2 * i + 1] = _mm512_unpackhi_epi8(low, high);
    }
  } else {
    const __m512i value = load<kWhole>(row + k / 2, count / 2);
    out[0] = _mm512_permutexvar_epi16(value, t.nibble);
    out[1] = _mm512_permutexvar_epi16(_mm512_srli_epi16(value, 4), t.nibble);
    out[2] = _mm512_permutexvar_epi16(_mm512_srli_epi16(value, 8), t.nibble);
    out[3] = _mm512_permutexvar_epi16(_mm512_srli_epi16(value, 12), t.nibble);
  }
}

// The scales of 128 int4 weights, one for each pair of lanes; a lane holds 8 consecutive weights.
static inline __m512 scales(const Weights& w, int64_t n, int64_t k) {
  const uint16_t* from = static_cast<const uint16_t*>(w.scale) + n * (w.k / w.group) + k / w.group;
  if (w.group >= kUnit) return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int32_t>(from[0]) << 16));
  const int64_t left = w.k / w.group - k / w.group;
  const __m128i loaded = _mm_maskz_loadu_epi16(static_cast<__mmask8>(first(left, 8)), from);
  const __m512i wide = _mm512_slli_epi32(_mm512_castsi256_si512(_mm256_cvtepu16_epi32(loaded)), 16);
  const int shift = __builtin_ctzll(w.group / 8);
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  return _mm512_castsi512_ps(_mm512_permutexvar_epi32(_mm512_srli_epi32(lane, shift), wide));
}

static inline void put(void* out, bool is_bfloat16, int64_t index, float value) {
  if (!is_bfloat16) {
    static_cast<float*>(out)[index] = value;
    return;
  }
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  uint16_t narrow = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
  if ((bits & 0x7fffffffu) > 0x7f800000u) narrow = static_cast<uint16_t>((bits >> 16) | 0x40);
  static_cast<uint16_t*>(out)[index] = narrow;
}

// R outputs of M rows over the whole of K. Every loop over r, m and i must be unrolled, or the sums leave the registers.
template <Format F, int R, int M>
static void tile(const Tables& t, const Weights& w, const void* packed, int64_t m0, int64_t n, void* out,
                 bool out_is_bfloat16, int64_t out_stride) {
  constexpr int64_t kBits = F == kBfloat16 ? 16 : F == kInt8 ? 8 : 4;
  constexpr int64_t kUnitBytes = kUnit * kBits / 8;
  const int64_t row_bytes = w.k * kBits / 8, x_row = padded(w.k) / 32;
  const uint8_t* rows = static_cast<const uint8_t*>(w.data) + n * row_bytes;
  const __m512i* x = static_cast<const __m512i*>(packed) + m0 * x_row;
  __m512 sums[R][M];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) sums[r][m] = _mm512_setzero_ps();
  for (int64_t k = 0; k < w.k; k += kUnit) {
    __m512i value[R][4];
    __m512 scale[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const uint8_t* row = rows + r * row_bytes;
#pragma GCC unroll 4
      for (int64_t i = 0; i < kUnitBytes; i += 64)
        _mm_prefetch(reinterpret_cast<const char*>(row) + k / kUnit * kUnitBytes + kAhead + i, _MM_HINT_T0);
      if (k + kUnit <= w.k)
        decode<F, true>(t, row, k, kUnit, value[r]);
      else
        decode<F, false>(t, row, k, w.k - k, value[r]);
      if constexpr (F == kInt4) scale[r] = scales(w, n + r, k);
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const __m512i* xs = x + m * x_row + k / 32;
      const __m512i x0 = xs[0], x1 = xs[1], x2 = xs[2], x3 = xs[3];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        __m512 part = F == kInt4 ? _mm512_setzero_ps() : sums[r][m];
        part = _mm512_dpbf16_ps(part, pairs(value[r][0]), pairs(x0));
        part = _mm512_dpbf16_ps(part, pairs(value[r][1]), pairs(x1));
        part = _mm512_dpbf16_ps(part, pairs(value[r][2]), pairs(x2));
        part = _mm512_dpbf16_ps(part, pairs(value[r][3]), pairs(x3));
        if constexpr (F == kInt4)
          sums[r][m] = _mm512_fmadd_ps(part, scale[r], sums[r][m]);
        else
          sums[r][m] = part;
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const float factor = F == kInt8 ? static_cast<const float*>(w.scale)[n + r] : 1.0f;
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
      put(out, out_is_bfloat16, (m0 + m) * out_stride + n + r, factor * _mm512_reduce_add_ps(sums[r][m]));
  }
}

template <Format F, int M>
static void few_rows(const Tables& t, const Weights& w, const void* packed, int64_t m0, int64_t n0, int64_t n1,
                     void* out, bool out_is_bfloat16, int64_t out_stride) {
  constexpr int R = M <= 2 ? 4 : 2;  // rows of weights read side by side, as many as the registers hold
  int64_t n = n0;
  for (; n + R <= n1; n += R) tile<F, R, M>(t, w, packed, m0, n, out, out_is_bfloat16, out_stride);
  for (; n < n1; ++n) tile<F, 1, M>(t, w, packed, m0, n, out, out_is_bfloat16, out_stride);
}

// A row's sums are made in the same order whatever M is, so batch-mates change nothing.
template <Format F>
static void any_few_rows(const Tables& t, const Weights& w, const void* packed, int64_t m0, int64_t rows, int64_t n0,
                         int64_t n1, void* out, bool out_is_bfloat16, int64_t out_stride) {
  switch (rows) {
    case 1: return few_rows<F, 1>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride);
    case 2: return few_rows<F, 2>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride);
    case 3: return few_rows<F, 3>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride);
    case 4: return few_rows<F, 4>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride);
    case 5: return few_rows<F, 5>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride);
    case 6: return few_rows<F, 6>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride);
    case 7: return few_rows<F, 7>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride);
    default: return few_rows<F, 8>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride);
  }
}

// Many rows. Weights of 32 outputs and 2048 inputs are decoded once, then serve all rows, 6 at a time.

static size_t nk_scratch_bytes(int64_t rows, int64_t) {
  if (rows <= kFewRows) return 64;
  return kBlockOutputs * kBlockK * 2 + kBlockOutputs * (kBlockK / kUnit) * 64 + rows * kBlockOutputs * 4;
}

template <Format F, int R, int M>
static void block_tile(const __m512i* values, const __m512* scale, const __m512i* const* x, int64_t units, float* sums) {
  __m512 total[R][M];
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) total[r][m] = _mm512_setzero_ps();
  for (int64_t u = 0; u < units; ++u) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const __m512i* value = values + r * (kBlockK / 32) + 4 * u;
      if constexpr (F == kInt4) {
        const __m512 s = scale[r * (kBlockK / kUnit) + u];
        const __m512i v0 = value[0], v1 = value[1], v2 = value[2], v3 = value[3];
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) {
          const __m512i* xs = x[m] + 4 * u;
          __m512 part = _mm512_dpbf16_ps(_mm512_setzero_ps(), pairs(v0), pairs(xs[0]));
          part = _mm512_dpbf16_ps(part, pairs(v1), pairs(xs[1]));
          part = _mm512_dpbf16_ps(part, pairs(v2), pairs(xs[2]));
          part = _mm512_dpbf16_ps(part, pairs(v3), pairs(xs[3]));
          total[r][m] = _mm512_fmadd_ps(part, s, total[r][m]);
        }
      }
    }
    if constexpr (F != kInt4) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        __m512i v[R];
        for (int r = 0; r < R; ++r) v[r] = values[r * (kBlockK / 32) + 4 * u + i];
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) {
          const __m512i xs = x[m][4 * u + i];
          for (int r = 0; r < R; ++r) total[r][m] = _mm512_dpbf16_ps(total[r][m], pairs(v[r]), pairs(xs));
        }
      }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) sums[m * kBlockOutputs + r] += _mm512_reduce_add_ps(total[r][m]);
}

template <Format F>
static void many_rows(const Tables& t, const Weights& w, const void* packed, int64_t rows, int64_t n0, int64_t n1,
                      void* out, bool out_is_bfloat16, int64_t out_stride, void* scratch) {
  constexpr int kTile = 4;
  __m512i* values = static_cast<__m512i*>(scratch);
  __m512* scale = reinterpret_cast<__m512*>(values + kBlockOutputs * kBlockK / 32);
  float* sums = reinterpret_cast<float*>(scale + kBlockOutputs * (kBlockK / kUnit));
  const int64_t bits = F == kBfloat16 ? 16 : F == kInt8 ? 8 : 4;
  const int64_t x_row = padded(w.k) / 32;
  for (int64_t n = n0; n < n1; n += kBlockOutputs) {
    const int64_t outputs = n1 - n < kBlockOutputs ? n1 - n : kBlockOutputs;
    for (int64_t i = 0; i < rows * kBlockOutputs; ++i) sums[i] = 0.0f;
    for (int64_t k0 = 0; k0 < w.k; k0 += kBlockK) {
      const int64_t end = k0 + kBlockK < w.k ? k0 + kBlockK : w.k;
      const int64_t units = (end - k0 + kUnit - 1) / kUnit;
      for (int64_t r = 0; r < outputs; ++r) {
        const uint8_t* row = static_cast<const uint8_t*>(w.data) + (n + r) * (w.k * bits / 8);
        for (int64_t u = 0; u < units; ++u) {
          const int64_t k = k0 + u * kUnit;
          __m512i* to = values + r * (kBlockK / 32) + 4 * u;
          if (k + kUnit <= w.k)
            decode<F, true>(t, row, k, kUnit, to);
          else
            decode<F, false>(t, row, k, w.k - k, to);
          if constexpr (F == kInt4) scale[r * (kBlockK / kUnit) + u] = scales(w, n + r, k);
        }
      }
      for (int64_t m = 0; m < rows; m += kBlockRows) {
        const int64_t count = rows - m < kBlockRows ? rows - m : kBlockRows;
        const __m512i* x[kBlockRows];
        // Fewer rows than a tile: the last is computed again, into sums that nobody reads.
        alignas(64) float spare[kBlockRows * kBlockOutputs];
        float* to = sums + m * kBlockOutputs;
        for (int64_t i = 0; i < kBlockRows; ++i)
          x[i] = static_cast<const __m512i*>(packed) + (m + (i < count ? i : count - 1)) * x_row + k0 / 32;
        if (count < kBlockRows) {
          for (int64_t i = 0; i < kBlockRows * kBlockOutputs; ++i) spare[i] = 0.0f;
          to = spare;
        }
        int64_t r = 0;
        for (; r + kTile <= outputs; r += kTile)
          block_tile<F, kTile, kBlockRows>(values + r * (kBlockK / 32), scale + r * (kBlockK / kUnit), x, units, to + r);
        for (; r < outputs; ++r)
          block_tile<F, 1, kBlockRows>(values + r * (kBlockK / 32), scale + r * (kBlockK / kUnit), x, units, to + r);
        if (count < kBlockRows)
          for (int64_t i = 0; i < count * kBlockOutputs; ++i) sums[m * kBlockOutputs + i] += spare[i];
      }
    }
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t r = 0; r < outputs; ++r) {
        const float s = F == kInt8 ? static_cast<const float*>(w.scale)[n + r] : 1.0f;
        put(out, out_is_bfloat16, m * out_stride + n + r, s * sums[m * kBlockOutputs + r]);
      }
  }
}

template <Format F>
static void nk_of(const Weights& w, const void* packed, int64_t rows, int64_t n0, int64_t n1, void* out,
                  bool out_is_bfloat16, int64_t out_stride, void* scratch) {
  const Tables tables = make_tables();
  if (rows > 2 * kFewRows) return many_rows<F>(tables, w, packed, rows, n0, n1, out, out_is_bfloat16, out_stride, scratch);
  for (int64_t m = 0; m < rows; m += kFewRows)
    any_few_rows<F>(tables, w, packed, m, rows - m < kFewRows ? rows - m : kFewRows, n0, n1, out, out_is_bfloat16,
                    out_stride);
}

static void nk(const Weights& w, const void* packed, bool, int64_t rows, int64_t n0, int64_t n1, void* out,
               bool out_is_bfloat16, int64_t out_stride, void* scratch) {
  if (w.format == kBfloat16) return nk_of<kBfloat16>(w, packed, rows, n0, n1, out, out_is_bfloat16, out_stride, scratch);
  if (w.format == kInt8) return nk_of<kInt8>(w, packed, rows, n0, n1, out, out_is_bfloat16, out_stride, scratch);
  nk_of<kInt4>(w, packed, rows, n0, n1, out, out_is_bfloat16, out_stride, scratch);
}

// KN: 16 rows of weights at a time, 32 columns of each, two rows interleaved into pairs. Interleaving within 128 bits
// leaves the sums in the order (of columns, within 32) 0-3 8-11 16-19 24-27 and then 4-7 12-15 20-23 28-31.

template <int M, int kPairs>
static inline void kn_step(const uint16_t* const* row, int64_t n, uint32_t mask, const uint16_t* x, int64_t x_row,
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

template <int M, int kPairs>
static void kn_rows(const Weights& w, const uint16_t* x, int64_t k, int64_t end, int64_t n0, int64_t n1, float* sums,
                    int64_t stride) {
  const uint16_t* row[2 * kPairs];
  for (int i = 0; i < 2 * kPairs; ++i) row[i] = k + i < end ? static_cast<const uint16_t*>(w.data) + (k + i) * w.n : nullptr;
  int64_t n = n0;
  for (; n + 32 <= n1; n += 32) kn_step<M, kPairs>(row, n, ~0u, x + k, padded(w.k), sums + n - n0, stride);
  if (n < n1)
    kn_step<M, kPairs>(row, n, static_cast<uint32_t>(first(n1 - n, 32)), x + k, padded(w.k), sums + n - n0, stride);
}

template <int M>
static void kn_of(const Weights& w, const uint16_t* x, int64_t k0, int64_t k1, int64_t n0, int64_t n1, float* sums,
                  int64_t stride) {
  int64_t k = k0;
  for (; k + 16 <= k1; k += 16) kn_rows<M, 8>(w, x, k, k1, n0, n1, sums, stride);
  for (; k < k1; k += 2) kn_rows<M, 1>(w, x, k, k1, n0, n1, sums, stride);
}

static void kn(const Weights& w, const void* packed, bool, int64_t rows, int64_t k0, int64_t k1, int64_t n0,
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

static void kn_finish(const float* sums, int64_t count, void* out, bool out_is_bfloat16) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t within = i % 32, lane = within / 8, place = within % 8;
    put(out, out_is_bfloat16, i, sums[i - within + (place / 4) * 16 + lane * 4 + place % 4]);
  }
}

}  // namespace

extern const Level kAvx512Bf16;
const Level kAvx512Bf16 = {"avx512_bf16", &kAttendAvx512, packed_row_bytes, pack_row, nk_scratch_bytes, nk, kn, kn_finish};

}  // namespace codegemma

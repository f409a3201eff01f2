// The products with AVX-512 BF16 and VBMI (AMD from Zen 4, Intel from Sapphire Rapids): bfloat16 activations, and
// weights that are made bfloat16 in registers, which is exact for int8 and int4. Sums are float32.
//
// Activations are packed once, in the order in which the weights come out of the registers, a unit of 128 being four
// registers of 16 pairs:
//   bfloat16  natural order
//   int8      within 64: the low 8 of each 16, then the high 8 of each 16 (what unpacking bytes to words gives)
//   int4      register s, pair j: elements 8 j + s and 8 j + 4 + s (the nibbles s of the two words of 8 nibbles)
// A float32 activation has no such path here; the caller takes the AVX-512 level for it.
#include "avx512_bf16.h"

namespace codegemma {
namespace {

constexpr int64_t kBlockOutputs = 32;  // of many rows: weights decoded at a time ...
constexpr int64_t kBlockK = 2048;      // ... 128 KiB, which stay in the second-level cache
constexpr int64_t kBlockRows = 6;
constexpr int64_t kLaneOutputs = 64;  // of few rows: outputs whose sums are kept at a time

static size_t packed_row_bytes(Format, bool, int64_t k) { return packed_stride(k) * 2; }

// 64 elements of which lane i of the two registers takes the one at `order`.
static inline __m512i pick(__m512i low, __m512i high, const uint16_t* order) {
  return _mm512_permutex2var_epi16(low, _mm512_loadu_si512(order), high);
}

static void pack_row(Format format, const void* x, bool, int64_t k, void* packed) {
  const uint16_t* from = static_cast<const uint16_t*>(x);
  __m512i* to = static_cast<__m512i*>(packed);
  uint16_t int8_order[64], int4_order[4][32];
  for (int i = 0; i < 64; ++i) int8_order[i] = i % 32 / 8 * 16 + i / 32 * 8 + i % 8;
  // Lanes from 16 on are of the unit's second half, from where `pick` takes its elements again.
  for (int s = 0; s < 4; ++s)
    for (int i = 0; i < 32; ++i) int4_order[s][i] = i % 16 / 2 * 8 + i % 2 * 4 + s;
  for (int64_t u = 0; u < padded(k); u += kUnit, to += 4) {
    __m512i unit[4];
    for (int i = 0; i < 4; ++i)
      unit[i] = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(first_lanes(k - u - 32 * i, 32)), from + u + 32 * i);
    for (int i = 0; i < 4; ++i) {
      if (format == kInt8) {
        to[i] = pick(unit[i / 2 * 2], unit[i / 2 * 2 + 1], int8_order + i % 2 * 32);
      } else if (format == kInt4) {
        const __m512i first = pick(unit[0], unit[1], int4_order[i]), second = pick(unit[2], unit[3], int4_order[i]);
        to[i] = _mm512_mask_mov_epi16(first, 0xffff0000u, second);
      } else {
        to[i] = unit[i];
      }
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

template <bool kWhole>
INLINE __m512i load(const uint8_t* from, int64_t bytes) {
  return kWhole ? _mm512_loadu_si512(from) : _mm512_maskz_loadu_epi8(first_lanes(bytes, 64), from);
}

// A unit of a row of weights, `count` elements at `from`, as bfloat16 in the order of the packed activations: registers
// 0 to 3 of it, asked for in this order, so that few are held at a time.
template <Format F, bool kWhole>
struct Unit {
  __m512i held;

  INLINE_METHOD __m512i get(int i, const Tables& t, const uint8_t* from, int64_t count) {
    if constexpr (F == kBfloat16) return load<kWhole>(from + 64 * i, 2 * count - 64 * i);
    if constexpr (F == kInt8) {
      if (i % 2 == 1) return held;
      const __m512i value = load<kWhole>(from + 32 * i, count - 32 * i);
      const __m512i index = _mm512_abs_epi8(value);
      const __m512i low = _mm512_permutex2var_epi8(t.low[0], index, t.low[1]);
      __m512i high = _mm512_permutex2var_epi8(t.high[0], index, t.high[1]);
      high = _mm512_ternarylogic_epi32(high, value, _mm512_set1_epi8(static_cast<char>(0x80)), 0xf8);
      held = _mm512_unpackhi_epi8(low, high);
      return _mm512_unpacklo_epi8(low, high);
    }
    if (i == 0) held = load<kWhole>(from, count / 2);
    return _mm512_permutexvar_epi16(i == 0 ? held : _mm512_srli_epi16(held, 4 * i), t.nibble);
  }
};

// All four at once.
template <Format F, bool kWhole>
INLINE void decode(const Tables& t, const uint8_t* from, int64_t count, __m512i* out) {
  Unit<F, kWhole> unit;
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) out[i] = unit.get(i, t, from, count);
}

// Where the scales of int4 weights are, by shifts: divisions in an inner loop would take as long as its products.
struct Scales {
  const uint16_t* from;
  int64_t row;  // scales of an output
  int shift;    // of an input's number, to its group's
  __m512i place_of_32;  // where the lanes take the scale of their group of 32 from

  explicit Scales(const Weights& w)
      : from(static_cast<const uint16_t*>(w.scale)),
        row(w.format == kInt4 ? w.k / w.group : 0),
        shift(w.format == kInt4 ? __builtin_ctzll(w.group) : 0) {
    alignas(64) int8_t place[64];
    for (int i = 0; i < 64; ++i) place[i] = static_cast<int8_t>(i % 4 < 2 ? -1 : i / 16 * 2 + i % 2);
    place_of_32 = _mm512_load_si512(place);
  }

  const char* place(int64_t n, int64_t k) const { return reinterpret_cast<const char*>(from + n * row + (k >> shift)); }

  // Of 128 weights of output n, from k on, one for each pair of lanes; a lane holds 8 consecutive weights. kWhole: there
  // are as many.
  template <bool kWhole>
  INLINE_METHOD __m512 of(int64_t n, int64_t k) const {
    const uint16_t* group = from + n * row + (k >> shift);
    if ((1 << shift) >= kUnit) return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int32_t>(group[0]) << 16));
    if (kWhole && shift == 5) {
      // Four scales, one for each quarter of the register, whose lanes take it as their high half.
      int64_t four;
      __builtin_memcpy(&four, group, sizeof four);
      return _mm512_castsi512_ps(_mm512_shuffle_epi8(_mm512_set1_epi64(four), place_of_32));
    }
    const __m128i loaded = _mm_maskz_loadu_epi16(static_cast<__mmask8>(first_lanes(row - (k >> shift), 8)), group);
    const __m512i wide = _mm512_slli_epi32(_mm512_castsi256_si512(_mm256_cvtepu16_epi32(loaded)), 16);
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi32(_mm512_srli_epi32(lane, shift - 3), wide));
  }
};

// Rows of packed activations, in the four registers that addressing 8 of them takes.
struct Rows {
  const char *first, *fifth;
  int64_t stride, stride_3;

  Rows(const void* packed, int64_t m0, int64_t k)
      : first(static_cast<const char*>(packed) + m0 * packed_stride(k) * 2),
        fifth(first + 4 * packed_stride(k) * 2),
        stride(packed_stride(k) * 2),
        stride_3(3 * stride) {}

  // The rows from the fifth on.
  Rows after_4() const {
    Rows rest = *this;
    rest.first = fifth;
    return rest;
  }

  INLINE_METHOD __m512i get(int m, int64_t offset) const {
    const char* from = (m < 4 ? first : fifth) + offset;
    return _mm512_load_si512(from + (m % 4 == 3 ? stride_3 : m % 4 * stride));
  }
};

// Adds a unit of inputs to R outputs of M rows, whose sums are a register each. Every loop over r, m and i must be
// unrolled, or the sums leave the registers.
template <Format F, int R, int M, bool kWhole>
INLINE void add_unit(const Tables& t, const uint8_t* from, int64_t row_bytes, int64_t count, const Rows& x, int64_t k,
                     __m512 (&sums)[R][M]) {
  Unit<F, kWhole> unit[R];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    __m512i value[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) value[r] = unit[r].get(i, t, from + r * row_bytes, count);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const __m512i xs = x.get(m, 2 * k + 64 * i);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sums[r][m] = _mm512_dpbf16_ps(sums[r][m], pairs(value[r]), pairs(xs));
    }
  }
}

// Adds a unit to the sums: of int4, scaled first.
template <Format F, int R, int M, bool kWhole>
INLINE void add_scaled(const Tables& t, const Scales& scales, int64_t n, int64_t k, int64_t count, const uint8_t* from,
                       int64_t row_bytes, const Rows& x, __m512 (&sums)[R][M]) {
  if constexpr (F != kInt4) {
    add_unit<F, R, M, kWhole>(t, from, row_bytes, count, x, k, sums);
  } else {
    __m512 part[R][M];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) part[r][m] = _mm512_setzero_ps();
    add_unit<F, R, M, kWhole>(t, from, row_bytes, count, x, k, part);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512 scale = scales.of<kWhole>(n + r, k);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        sums[r][m] = _mm512_fmadd_ps(part[r][m], scale, sums[r][m]);
      }
    }
  }
}

// Adds inputs k0 .. k1 to R outputs of M rows, whose sums are in `lanes`, an output's `kStride` behind the one before.
template <Format F, int R, int M, int kStride, bool kPrefetch>
INLINE void tile(const Tables& t, const Weights& w, const Scales& scales, const Rows& x, int64_t n, int64_t k0,
                 int64_t k1, __m512* lanes) {
  constexpr int64_t kBits = F == kBfloat16 ? 16 : F == kInt8 ? 8 : 4;
  constexpr int64_t kUnitBytes = kUnit * kBits / 8;
  const int64_t row_bytes = w.k * kBits / 8;
  const uint8_t* rows = static_cast<const uint8_t*>(w.data) + n * row_bytes;
  __m512 sums[R][M];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) sums[r][m] = lanes[r * kStride + m];
  // What is to be prefetched. Whole rows lie behind each other, and are taken in that order, however many are read side
  // by side: memory is fastest from one place on; so far ahead that the last row's beginning comes in time. Of parts of
  // rows, what comes so many bytes later in each, and behind k1 in the rows of the next tiles. Each weight is read once:
  // it need not put activations out of a cache.
  constexpr int64_t kAhead = F != kBfloat16 ? 4096 : M > 2 ? 2048 : 8192;
  constexpr int64_t kScalesAhead = 2048;
  const int64_t length = (k1 - k0) * kBits / 8;
  const bool whole = length == row_bytes;
  const int64_t apart = whole ? kUnitBytes : row_bytes, step = whole ? R * kUnitBytes : kUnitBytes;
  const uint8_t* ahead = rows + k0 * kBits / 8;
  ahead += whole ? (R - 1) * row_bytes + kAhead : kAhead / length * R * row_bytes + kAhead % length;
  int64_t left = whole ? INT64_MAX : length - kAhead % length;
  int64_t k = k0;
  for (; k + kUnit <= k1; k += kUnit) {
    if constexpr (kPrefetch) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int64_t i = 0; i < kUnitBytes; i += 64)
          _mm_prefetch(reinterpret_cast<const char*>(ahead) + r * apart + i, _MM_HINT_NTA);
      if constexpr (F == kInt4) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) _mm_prefetch(scales.place(n + r, k) + kScalesAhead, _MM_HINT_NTA);
      }
      ahead += step;
      left -= kUnitBytes;
      if (left <= 0) {
        left += length;
        ahead += R * row_bytes - length;
      }
    }
    add_scaled<F, R, M, true>(t, scales, n, k, kUnit, rows + k * kBits / 8, row_bytes, x, sums);
  }
  if (k < k1) add_scaled<F, R, M, false>(t, scales, n, k, k1 - k, rows + k * kBits / 8, row_bytes, x, sums);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) lanes[r * kStride + m] = sums[r][m];
}

// As `tile`, of all M rows. Sums of int4 are held beside a unit's, so registers are enough for four rows: the others
// are taken after them, while the weights are in the first-level cache.
template <Format F, int R, int M>
INLINE void tiles(const Tables& t, const Weights& w, const Scales& scales, const Rows& x, int64_t n, int64_t k0,
                  int64_t k1, __m512* lanes) {
  constexpr int kFirst = F == kInt4 && M > 4 ? 4 : M;
  tile<F, R, kFirst, M, true>(t, w, scales, x, n, k0, k1, lanes);
  if constexpr (kFirst < M) tile<F, R, M - kFirst, M, false>(t, w, scales, x.after_4(), n, k0, k1, lanes + kFirst);
}

// The sums of the 16 lanes of each of 16 registers, which are `stride` apart; in the same order for each.
INLINE __m512 add_lanes(const __m512* from, int64_t stride) {
  __m512 v[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) v[i] = from[i * stride];
  // Each step adds the two halves of what is left of every register, and joins two registers.
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i)
    v[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[i], v[i + 8], 0x44), _mm512_shuffle_f32x4(v[i], v[i + 8], 0xee));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    v[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[i], v[i + 4], 0x88), _mm512_shuffle_f32x4(v[i], v[i + 4], 0xdd));
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i)
    v[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[i], v[i + 2]), _mm512_unpackhi_ps(v[i], v[i + 2]));
  v[0] = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
  return _mm512_shuffle_f32x4(v[0], v[0], 0xd8);  // registers 0-3, 8-11, 4-7, 12-15
}

template <Format F, int M, int R>
__attribute__((noinline)) static void few_rows_by(const Tables& t, const Weights& w, const void* packed, int64_t m0,
                                               int64_t n0, int64_t n1, void* out, bool out_is_bfloat16,
                                               int64_t out_stride, void* scratch) {
  // Inputs taken at a time, so that several rows of activations stay in the first-level cache.
  const int64_t block = M <= 2 ? w.k : F == kInt8 ? 1024 : 2048;
  const Rows x(packed, m0, w.k);
  const Scales scales(w);
  __m512* lanes = static_cast<__m512*>(scratch);
  for (int64_t first = n0; first < n1; first += kLaneOutputs) {
    const int64_t last = first + kLaneOutputs < n1 ? first + kLaneOutputs : n1;
    for (int64_t i = 0; i < kLaneOutputs * M; ++i) lanes[i] = _mm512_setzero_ps();
    for (int64_t k = 0; k < w.k; k += block) {
      const int64_t end = k + block < w.k ? k + block : w.k;
      int64_t n = first;
      for (; n + R <= last; n += R) tiles<F, R, M>(t, w, scales, x, n, k, end, lanes + (n - first) * M);
      for (; n < last; ++n) tiles<F, 1, M>(t, w, scales, x, n, k, end, lanes + (n - first) * M);
    }
    for (int64_t n = first; n < last; n += 16) {
      const __mmask16 mask = static_cast<__mmask16>(first_lanes(last - n, 16));
      const __m512 factor = F == kInt8 ? _mm512_maskz_loadu_ps(mask, static_cast<const float*>(w.scale) + n)
                                       : _mm512_set1_ps(1.0f);
      for (int64_t m = 0; m < M; ++m)
        put16(out, out_is_bfloat16, (m0 + m) * out_stride + n, mask,
              _mm512_mul_ps(factor, add_lanes(lanes + (n - first) * M + m, M)));
    }
  }
}

// Rows of weights read side by side, R: with one, each step to its sum waits for the one before; with several, all but
// the last must be in the first-level cache before they are needed, where long rows of activations leave little place.
template <Format F, int M>
static void few_rows(const Tables& t, const Weights& w, const void* packed, int64_t m0, int64_t n0, int64_t n1, void* out,
                     bool out_is_bfloat16, int64_t out_stride, void* scratch) {
  constexpr int kShort = M > 1 ? 2 : F == kBfloat16 ? 1 : F == kInt8 ? 2 : 4;
  constexpr int kLong = F == kBfloat16 && M == 1 ? 1 : 2;
  if (w.k <= 4096)
    return few_rows_by<F, M, kShort>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride, scratch);
  few_rows_by<F, M, kLong>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride, scratch);
}

// A row's sums are made in the same order whatever M is, so batch-mates change nothing.
template <Format F>
static void any_few_rows(const Tables& t, const Weights& w, const void* packed, int64_t m0, int64_t rows, int64_t n0,
                         int64_t n1, void* out, bool out_is_bfloat16, int64_t out_stride, void* scratch) {
  switch (rows) {
    case 1: return few_rows<F, 1>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride, scratch);
    case 2: return few_rows<F, 2>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride, scratch);
    case 3: return few_rows<F, 3>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride, scratch);
    case 4: return few_rows<F, 4>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride, scratch);
    case 5: return few_rows<F, 5>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride, scratch);
    case 6: return few_rows<F, 6>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride, scratch);
    case 7: return few_rows<F, 7>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride, scratch);
    default: return few_rows<F, 8>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride, scratch);
  }
}

// Many rows. Weights of 32 outputs and 2048 inputs are decoded once, then serve all rows, 6 at a time.

static size_t nk_scratch_bytes(int64_t rows, int64_t) {
  if (rows <= 2 * kFewRows) return kLaneOutputs * kFewRows * sizeof(__m512);
  return kBlockOutputs * kBlockK * 2 + kBlockOutputs * (kBlockK / kUnit) * 64 + rows * kBlockOutputs * 4;
}

template <Format F, int R, int M>
static void block_tile(const __m512i* values, const __m512* scale, const __m512i* const* x, int64_t units,
                       float* sums) {
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
  const int64_t x_row = packed_stride(w.k) / 32;
  const Scales of_weights(w);
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
            decode<F, true>(t, row + k * bits / 8, kUnit, to);
          else
            decode<F, false>(t, row + k * bits / 8, w.k - k, to);
          if constexpr (F == kInt4) scale[r * (kBlockK / kUnit) + u] = of_weights.of<false>(n + r, k);
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
          block_tile<F, kTile, kBlockRows>(values + r * (kBlockK / 32), scale + r * (kBlockK / kUnit), x, units,
                                           to + r);
        for (; r < outputs; ++r)
          block_tile<F, 1, kBlockRows>(values + r * (kBlockK / 32), scale + r * (kBlockK / kUnit), x, units, to + r);
        if (count < kBlockRows)
          for (int64_t i = 0; i < count * kBlockOutputs; ++i) sums[m * kBlockOutputs + i] += spare[i];
      }
    }
    for (int64_t r = 0; r < outputs; r += 16) {
      const __mmask16 mask = static_cast<__mmask16>(first_lanes(outputs - r, 16));
      const __m512 factor = F == kInt8 ? _mm512_maskz_loadu_ps(mask, static_cast<const float*>(w.scale) + n + r)
                                       : _mm512_set1_ps(1.0f);
      for (int64_t m = 0; m < rows; ++m)
        put16(out, out_is_bfloat16, m * out_stride + n + r, mask,
              _mm512_mul_ps(factor, _mm512_loadu_ps(sums + m * kBlockOutputs + r)));
    }
  }
}

template <Format F>
static void nk_of(const Weights& w, const void* packed, int64_t rows, int64_t n0, int64_t n1, void* out,
                  bool out_is_bfloat16, int64_t out_stride, void* scratch) {
  const Tables tables = make_tables();
  if (rows > 2 * kFewRows)
    return many_rows<F>(tables, w, packed, rows, n0, n1, out, out_is_bfloat16, out_stride, scratch);
  for (int64_t m = 0; m < rows; m += kFewRows)
    any_few_rows<F>(tables, w, packed, m, rows - m < kFewRows ? rows - m : kFewRows, n0, n1, out, out_is_bfloat16,
                    out_stride, scratch);
}

static void nk(const Weights& w, const void* packed, bool, int64_t rows, int64_t n0, int64_t n1, void* out,
               bool out_is_bfloat16, int64_t out_stride, void* scratch) {
  if (w.format == kBfloat16)
    return nk_of<kBfloat16>(w, packed, rows, n0, n1, out, out_is_bfloat16, out_stride, scratch);
  if (w.format == kInt8) return nk_of<kInt8>(w, packed, rows, n0, n1, out, out_is_bfloat16, out_stride, scratch);
  nk_of<kInt4>(w, packed, rows, n0, n1, out, out_is_bfloat16, out_stride, scratch);
}

}  // namespace

extern const Level kAvx512Bf16;
const Level kAvx512Bf16 = {"avx512_bf16", &kAttendAvx512,   &kGatedAvx512, &kNormAvx512,
                           packed_row_bytes, pack_row, nk_scratch_bytes,
                           nk, add_inputs_avx512_bf16, finish_inputs_avx512_bf16};

}  // namespace codegemma

// The products with AVX-512 BF16 and VNNI (AMD from Zen 4, Intel from Cooper Lake), of bfloat16 activations. Weights of
// bfloat16 and int4, which is made bfloat16 in registers and exact in it, are multiplied as pairs of these and summed in
// float32. Bytes would take twelve instructions a unit to become bfloat16, four to become words: so activations of int8
// weights are words too, of 1 / 32767 of the largest of 2048 each, and sums of 2048 inputs exact integers. The step is at
// most 1 / 128 of one in the last place of that largest activation.
//
// Activations are packed once, in the order in which the weights come out of the registers, a unit of 128 being four
// registers of 16 pairs:
//   bfloat16, int8  natural order; of int8 the rows' scales lie behind them
//   int4            register s, pair j: elements 8 j + s and 8 j + 4 + s (the nibbles s of the two words of 8 nibbles)
// A float32 activation has no such path here; the caller takes the AVX-512 level for it.
#include "avx512_bf16.h"
#include "nibbles_avx512.h"

namespace codegemma {
namespace {

constexpr int64_t kLaneOutputs = 128;  // whose sums are kept at a time
// Taken at a time, so that several rows of activations stay in the first-level cache; they share a scale.
constexpr int64_t kInputs = kScaledInputs;

static size_t nk_scratch_bytes(int64_t rows, int64_t) {
  return kLaneOutputs * (rows < kFewRows ? rows : kFewRows) * sizeof(__m512);
}

// Sums of products of pairs.
template <Format F>
struct Sum {
  __m512 value;
  INLINE_METHOD void clear() { value = _mm512_setzero_ps(); }
  INLINE_METHOD void add(__m512i weights, __m512i x) { value = _mm512_dpbf16_ps(value, pairs(weights), pairs(x)); }
};

template <>
struct Sum<kInt8> {
  __m512i value;
  INLINE_METHOD void clear() { value = _mm512_setzero_si512(); }
  INLINE_METHOD void add(__m512i weights, __m512i x) { value = _mm512_dpwssd_epi32(value, weights, x); }
};

template <bool kWhole>
INLINE __m512i load(const uint8_t* from, int64_t bytes) {
  return kWhole ? _mm512_loadu_si512(from) : _mm512_maskz_loadu_epi8(first_lanes(bytes, 64), from);
}

// A unit of a row of weights, `count` elements at `from`, as bfloat16 or words in the order of the packed activations:
// registers 0 to 3 of it, asked for in this order, so that few are held at a time.
template <Format F, bool kWhole>
struct Unit {
  __m512i held;

  INLINE_METHOD __m512i get(int i, const Nibbles& t, const uint8_t* from, int64_t count) {
    if constexpr (F == kBfloat16) return load<kWhole>(from + 64 * i, 2 * count - 64 * i);
    if constexpr (F == kInt8) {
      const auto* bytes = reinterpret_cast<const __m256i*>(from + 32 * i);
      return _mm512_cvtepi8_epi16(
          kWhole ? _mm256_loadu_si256(bytes)
                 : _mm256_maskz_loadu_epi8(static_cast<__mmask32>(first_lanes(count - 32 * i, 32)), bytes));
    }
    if (i == 0) held = load<kWhole>(from, count / 2);
    return _mm512_permutexvar_epi16(i == 0 ? held : _mm512_srli_epi16(held, 4 * i), t);
  }
};

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
  int64_t stride, stride_3, scales;

  Rows(const void* packed, int64_t m0, int64_t k)
      : first(static_cast<const char*>(packed) + m0 * packed_stride(k) * 2),
        fifth(first + 4 * packed_stride(k) * 2),
        stride(packed_stride(k) * 2),
        stride_3(3 * stride),
        scales(padded(k) * 2) {}

  // Of int8: what the sums of row m over inputs from k on, up to the next scale, are to be multiplied with.
  INLINE_METHOD __m512 scale(int m, int64_t k) const {
    const char* from = first + m * stride + scales + k / kScaledInputs * 4;
    return _mm512_set1_ps(*reinterpret_cast<const float*>(from));
  }

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
INLINE void add_unit(const Nibbles& t, const uint8_t* from, int64_t row_bytes, int64_t count, const Rows& x, int64_t k,
                     Sum<F> (&sums)[R][M]) {
  Unit<F, kWhole> unit[R];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    __m512i value[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) value[r] = unit[r].get(i, t, from + r * row_bytes, count);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      __m512i xs = x.get(m, 2 * k + 64 * i);
      // One load for R products: the compiler would rather have each read memory, more than two loads a cycle.
      if constexpr (R > 1) asm("" : "+v"(xs));
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sums[r][m].add(value[r], xs);
    }
  }
}

// Adds a unit to the sums: of int4, scaled first.
template <Format F, int R, int M, bool kWhole>
INLINE void add_scaled(const Nibbles& t, const Scales& scales, int64_t n, int64_t k, int64_t count, const uint8_t* from,
                       int64_t row_bytes, const Rows& x, Sum<F> (&sums)[R][M]) {
  if constexpr (F != kInt4) {
    add_unit<F, R, M, kWhole>(t, from, row_bytes, count, x, k, sums);
  } else {
    Sum<F> part[R][M];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) part[r][m].clear();
    add_unit<F, R, M, kWhole>(t, from, row_bytes, count, x, k, part);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512 scale = scales.of<kWhole>(n + r, k);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        sums[r][m].value = _mm512_fmadd_ps(part[r][m].value, scale, sums[r][m].value);
      }
    }
  }
}

// Adds inputs k0 .. k1, which share a scale, to R outputs of M rows, whose sums are in `lanes`, an output's `kStride`
// behind the one before; what is there before the first inputs does not matter.
template <Format F, int R, int M, int kStride, bool kPrefetch>
INLINE void tile(const Nibbles& t, const Weights& w, const Scales& scales, const Rows& x, int64_t n, int64_t k0,
                 int64_t k1, __m512* lanes) {
  constexpr int64_t kBits = F == kBfloat16 ? 16 : F == kInt8 ? 8 : 4;
  constexpr int64_t kUnitBytes = kUnit * kBits / 8;
  const int64_t row_bytes = w.k * kBits / 8;
  const uint8_t* rows = static_cast<const uint8_t*>(w.data) + n * row_bytes;
  // What is to be prefetched. Whole rows lie behind each other, and are taken in that order, however many are read side
  // by side: memory is fastest from one place on; so far ahead that the last row's beginning comes in time. Of parts of
  // rows, what comes so many bytes later in each, and behind k1 in the rows of the next tiles. Each weight is read once:
  // it need not put activations out of a cache.
  constexpr int64_t kAhead = F == kInt4 || (F == kInt8 && M <= 2) ? 4096 : 8192;
  constexpr int64_t kScalesAhead = 2048;
  const int64_t length = (k1 - k0) * kBits / 8;
  const bool whole = length == row_bytes;
  const int64_t apart = whole ? kUnitBytes : row_bytes, step = whole ? R * kUnitBytes : kUnitBytes;
  const uint8_t* ahead = rows + k0 * kBits / 8;
  ahead += whole ? (R - 1) * row_bytes + kAhead : kAhead / length * R * row_bytes + kAhead % length;
  int64_t left = whole ? INT64_MAX : length - kAhead % length;
  Sum<F> sums[R][M];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      sums[r][m].clear();
      if constexpr (F != kInt8)
        if (k0 > 0) sums[r][m].value = lanes[r * kStride + m];
    }
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
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      __m512& lane = lanes[r * kStride + m];
      if constexpr (F == kInt8) {
        const __m512 before = k0 > 0 ? lane : _mm512_setzero_ps();
        lane = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][m].value), x.scale(m, k0), before);
      } else {
        lane = sums[r][m].value;
      }
    }
  }
}

// As `tile`, of all M rows. Sums of int4 are held beside a unit's, so registers are enough for four rows: the others
// are taken after them, while the weights are in the first-level cache.
template <Format F, int R, int M>
INLINE void tiles(const Nibbles& t, const Weights& w, const Scales& scales, const Rows& x, int64_t n, int64_t k0,
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
__attribute__((noinline)) static void few_rows_by(const Nibbles& t, const Weights& w, const void* packed, int64_t m0,
                                               int64_t n0, int64_t n1, void* out, bool out_is_bfloat16,
                                               int64_t out_stride, void* scratch) {
  const Rows x(packed, m0, w.k);
  const Scales scales(w);
  __m512* lanes = static_cast<__m512*>(scratch);
  for (int64_t first = n0; first < n1; first += kLaneOutputs) {
    const int64_t last = first + kLaneOutputs < n1 ? first + kLaneOutputs : n1;
    for (int64_t k = 0; k < w.k; k += kInputs) {
      const int64_t end = k + kInputs < w.k ? k + kInputs : w.k;
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
static void few_rows(const Nibbles& t, const Weights& w, const void* packed, int64_t m0, int64_t n0, int64_t n1,
                     void* out, bool out_is_bfloat16, int64_t out_stride, void* scratch) {
  constexpr int kOfOne = F == kBfloat16 ? 1 : F == kInt8 ? 2 : 4, kOfSeveral = F == kInt8 && M <= 4 ? 4 : 2;
  constexpr int kShort = M == 1 ? kOfOne : kOfSeveral;
  constexpr int kLong = F == kBfloat16 && M == 1 ? 1 : 2;
  if (w.k <= 4096)
    return few_rows_by<F, M, kShort>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride, scratch);
  few_rows_by<F, M, kLong>(t, w, packed, m0, n0, n1, out, out_is_bfloat16, out_stride, scratch);
}

// A row's sums are made in the same order whatever M is, so batch-mates change nothing.
template <Format F>
static void any_few_rows(const Nibbles& t, const Weights& w, const void* packed, int64_t m0, int64_t rows, int64_t n0,
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

template <Format F>
static void nk_of(const Weights& w, const void* packed, int64_t rows, int64_t n0, int64_t n1, void* out,
                  bool out_is_bfloat16, int64_t out_stride, void* scratch) {
  const Nibbles nibbles = make_nibbles();
  // So few outputs at a time that their weights stay in the second-level cache for all rows.
  const int64_t step = rows <= kFewRows ? n1 - n0 : kLaneOutputs;
  for (int64_t n = n0; n < n1; n += step)
    for (int64_t m = 0; m < rows; m += kFewRows)
      any_few_rows<F>(nibbles, w, packed, m, rows - m < kFewRows ? rows - m : kFewRows, n, n + step < n1 ? n + step : n1,
                      out, out_is_bfloat16, out_stride, scratch);
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
                           packed_row_bytes_avx512_bf16, pack_row_avx512_bf16, nk_scratch_bytes,
                           nk, add_inputs_avx512_bf16, finish_inputs_avx512_bf16};

}  // namespace codegemma

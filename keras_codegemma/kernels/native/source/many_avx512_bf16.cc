// The products of many rows with AVX-512 BF16: what a task does, compiled for these instructions.
#include "many.h"

#include "nibbles_avx512.h"
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

// Sums with a row per output to results with a row per row.
static void turn(const float* sums, int64_t rows, int64_t outputs, const ManyOut& out) {
  for (int64_t m = 0; m < rows; m += 16)
    for (int64_t n = 0; n < outputs; n += 16) {
      __m512i block[16];
      for (int i = 0; i < 16; ++i)
        block[i] = n + i < outputs ? _mm512_loadu_si512(sums + (n + i) * kTileLanes + m) : _mm512_setzero_si512();
      transpose(block);
      for (int i = 0; i < 16 && m + i < rows; ++i) put(out, m + i, n, lanes(outputs - n), (__m512)block[i]);
    }
}

static int64_t whole_vectors(int64_t rows) { return rows < kTileLanes ? (rows + 15) / 16 * 16 : kTileLanes; }

static void by_outputs(const uint32_t* tile, int64_t rows, int64_t k, const uint16_t* weight, int64_t outputs, float* sums,
                       const ManyOut& out) {
  long_product<false>({words(weight), k / 2, 1}, tile, k / 2, outputs, sums, whole_vectors(rows));
  turn(sums, rows, outputs, out);
}

// Some inputs of a row of int8 as bfloat16.
static void decode_int8(const int8_t* from, int64_t count, uint16_t* to) {
  const auto floats = [&](int64_t i) {
    const __m128i bytes = _mm_maskz_loadu_epi8(lanes(count - i), from + i);
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  };
  for (int64_t i = 0; i < count; i += 32)
    _mm512_storeu_si512(to + i, (__m512i)_mm512_cvtne2ps_pbh(floats(i + 16), floats(i)));
}

// Of int4, whose numbers are looked up: of two in a byte, the even one with the byte itself, of which the higher bits must
// not matter, the odd one with its higher half.
static void decode_int4(Nibbles nibbles, const uint8_t* from, int64_t count, uint16_t* to) {
  for (int64_t i = 0; i < count; i += 32) {
    const __m512i bytes = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes((count - i) / 2), from + i / 2));
    const __m512i both = _mm512_or_si512(bytes, _mm512_slli_epi32(bytes, 12));
    _mm512_storeu_si512(to + i, _mm512_permutexvar_epi16(both, nibbles));
  }
}

// The scales of int4 weights, a row per output.
struct GroupScales {
  const uint16_t* from;
  int64_t row, group_pairs;
};

// c [R, 16 V] += sum over groups g of scales[r, g] times the product of the group's pairs.
template <int R, int V>
static inline void scaled_product(Factors a, const uint32_t* b, int64_t pairs, const GroupScales& scales, float* c) {
  for (int64_t g = 0; g < pairs / scales.group_pairs; ++g) {
    __m512 part[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) part[r][v] = _mm512_setzero_ps();
    add_product(a, b, kTileLanes, scales.group_pairs, part);
    a.from += scales.group_pairs;
    b += scales.group_pairs * kTileLanes;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512 scale = (__m512)_mm512_set1_epi32(scales.from[r * scales.row + g] << 16);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        float* to = c + r * kTileLanes + 16 * v;
        _mm512_storeu_ps(to, _mm512_fmadd_ps(part[r][v], scale, _mm512_loadu_ps(to)));
      }
    }
  }
}

// Adds some decoded inputs of int4 to sums [outputs, kTileLanes].
static void add_scaled(const Factors& a, const uint32_t* b, int64_t pairs, const GroupScales& scales, int64_t outputs,
                       int64_t width, float* sums) {
  for (int64_t p = 0; p < pairs; p += kTilePairs) {
    const int64_t count = pairs - p < kTilePairs ? pairs - p : kTilePairs;
    over_tiles(outputs, width, [&](auto tall, auto vectors, int64_t r, int64_t n) {
      const GroupScales of_tile = {scales.from + r * scales.row + p / scales.group_pairs, scales.row, scales.group_pairs};
      scaled_product<tall, vectors>({a.from + r * a.row + p, a.row, 1}, b + p * kTileLanes + n, count, of_tile,
                                    sums + r * kTileLanes + n);
    });
  }
}

static void by_quantized(const uint32_t* tiles, int64_t rows, const Weights& w, int64_t n0, int64_t outputs,
                         uint16_t* decoded, float* sums, const ManyOut& out) {
  const bool is_int4 = w.format == kInt4;
  const int64_t tile_words = w.k / 2 * kTileLanes, tile_sums = kTileLanes * kTileLanes;
  const int64_t scales_row = is_int4 ? w.k / w.group : 0;
  const Nibbles nibbles = make_nibbles();
  const Factors a = {words(decoded), kManyDecodedPitch / 2, 1};
  for (int64_t k0 = 0; k0 < w.k; k0 += kManyDecoded) {
    const int64_t count = w.k - k0 < kManyDecoded ? w.k - k0 : kManyDecoded;
    for (int64_t n = 0; n < outputs; ++n) {
      const int64_t place = (n0 + n) * w.k + k0;
      if (is_int4)
        decode_int4(nibbles, static_cast<const uint8_t*>(w.data) + place / 2, count, decoded + n * kManyDecodedPitch);
      else
        decode_int8(static_cast<const int8_t*>(w.data) + place, count, decoded + n * kManyDecodedPitch);
    }
    for (int64_t tile = 0; tile * kTileLanes < rows; ++tile) {
      const uint32_t* b = tiles + tile * tile_words + k0 / 2 * kTileLanes;
      float* to = sums + tile * tile_sums;
      const int64_t width = whole_vectors(rows - tile * kTileLanes);
      if (is_int4) {
        if (k0 == 0) __builtin_memset(to, 0, tile_sums * 4);
        const uint16_t* scales = static_cast<const uint16_t*>(w.scale) + n0 * scales_row + k0 / w.group;
        add_scaled(a, b, count / 2, {scales, scales_row, w.group / 2}, outputs, width, to);
      } else if (k0 == 0) {
        long_product<false>(a, b, count / 2, outputs, to, width);
      } else {
        long_product<true>(a, b, count / 2, outputs, to, width);
      }
    }
  }
  for (int64_t tile = 0; tile * kTileLanes < rows; ++tile) {
    const int64_t left = rows - tile * kTileLanes;
    float* from = sums + tile * tile_sums;
    if (!is_int4)
      for (int64_t n = 0; n < outputs; ++n) {
        const __m512 scale = _mm512_set1_ps(static_cast<const float*>(w.scale)[n0 + n]);
        for (int64_t m = 0; m < whole_vectors(left); m += 16) {
          float* to = from + n * kTileLanes + m;
          _mm512_storeu_ps(to, _mm512_mul_ps(scale, _mm512_loadu_ps(to)));
        }
      }
    const ManyOut here = {static_cast<char*>(out.to) + tile * kTileLanes * out.stride * (out.is_bfloat16 ? 2 : 4),
                          out.is_bfloat16, out.stride};
    turn(from, left < kTileLanes ? left : kTileLanes, outputs, here);
  }
}

}  // namespace

extern const ManyLevel kManyAvx512Bf16;
const ManyLevel kManyAvx512Bf16 = {by_inputs, pack, by_outputs, by_quantized};

}  // namespace codegemma

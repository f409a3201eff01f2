// Causal attention with AVX-512 BF16: the loops over tiles, compiled for these instructions.
#include "causal.h"

#include <math.h>

#include "pairs_avx512_bf16.h"

namespace codegemma {
namespace {

constexpr int kVectors = kAttended / 16;
constexpr int64_t kPairs = kAttended / 2;
constexpr float kMasked = -1e30f;

static_assert(kAttended == kTileLanes, "a tile of queries is a tile of lanes");

static void pack_tile(const uint16_t* rows, int64_t count, int64_t stride, int64_t width, uint32_t* to) {
  pack_pairs(rows, count, stride, width, kAttended / 2, width, to);
}

// Which keys of one tile the queries of another may see.
struct Sight {
  bool any, all;           // of the pairs: whether one may be seen, and whether all
  const int32_t* of_keys;  // segments
  __m512i of_queries[kVectors];
  int64_t query, key;  // the tiles' first ones

  Sight(const CausalShape& shape, const CausalOperands& operands, int64_t batch, int64_t query_tile, int64_t key_tile)
      : query(query_tile * kAttended), key(key_tile * kAttended) {
    const int64_t q = batch * shape.tiles() + query_tile, k = batch * shape.tiles() + key_tile;
    const int32_t *low = operands.lowest, *high = operands.highest;
    any = low[q] <= high[k] && low[k] <= high[q];
    all = query_tile != key_tile && low[q] == high[q] && low[k] == high[k] && low[q] == low[k];
    of_keys = operands.segments + batch * shape.time + key;
    for (int v = 0; v < kVectors; ++v) {
      const int64_t left = shape.time - query - 16 * v;
      of_queries[v] = _mm512_maskz_loadu_epi32(lanes(left), operands.segments + batch * shape.time + query + 16 * v);
    }
  }

  __mmask16 mask(int64_t of_key, int v) const {
    const __mmask16 same = _mm512_cmpeq_epi32_mask(of_queries[v], _mm512_set1_epi32(of_keys[of_key]));
    const int64_t first = key + of_key - query - 16 * v;  // the first lane at or behind the key
    return first <= 0 ? same : first >= 16 ? 0 : static_cast<__mmask16>(same & (0xffffu << first));
  }
};

static int64_t forward_words(const CausalShape& shape) {
  return shape.packed() + kAttended * kAttended + kPairs * kAttended + kAttended * shape.width;
}

static void forward(const CausalShape& shape, const CausalOperands& operands, const uint32_t* values, int64_t batch,
                    int64_t head, int64_t tile, uint32_t* scratch, uint16_t* out, float* log_total) {
  const int64_t width = shape.width, q0 = tile * kAttended;
  const int64_t queries = shape.time - q0 < kAttended ? shape.time - q0 : kAttended;
  const int64_t of_queries = shape.heads * width, of_keys = shape.kv_heads * width;
  uint32_t *query = scratch, *weights = query + shape.packed();
  float *scores = reinterpret_cast<float*>(weights + kPairs * kAttended), *mixed = scores + kAttended * kAttended;
  const int64_t place = (batch * shape.time + q0) * of_queries + head * width;
  pack_columns(operands.query + place, queries, of_queries, width / 2, query);

  const __m512 scale = _mm512_set1_ps(1.0f / sqrtf(static_cast<float>(width)));
  __m512 highest[kVectors], total[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    highest[v] = _mm512_set1_ps(kMasked);
    total[v] = _mm512_setzero_ps();
  }
  alignas(64) float old[kAttended];
  // From the diagonal back: its tile holds each query's own key, so the maximum is real at once.
  for (int64_t key_tile = tile; key_tile >= 0; --key_tile) {
    const Sight sight(shape, operands, batch, tile, key_tile);
    if (!sight.any) continue;
    const int64_t k0 = key_tile * kAttended, keys = shape.time - k0 < kAttended ? shape.time - k0 : kAttended;
    const uint16_t* key = operands.key + (batch * shape.time + k0) * of_keys + head / shape.group() * width;
    product<false>({words(key), of_keys / 2, 1}, query, kAttended, width / 2, keys, scores);
    bool same = true;
    for (int v = 0; v < kVectors; ++v) {
      __m512 top = highest[v];
      for (int64_t k = 0; k < keys; ++k) {
        __m512 x = _mm512_mul_ps(_mm512_loadu_ps(scores + k * kAttended + 16 * v), scale);
        if (!sight.all) x = _mm512_mask_blend_ps(sight.mask(k, v), _mm512_set1_ps(kMasked), x);
        _mm512_storeu_ps(scores + k * kAttended + 16 * v, x);
        top = _mm512_max_ps(top, x);
      }
      const __m512 factor = exponential_of(_mm512_sub_ps(highest[v], top));
      same = same && _mm512_cmpneq_ps_mask(highest[v], top) == 0;
      __m512 sum = _mm512_mul_ps(total[v], factor);
      for (int64_t k = 0; k < kAttended; k += 2) {
        __m512 pair[2];
        for (int i = 0; i < 2; ++i)
          pair[i] = k + i < keys ? exponential_of(_mm512_sub_ps(_mm512_loadu_ps(scores + (k + i) * kAttended + 16 * v), top))
                                 : _mm512_setzero_ps();
        sum = _mm512_add_ps(_mm512_add_ps(sum, pair[0]), pair[1]);
        _mm512_storeu_si512(weights + k / 2 * kAttended + 16 * v, as_pairs(pair[0], pair[1]));
      }
      _mm512_store_ps(old + 16 * v, factor);
      highest[v] = top;
      total[v] = sum;
    }
    const uint32_t* value = values + key_tile * shape.packed();
    const Factors factors = {weights, 1, kAttended};
    if (key_tile == tile) {
      product<false>(factors, value, width, kPairs, queries, mixed);
      continue;
    }
    if (!same)
      for (int64_t q = 0; q < queries; ++q)
        for (int64_t h = q * width; h < (q + 1) * width; h += 16)
          _mm512_storeu_ps(mixed + h, _mm512_mul_ps(_mm512_loadu_ps(mixed + h), _mm512_set1_ps(old[q])));
    product<true>(factors, value, width, kPairs, queries, mixed);
  }
  alignas(64) float sums[kAttended], tops[kAttended];
  for (int v = 0; v < kVectors; ++v) {
    _mm512_store_ps(sums + 16 * v, total[v]);
    _mm512_store_ps(tops + 16 * v, highest[v]);
  }
  for (int64_t q = 0; q < queries; ++q) {
    for (int64_t h = q * width; h < (q + 1) * width; h += 16)
      _mm512_storeu_ps(mixed + h, _mm512_div_ps(_mm512_loadu_ps(mixed + h), _mm512_set1_ps(sums[q])));
    narrow(mixed + q * width, width, out + place + q * of_queries);
    log_total[(batch * shape.heads + head) * shape.time + q0 + q] = tops[q] + logf(sums[q]);
  }
}

// Of one head: its queries and its results' gradients, each packed both ways; its queries' gradient; what else each
// query needs; and one tile's scores, gradients of weights, weights, and gradients of scores twice.
static int64_t backward_words(const CausalShape& shape) {
  return shape.tiles() * (4 * shape.packed() + kAttended * shape.width + 2 * kAttended) + shape.packed() +
         2 * kAttended * kAttended + 3 * kAttended * kPairs;
}

static void backward_of_head(const CausalShape& shape, const CausalOperands& operands, const CausalGradients& gradients,
                             int64_t batch, int64_t head, uint32_t* scratch, float* key_sum, float* value_sum) {
  const int64_t width = shape.width, tiles = shape.tiles(), packed = shape.packed();
  const int64_t of_queries = shape.heads * width, of_keys = shape.kv_heads * width;
  uint32_t *query = scratch, *query_pairs = query + tiles * packed, *gradient = query_pairs + tiles * packed,
           *gradient_pairs = gradient + tiles * packed, *key_pairs = gradient_pairs + tiles * packed,
           *weights = key_pairs + packed, *score_gradients = weights + kAttended * kPairs,
           *score_pairs = score_gradients + kAttended * kPairs;
  float *query_sum = reinterpret_cast<float*>(score_pairs + kAttended * kPairs),
        *log_total = query_sum + tiles * kAttended * width, *along = log_total + tiles * kAttended,
        *scores = along + tiles * kAttended, *weight_gradients = scores + kAttended * kAttended;
  const int64_t row0 = batch * shape.time * of_queries + head * width;

  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t q0 = tile * kAttended, count = shape.time - q0 < kAttended ? shape.time - q0 : kAttended;
    const int64_t place = row0 + q0 * of_queries;
    pack_columns(operands.query + place, count, of_queries, width / 2, query + tile * packed);
    pack_tile(operands.query + place, count, of_queries, width, query_pairs + tile * packed);
    pack_columns(gradients.gradient + place, count, of_queries, width / 2, gradient + tile * packed);
    pack_tile(gradients.gradient + place, count, of_queries, width, gradient_pairs + tile * packed);
    for (int64_t q = 0; q < kAttended; ++q) {
      // A query that is not there has weights of 0.
      log_total[q0 + q] = q < count ? gradients.log_total[(batch * shape.heads + head) * shape.time + q0 + q] : -kMasked;
      along[q0 + q] = 0.0f;
      if (q >= count) continue;
      const uint16_t *output = gradients.output + place + q * of_queries, *own = gradients.gradient + place + q * of_queries;
      __m512 sum = _mm512_setzero_ps();
      for (int64_t h = 0; h < width; h += 16)
        sum = _mm512_fmadd_ps((__m512)load(output + h), (__m512)load(own + h), sum);
      along[q0 + q] = _mm512_reduce_add_ps(sum);
    }
  }
  for (int64_t i = 0; i < tiles * kAttended * width; i += 16) _mm512_storeu_ps(query_sum + i, _mm512_setzero_ps());

  const __m512 scale = _mm512_set1_ps(1.0f / sqrtf(static_cast<float>(width)));
  for (int64_t key_tile = 0; key_tile < tiles; ++key_tile) {
    const int64_t k0 = key_tile * kAttended, keys = shape.time - k0 < kAttended ? shape.time - k0 : kAttended;
    const int64_t place = (batch * shape.time + k0) * of_keys + head / shape.group() * width;
    pack_tile(operands.key + place, keys, of_keys, width, key_pairs);
    for (int64_t tile = key_tile; tile < tiles; ++tile) {
      const Sight sight(shape, operands, batch, tile, key_tile);
      if (!sight.any) continue;
      const int64_t q0 = tile * kAttended, queries = shape.time - q0 < kAttended ? shape.time - q0 : kAttended;
      product<false>({words(operands.key + place), of_keys / 2, 1}, query + tile * packed, kAttended, width / 2, keys,
                     scores);
      product<false>({words(operands.value + place), of_keys / 2, 1}, gradient + tile * packed, kAttended, width / 2, keys,
                     weight_gradients);
      for (int64_t k = 0; k < kAttended; k += 2)
        for (int v = 0; v < kVectors; ++v) {
          const __m512 log_sum = _mm512_loadu_ps(log_total + q0 + 16 * v), mean = _mm512_loadu_ps(along + q0 + 16 * v);
          __m512 weight[2], slope[2];
          for (int i = 0; i < 2; ++i) {
            weight[i] = slope[i] = _mm512_setzero_ps();
            if (k + i >= keys) continue;
            const int64_t at = (k + i) * kAttended + 16 * v;
            const __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(scores + at), scale, log_sum);
            const __mmask16 mask = sight.all ? 0xffff : sight.mask(k + i, v);
            weight[i] = _mm512_maskz_mov_ps(mask, exponential_of(_mm512_maskz_mov_ps(mask, x)));
            slope[i] = _mm512_mul_ps(_mm512_mul_ps(weight[i], scale),
                                     _mm512_sub_ps(_mm512_loadu_ps(weight_gradients + at), mean));
            slope[i] = _mm512_maskz_mov_ps(mask, slope[i]);
          }
          for (int i = 0; i < 2; ++i) {
            const int64_t to = (k + i) * kPairs + 8 * v;
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(weights + to), (__m256i)_mm512_cvtneps_pbh(weight[i]));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(score_gradients + to), (__m256i)_mm512_cvtneps_pbh(slope[i]));
          }
          _mm512_storeu_si512(score_pairs + k / 2 * kAttended + 16 * v, as_pairs(slope[0], slope[1]));
        }
      product<true>({weights, kPairs, 1}, gradient_pairs + tile * packed, width, kPairs, keys, value_sum + k0 * width);
      product<true>({score_gradients, kPairs, 1}, query_pairs + tile * packed, width, kPairs, keys, key_sum + k0 * width);
      product<true>({score_pairs, 1, kAttended}, key_pairs, width, kPairs, queries, query_sum + q0 * width);
    }
  }
  for (int64_t q = 0; q < shape.time; ++q)
    narrow(query_sum + q * width, width, gradients.query + row0 + q * of_queries);
}

static void backward(const CausalShape& shape, const CausalOperands& operands, const CausalGradients& gradients,
                     int64_t batch, int64_t first, int64_t end, uint32_t* scratch, float* key, float* value) {
  for (int64_t head = first; head < end; ++head)
    backward_of_head(shape, operands, gradients, batch, head, scratch, key, value);
}

}  // namespace

extern const CausalLevel kCausalAvx512Bf16;
const CausalLevel kCausalAvx512Bf16 = {pack_tile, forward_words, forward, backward_words, backward, narrow};

}  // namespace codegemma

// The loss over a large vocabulary with AVX-512 BF16: the loops over tiles, compiled for these instructions.
#include "loss.h"

#include <math.h>

#include "pairs_avx512_bf16.h"

namespace codegemma {
namespace {

constexpr int kVectors = kLossTile / 16;
constexpr float kLowest = -1e30f;

static_assert(kLossTile == kTileLanes, "a tile of rows is a tile of lanes");

static int64_t rows_of(const LossShape& shape, int64_t tile) {
  const int64_t left = shape.rows - tile * kLossTile;
  return left < kLossTile ? left : kLossTile;
}

static void pack_tile(const LossShape& shape, const uint16_t* hidden, int64_t tile, uint32_t* to) {
  pack_columns(hidden + tile * kLossTile * shape.width, rows_of(shape, tile), shape.width, shape.width / 2, to);
}

static void pack_panel(const uint16_t* rows, int64_t count, int64_t width, int64_t panel, int64_t pairs, uint32_t* to) {
  pack_pairs(rows + panel * kLossTile, count, width, kLossTile, pairs, kTileLanes, to);
}

// Lane by lane, of the rows of a tile.
struct Running {
  float highest[kLossTile], total[kLossTile], label_logit[kLossTile];
  int32_t best[kLossTile];
};
static_assert(sizeof(Running) == 4 * 4 * kLossTile, "as `statistics` states it");

// scores [words, kLossTile] of one tile and some words of the table.
static void score(const LossShape& shape, const LossOperands& operands, const uint32_t* packed, int64_t v0, int64_t count,
                  float* scores) {
  const Factors table = {words(operands.table + v0 * shape.width), shape.width / 2, 1};
  long_product<false>(table, packed, shape.width / 2, count, scores);
}

static void add_scores(const float* scores, int64_t v0, int64_t count, const int32_t* labels, int64_t rows, Running& to) {
  for (int v = 0; v < kVectors; ++v) {
    const int lane = 16 * v;
    const __m512 before = _mm512_loadu_ps(to.highest + lane);
    __m512 highest = before;
    __m512i best = _mm512_loadu_si512(to.best + lane);
    for (int64_t w = 0; w < count; ++w) {
      const __m512 x = _mm512_loadu_ps(scores + w * kLossTile + lane);
      const __mmask16 higher = _mm512_cmp_ps_mask(x, highest, _CMP_GT_OQ);
      best = _mm512_mask_mov_epi32(best, higher, _mm512_set1_epi32(static_cast<int>(v0 + w)));
      highest = _mm512_max_ps(highest, x);
    }
    __m512 total = _mm512_mul_ps(_mm512_loadu_ps(to.total + lane), exponential_of(_mm512_sub_ps(before, highest)));
    for (int64_t w = 0; w < count; ++w)
      total = _mm512_add_ps(total, exponential_of(_mm512_sub_ps(_mm512_loadu_ps(scores + w * kLossTile + lane), highest)));
    _mm512_storeu_ps(to.highest + lane, highest);
    _mm512_storeu_ps(to.total + lane, total);
    _mm512_storeu_si512(to.best + lane, best);
    const __m512i label = _mm512_maskz_loadu_epi32(lanes(rows - lane), labels + lane);
    const __m512i place = _mm512_sub_epi32(label, _mm512_set1_epi32(static_cast<int>(v0)));
    const __mmask16 here = static_cast<__mmask16>(
        lanes(rows - lane) & _mm512_cmplt_epu32_mask(place, _mm512_set1_epi32(static_cast<int>(count))));
    if (here) {
      const __m512i at = _mm512_add_epi32(_mm512_mullo_epi32(place, _mm512_set1_epi32(static_cast<int>(kLossTile))),
                                          _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
      const __m512 found = _mm512_mask_i32gather_ps(_mm512_loadu_ps(to.label_logit + lane), here, at, scores + lane, 4);
      _mm512_storeu_ps(to.label_logit + lane, found);
    }
  }
}

static void statistics(const LossShape& shape, const LossOperands& operands, const uint32_t* packed, int64_t first,
                       int64_t tiles, float* scratch, const LossStatistics& out) {
  float* scores = scratch;
  Running* running = reinterpret_cast<Running*>(scratch + kLossTile * kLossTile);
  for (int64_t t = 0; t < tiles; ++t)
    for (int64_t i = 0; i < kLossTile; ++i) {
      running[t].highest[i] = kLowest;
      running[t].total[i] = running[t].label_logit[i] = 0.0f;
      running[t].best[i] = 0;
    }
  for (int64_t v = 0; v < shape.words; v += kLossTile) {
    const int64_t count = shape.words - v < kLossTile ? shape.words - v : kLossTile;
    for (int64_t t = 0; t < tiles; ++t) {
      score(shape, operands, packed + t * shape.packed(), v, count, scores);
      add_scores(scores, v, count, operands.labels + (first + t) * kLossTile, rows_of(shape, first + t), running[t]);
    }
  }
  for (int64_t t = 0; t < tiles; ++t)
    for (int64_t i = 0; i < rows_of(shape, first + t); ++i) {
      const int64_t row = (first + t) * kLossTile + i;
      out.log_total[row] = running[t].highest[i] + logf(running[t].total[i]);
      out.label_logit[row] = running[t].label_logit[i];
      out.best_logit[row] = running[t].highest[i];
      out.best[row] = running[t].best[i];
    }
}

static void of_logits(const LossShape& shape, const LossOperands& operands, const LossGradients& gradients,
                      const uint32_t* packed, int64_t tile, int64_t v0, int64_t v1, const uint32_t* panels,
                      int64_t panel_words, uint32_t* slopes, float* of_hidden, uint32_t* scratch) {
  float* scores = reinterpret_cast<float*>(scratch);
  uint32_t* pairs = scratch + kLossTile * kLossTile;
  const int64_t row = tile * kLossTile, rows = rows_of(shape, tile);
  __m512 log_total[kVectors], of_total[kVectors], of_label[kVectors];
  __m512i label[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    // A row that is not there: no label, and gradients of 0.
    const __mmask16 mask = lanes(rows - 16 * v);
    log_total[v] = _mm512_maskz_loadu_ps(mask, gradients.log_total + row + 16 * v);
    of_total[v] = _mm512_maskz_loadu_ps(mask, gradients.of_total + row + 16 * v);
    of_label[v] = _mm512_maskz_loadu_ps(mask, gradients.of_label + row + 16 * v);
    label[v] = _mm512_mask_loadu_epi32(_mm512_set1_epi32(-1), mask, operands.labels + row + 16 * v);
  }
  for (int64_t first = v0; first < v1; first += kLossTile) {
    const int64_t count = v1 - first < kLossTile ? v1 - first : kLossTile;
    score(shape, operands, packed, first, count, scores);
    for (int64_t w = 0; w < count; w += 2)
      for (int v = 0; v < kVectors; ++v) {
        __m512 slope[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
        for (int64_t i = 0; i < 2 && w + i < count; ++i) {
          const __m512 x = _mm512_loadu_ps(scores + (w + i) * kLossTile + 16 * v);
          slope[i] = _mm512_mul_ps(exponential_of(_mm512_sub_ps(x, log_total[v])), of_total[v]);
          const __m512i word = _mm512_set1_epi32(static_cast<int>(first + w + i));
          slope[i] = _mm512_mask_add_ps(slope[i], _mm512_cmpeq_epi32_mask(label[v], word), slope[i], of_label[v]);
          if (slopes != nullptr)
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(slopes + (first - v0 + w + i) * shape.row_pairs() + 8 * v),
                                (__m256i)_mm512_cvtneps_pbh(slope[i]));
        }
        _mm512_storeu_si512(pairs + ((first - v0 + w) / 2) * kLossTile + 16 * v, as_pairs(slope[0], slope[1]));
      }
  }
  const Factors of_rows = {pairs, 1, kLossTile};
  for (int64_t panel = 0; panel < shape.panels(); ++panel)
    long_product<true>(of_rows, panels + panel * panel_words, (v1 - v0 + 1) / 2, kLossTile,
                       of_hidden + panel * kLossTile * kLossTile);
}

static void of_table(const LossShape& shape, const uint32_t* slopes, int64_t count, const uint32_t* panel, float* scratch,
                     uint16_t* out) {
  long_product<false>({slopes, shape.row_pairs(), 1}, panel, shape.row_pairs(), count, scratch);
  for (int64_t w = 0; w < count; ++w) narrow(scratch + w * kLossTile, kLossTile, out + w * shape.width);
}

static void finish(const LossShape& shape, int64_t tile, const float* of_hidden, uint16_t* out) {
  for (int64_t i = 0; i < rows_of(shape, tile); ++i)
    for (int64_t panel = 0; panel < shape.panels(); ++panel)
      narrow(of_hidden + (panel * kLossTile + i) * kLossTile, kLossTile,
             out + (tile * kLossTile + i) * shape.width + panel * kLossTile);
}

}  // namespace

extern const LossLevel kLossAvx512Bf16;
const LossLevel kLossAvx512Bf16 = {pack_tile, pack_panel, statistics, of_logits, of_table, finish};

}  // namespace codegemma

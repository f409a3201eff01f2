// Attention of some queries over one block of cache slots, and the sum of blocks; compiled once for each level, the
// vectors being the compiler's, 16 floats wide, in however many registers that takes.
#include "floats.h"
#include "kernels.h"

#ifndef ATTEND_LEVEL
#define ATTEND_LEVEL kAttendPortable
#endif

namespace codegemma {
namespace {

constexpr float kNever = -1.0e38f;  // a score of no slot at all

// Scores of R queries at every slot of the block.
template <typename T, int R>
static void score(const AttendBlock& block, const float* query, float* scores) {
  const T* key = static_cast<const T*>(block.key);
  for (int64_t s = 0; s < block.slots; ++s, key += block.stride) {
    Floats sums[R] = {};
    for (int64_t h = 0; h < block.width; h += kLanes) {
      const Floats k = load(key + h);
      for (int r = 0; r < R; ++r) sums[r] += load(query + r * block.width + h) * k;
    }
    for (int r = 0; r < R; ++r) scores[r * kSlots + s] = sum(sums[r]);
  }
}

// Values weighted for R queries, 64 of their elements (or, where the width is no multiple, 16) at a time.
template <typename T, int R, int V>
static void mix(const AttendBlock& block, const float* weights, int64_t h, float* mixed) {
  const T* value = static_cast<const T*>(block.value) + h;
  Floats sums[R][V] = {};
  for (int64_t s = 0; s < block.slots; ++s, value += block.stride) {
    Floats v[V];
    for (int i = 0; i < V; ++i) v[i] = load(value + i * kLanes);
    for (int r = 0; r < R; ++r) {
      const Floats weight = all(weights[r * kSlots + s]);
      for (int i = 0; i < V; ++i) sums[r][i] += weight * v[i];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < V; ++i) store(mixed + r * block.width + h + i * kLanes, sums[r][i]);
}

// The softmax's numerators in place of the scores; slots from `visible` on count nothing, whatever their score is.
static void weigh(float* scores, int64_t visible, float* highest, float* total) {
  float top = kNever;
  for (int64_t s = 0; s < visible; ++s) top = scores[s] > top ? scores[s] : top;
  for (int64_t s = visible; s < kSlots; ++s) scores[s] = kNever;
  Floats sums = {};
  for (int64_t s = 0; s < kSlots; s += kLanes) {
    const Floats weight = exponential(load(scores + s) - top);
    store(scores + s, weight);
    sums += weight;
  }
  *highest = top;
  *total = visible > 0 ? sum(sums) : 0.0f;
  if (visible <= 0)
    for (int64_t s = 0; s < kSlots; ++s) scores[s] = 0.0f;
}

template <typename T, int R>
static void some_rows(const AttendBlock& block, int64_t row, const AttendSums& to) {
  alignas(64) float scores[R * kSlots];
  score<T, R>(block, block.query + row * block.width, scores);
  for (int r = 0; r < R; ++r)
    weigh(scores + r * kSlots, block.visible[row + r], to.highest + row + r, to.total + row + r);
  float* mixed = to.mixed + row * block.width;
  int64_t h = 0;
  for (; h + 4 * kLanes <= block.width; h += 4 * kLanes) mix<T, R, 4>(block, scores, h, mixed);
  for (; h < block.width; h += kLanes) mix<T, R, 1>(block, scores, h, mixed);
}

template <typename T>
static void all_rows(const AttendBlock& block, const AttendSums& to) {
  int64_t row = 0;
  for (; row + 4 <= block.rows; row += 4) some_rows<T, 4>(block, row, to);
  for (; row < block.rows; ++row) some_rows<T, 1>(block, row, to);
}

static void run(const AttendBlock& block, const AttendSums& to) {
  if (block.is_bfloat16)
    all_rows<uint16_t>(block, to);
  else
    all_rows<float>(block, to);
}

static void add(const AttendSums& from, int64_t rows, int64_t width, const AttendSums& to) {
  for (int64_t r = 0; r < rows; ++r) {
    if (from.total[r] == 0.0f) continue;
    const float top = from.highest[r] > to.highest[r] ? from.highest[r] : to.highest[r];
    alignas(64) float factors[kLanes] = {to.highest[r] - top, from.highest[r] - top};
    store(factors, exponential(load(factors)));
    const float old = to.total[r] == 0.0f ? 0.0f : factors[0], fresh = factors[1];
    to.highest[r] = top;
    to.total[r] = to.total[r] * old + from.total[r] * fresh;
    for (int64_t h = r * width; h < (r + 1) * width; h += kLanes)
      store(to.mixed + h, load(to.mixed + h) * old + load(from.mixed + h) * fresh);
  }
}

}  // namespace

extern const Attend ATTEND_LEVEL;
const Attend ATTEND_LEVEL = {run, add};

}  // namespace codegemma

// The gated unit of a feed-forward layer, gelu(gate) * up with GELU's tanh form; compiled once for each level.
//
// With u = sqrt(2 / pi) (g + 0.044715 g^3), g (1 + tanh u) / 2 = g / (1 + e^-2u), or g e^2u / (1 + e^2u): of the two,
// each lane takes the one whose power is at most 1.
#include "floats.h"
#include "kernels.h"

#ifndef GATED_LEVEL
#define GATED_LEVEL kGatedPortable
#endif

namespace codegemma {
namespace {

static inline Floats gated(Floats gate, Floats up) {
  // Beyond 10 the power is nothing beside 1, and a square of what is larger could overflow.
  const Floats limit = all(10.0f);
  Floats bounded = gate > limit ? limit : gate;
  bounded = bounded < -limit ? -limit : bounded;
  const Floats twice = bounded * (1.5957691216057308f + 0.07135481282553575f * bounded * bounded);
  const Floats power = exponential(twice > 0.0f ? -twice : twice);
  const Floats share = (twice > 0.0f ? all(1.0f) : power) / (1.0f + power);
  return gate * share * up;
}

static inline void store(uint16_t* to, Floats value) {
  Words bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  const Words rounded = bits + 0x7fffu + ((bits >> 16) & 1u), quiet = bits | 0x400000u;
  const Words high = ((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded) >> 16;
  const Halves halves = __builtin_convertvector(high, Halves);
  __builtin_memcpy(to, &halves, sizeof halves);
}

template <typename T>
static void all_of(const T* gate, const T* up, int64_t count, T* out) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, gated(load(gate + i), load(up + i)));
  if (i == count) return;
  T rest[3][kLanes] = {};
  __builtin_memcpy(rest[0], gate + i, (count - i) * sizeof(T));
  __builtin_memcpy(rest[1], up + i, (count - i) * sizeof(T));
  store(rest[2], gated(load(rest[0]), load(rest[1])));
  __builtin_memcpy(out + i, rest[2], (count - i) * sizeof(T));
}

static void run(const void* gate, const void* up, bool is_bfloat16, int64_t count, void* out) {
  if (is_bfloat16)
    all_of(static_cast<const uint16_t*>(gate), static_cast<const uint16_t*>(up), count, static_cast<uint16_t*>(out));
  else
    all_of(static_cast<const float*>(gate), static_cast<const float*>(up), count, static_cast<float*>(out));
}

}  // namespace

extern const Gated GATED_LEVEL;
const Gated GATED_LEVEL = {run};

}  // namespace codegemma

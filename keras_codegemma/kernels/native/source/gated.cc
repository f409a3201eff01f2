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

// Beyond 10 the power is nothing beside 1, and a square of what is larger could overflow.
static inline Floats within_limits(Floats gate) {
  const Floats limit = all(10.0f);
  const Floats bounded = gate > limit ? limit : gate;
  return bounded < -limit ? -limit : bounded;
}

// (1 + tanh u) / 2.
static inline Floats share_of(Floats bounded) {
  const Floats twice = bounded * (1.5957691216057308f + 0.07135481282553575f * bounded * bounded);
  const Floats power = exponential(twice > 0.0f ? -twice : twice);
  return (twice > 0.0f ? all(1.0f) : power) / (1.0f + power);
}

static inline Floats gated(Floats gate, Floats up) { return gate * share_of(within_limits(gate)) * up; }

// With s the share, GELU's slope is s + g s (1 - s) d(2u)/dg.
static inline void slopes(Floats gate, Floats up, Floats gradient, Floats& of_gate, Floats& of_up) {
  const Floats bounded = within_limits(gate), share = share_of(bounded);
  const Floats slope =
      share + bounded * share * (1.0f - share) * (1.5957691216057308f + 0.21406443847660724f * bounded * bounded);
  of_gate = gradient * up * slope;
  of_up = gradient * gate * share;
}

template <typename T>
static void all_of(const T* gate, const T* up, int64_t count, T* out) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t left = count - i;
    store(out + i, gated(load(gate + i, left), load(up + i, left)), left);
  }
}

template <typename T>
static void all_backward(const T* gate, const T* up, const T* gradient, int64_t count, T* of_gate, T* of_up) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t left = count - i;
    Floats first, second;
    slopes(load(gate + i, left), load(up + i, left), load(gradient + i, left), first, second);
    store(of_gate + i, first, left);
    store(of_up + i, second, left);
  }
}

static void run(const void* gate, const void* up, bool is_bfloat16, int64_t count, void* out) {
  if (is_bfloat16)
    all_of(static_cast<const uint16_t*>(gate), static_cast<const uint16_t*>(up), count, static_cast<uint16_t*>(out));
  else
    all_of(static_cast<const float*>(gate), static_cast<const float*>(up), count, static_cast<float*>(out));
}

template <typename T>
static void backward_of(const void* const* in, int64_t count, void* const* out) {
  all_backward(static_cast<const T*>(in[0]), static_cast<const T*>(in[1]), static_cast<const T*>(in[2]), count,
               static_cast<T*>(out[0]), static_cast<T*>(out[1]));
}

static void backward(const void* const* in, bool is_bfloat16, int64_t count, void* const* out) {
  is_bfloat16 ? backward_of<uint16_t>(in, count, out) : backward_of<float>(in, count, out);
}

}  // namespace

extern const Gated GATED_LEVEL;
const Gated GATED_LEVEL = {run, backward};

}  // namespace codegemma

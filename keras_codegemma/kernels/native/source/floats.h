// Vectors of 16 floats in however many registers that takes, and e^x. Code in a header that is included by units of
// several levels: all of it in a namespace without a name, so that each unit has its own copy.
#pragma once

#include <stdint.h>

namespace codegemma {
namespace {

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));

constexpr int64_t kLanes = 16;

static inline Floats all(float value) { return Floats{} + value; }

static inline Floats load(const float* from) {
  Floats value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

static inline Floats load(const uint16_t* from) {
  Halves half;
  __builtin_memcpy(&half, from, sizeof half);
  const Words bits = __builtin_convertvector(half, Words) << 16;
  Floats value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

static inline void store(float* to, Floats value) { __builtin_memcpy(to, &value, sizeof value); }

static inline void store(uint16_t* to, Floats value) {
  Words bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  const Words rounded = bits + 0x7fffu + ((bits >> 16) & 1u), quiet = bits | 0x400000u;
  const Words high = ((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded) >> 16;
  const Halves halves = __builtin_convertvector(high, Halves);
  __builtin_memcpy(to, &halves, sizeof halves);
}

// Of fewer than 16 numbers, zeros behind them; or the first of a vector.
template <typename T>
static inline Floats load(const T* from, int64_t count) {
  if (count >= kLanes) return load(from);
  T some[kLanes] = {};
  __builtin_memcpy(some, from, count * sizeof(T));
  return load(some);
}

template <typename T>
static inline void store(T* to, Floats value, int64_t count) {
  if (count >= kLanes) return store(to, value);
  T some[kLanes];
  store(some, value);
  __builtin_memcpy(to, some, count * sizeof(T));
}

static inline float sum(Floats value) {
  float total = 0.0f;
  for (int i = 0; i < kLanes; ++i) total += value[i];
  return total;
}

// e^x for x <= 0, to 2 units in the last place; 0 below -87 (polynomial of degree 6 on half a binade around 1).
static inline Floats exponential(Floats x) {
  const Floats floor = all(-87.0f);
  const auto below = x < floor;
  x = below ? floor : x;
  const Floats scaled = x * 1.44269504088896341f;
  const Ints whole = __builtin_convertvector(scaled - 0.5f, Ints);  // rounds towards 0, so half away for x <= 0
  const Floats n = __builtin_convertvector(whole, Floats);
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Ints bits = (whole + 127) << 23;
  Floats power;
  __builtin_memcpy(&power, &bits, sizeof power);
  return below ? Floats{} : p * power;
}

}  // namespace
}  // namespace codegemma

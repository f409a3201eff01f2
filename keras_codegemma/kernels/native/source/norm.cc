// Root-mean-square normalisation of rows, forward and backward; compiled once for each level.
//
// With r = 1 / sqrt(mean(x^2) + epsilon), n = x r and h = g (1 + scale) for a gradient g of the result:
//   d scale = sum over rows of g n        d x = r (h - n mean(h n))
#include <math.h>

#include "floats.h"
#include "kernels.h"

#ifndef NORM_LEVEL
#define NORM_LEVEL kNormPortable
#endif

namespace codegemma {
namespace {

template <typename T>
static float inverse_of(const T* row, const NormRows& shape) {
  Floats squares = all(0.0f);
  for (int64_t i = 0; i < shape.width; i += kLanes) {
    const Floats x = load(row + i, shape.width - i);
    squares += x * x;
  }
  return 1.0f / sqrtf(sum(squares) / static_cast<float>(shape.width) + shape.epsilon);
}

template <typename T>
static void run_of(const NormRows& shape, const T* x, const T* residual, T* total, T* out) {
  for (int64_t row = 0; row < shape.rows; ++row, x += shape.width, out += shape.width) {
    const T* normalised = x;
    if (total != nullptr) {
      for (int64_t i = 0; i < shape.width; i += kLanes) {
        const int64_t left = shape.width - i;
        store(total + i, load(x + i, left) + load(residual + i, left), left);
      }
      normalised = total;
      total += shape.width;
      residual += shape.width;
    }
    const float inverse = inverse_of(normalised, shape);
    for (int64_t i = 0; i < shape.width; i += kLanes) {
      const int64_t left = shape.width - i;
      store(out + i, load(normalised + i, left) * inverse * (1.0f + load(shape.scale + i, left)), left);
    }
  }
}

template <typename T>
static void backward_of(const NormRows& shape, const T* total, const T* of_total, const T* of_normed, T* out,
                        float* of_scale) {
  const int64_t width = shape.width;
  for (int64_t row = 0; row < shape.rows; ++row, total += width, of_normed += width, out += width) {
    const float inverse = inverse_of(total, shape);
    Floats along = all(0.0f);
    for (int64_t i = 0; i < width; i += kLanes) {
      const int64_t left = width - i;
      const Floats product = load(of_normed + i, left) * (load(total + i, left) * inverse);
      store(of_scale + i, load(of_scale + i, left) + product, left);
      along += product * (1.0f + load(shape.scale + i, left));
    }
    const float mean = sum(along) / static_cast<float>(width);
    for (int64_t i = 0; i < width; i += kLanes) {
      const int64_t left = width - i;
      const Floats slope = load(of_normed + i, left) * (1.0f + load(shape.scale + i, left));
      Floats gradient = inverse * (slope - load(total + i, left) * inverse * mean);
      if (of_total != nullptr) gradient += load(of_total + i, left);
      store(out + i, gradient, left);
    }
    if (of_total != nullptr) of_total += width;
  }
}

static void run(const NormRows& shape, bool is_bfloat16, const void* x, const void* residual, void* total, void* out) {
  if (is_bfloat16)
    run_of(shape, static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(residual),
           static_cast<uint16_t*>(total), static_cast<uint16_t*>(out));
  else
    run_of(shape, static_cast<const float*>(x), static_cast<const float*>(residual), static_cast<float*>(total),
           static_cast<float*>(out));
}

static void backward(const NormRows& shape, bool is_bfloat16, const void* total, const void* of_total,
                     const void* of_normed, void* out, float* of_scale) {
  if (is_bfloat16)
    backward_of(shape, static_cast<const uint16_t*>(total), static_cast<const uint16_t*>(of_total),
                static_cast<const uint16_t*>(of_normed), static_cast<uint16_t*>(out), of_scale);
  else
    backward_of(shape, static_cast<const float*>(total), static_cast<const float*>(of_total),
                static_cast<const float*>(of_normed), static_cast<float*>(out), of_scale);
}

}  // namespace

extern const Norm NORM_LEVEL;
const Norm NORM_LEVEL = {run, backward};

}  // namespace codegemma

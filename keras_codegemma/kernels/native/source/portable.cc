// The products in plain C++, laid out so that a compiler vectorises them; compiled once for each level without bfloat16
// instructions. Activations are packed as float32 in their natural order.
#include "kernels.h"

#ifndef LEVEL
#define LEVEL kPortable
#define LEVEL_NAME "portable"
#define ATTEND_LEVEL kAttendPortable
#define GATED_LEVEL kGatedPortable
#define NORM_LEVEL kNormPortable
#endif

namespace codegemma {
namespace {

constexpr int kLanes = 16;

static inline float from_bits(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

static inline uint32_t to_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

static inline float widen(uint16_t value) { return from_bits(static_cast<uint32_t>(value) << 16); }

// Round to nearest even; NaN stays NaN.
static inline uint16_t narrow(float value) {
  uint32_t bits = to_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

static inline void put(void* out, bool is_bfloat16, int64_t index, float value) {
  if (is_bfloat16)
    static_cast<uint16_t*>(out)[index] = narrow(value);
  else
    static_cast<float*>(out)[index] = value;
}

static int64_t padded(int64_t k) { return (k + kUnit - 1) / kUnit * kUnit; }

static size_t packed_row_bytes(Format, bool, int64_t k) { return padded(k) * sizeof(float); }

static void pack_row(Format, const void* x, bool x_is_bfloat16, int64_t k, void* packed) {
  float* to = static_cast<float*>(packed);
  for (int64_t i = 0; i < k; ++i)
    to[i] = x_is_bfloat16 ? widen(static_cast<const uint16_t*>(x)[i]) : static_cast<const float*>(x)[i];
  for (int64_t i = k; i < padded(k); ++i) to[i] = 0.0f;
}

static size_t nk_scratch_bytes(int64_t, int64_t k) { return padded(k) * sizeof(float); }

// One row of weights as float32, scaled.
static void decode(const Weights& w, int64_t n, float* to) {
  const int64_t k = w.k;
  if (w.format == kFloat32) {
    const float* from = static_cast<const float*>(w.data) + n * k;
    for (int64_t i = 0; i < k; ++i) to[i] = from[i];
  } else if (w.format == kBfloat16) {
    const uint16_t* from = static_cast<const uint16_t*>(w.data) + n * k;
    for (int64_t i = 0; i < k; ++i) to[i] = widen(from[i]);
  } else if (w.format == kInt8) {
    const int8_t* from = static_cast<const int8_t*>(w.data) + n * k;
    for (int64_t i = 0; i < k; ++i) to[i] = static_cast<float>(from[i]);
  } else {
    const uint8_t* from = static_cast<const uint8_t*>(w.data) + n * (k / 2);
    const uint16_t* scale = static_cast<const uint16_t*>(w.scale) + n * (k / w.group);
    for (int64_t g = 0; g < k / w.group; ++g) {
      const float s = widen(scale[g]);
      const uint8_t* bytes = from + g * (w.group / 2);
      float* part = to + g * w.group;
      for (int64_t i = 0; i < w.group / 2; ++i) {
        part[2 * i] = s * static_cast<float>(static_cast<int8_t>(bytes[i] << 4) >> 4);
        part[2 * i + 1] = s * static_cast<float>(static_cast<int8_t>(bytes[i]) >> 4);
      }
    }
  }
}

static inline float sum(const float* lanes) {
  float total = 0.0f;
  for (int i = 0; i < kLanes; ++i) total += lanes[i];
  return total;
}

template <typename Read>
static inline float dot(const float* x, int64_t k, Read read) {
  float a[kLanes] = {}, b[kLanes] = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= k; i += 2 * kLanes) {
    for (int l = 0; l < kLanes; ++l) a[l] += x[i + l] * read(i + l);
    for (int l = 0; l < kLanes; ++l) b[l] += x[i + kLanes + l] * read(i + kLanes + l);
  }
  float rest = 0.0f;
  for (; i < k; ++i) rest += x[i] * read(i);
  return sum(a) + sum(b) + rest;
}

// One row of activations and one of weights, weights converted on the way.
static float dot_encoded(const Weights& w, int64_t n, const float* x) {
  if (w.format == kFloat32) {
    const float* from = static_cast<const float*>(w.data) + n * w.k;
    return dot(x, w.k, [from](int64_t i) { return from[i]; });
  }
  if (w.format == kBfloat16) {
    const uint16_t* from = static_cast<const uint16_t*>(w.data) + n * w.k;
    return dot(x, w.k, [from](int64_t i) { return widen(from[i]); });
  }
  const int8_t* from = static_cast<const int8_t*>(w.data) + n * w.k;
  return dot(x, w.k, [from](int64_t i) { return static_cast<float>(from[i]); });
}

static void nk(const Weights& w, const void* packed, bool, int64_t rows, int64_t n0, int64_t n1, void* out,
               bool out_is_bfloat16, int64_t out_stride, void* scratch) {
  const float* x = static_cast<const float*>(packed);
  const int64_t row = padded(w.k);
  float* wide = static_cast<float*>(scratch);
  // A row of weights that serves several rows of activations, or whose scales change, is decoded once.
  const bool decoded = rows > 1 || w.format == kInt4;
  for (int64_t n = n0; n < n1; ++n) {
    const float scale = w.format == kInt8 ? static_cast<const float*>(w.scale)[n] : 1.0f;
    if (decoded) decode(w, n, wide);
    for (int64_t m = 0; m < rows; ++m) {
      const float value =
          decoded ? dot(x + m * row, w.k, [wide](int64_t i) { return wide[i]; }) : dot_encoded(w, n, x + m * row);
      put(out, out_is_bfloat16, m * out_stride + n, scale * value);
    }
  }
}

static void kn(const Weights& w, const void* packed, bool, int64_t rows, int64_t k0, int64_t k1, int64_t n0,
               int64_t n1, float* sums, int64_t stride) {
  const float* x = static_cast<const float*>(packed);
  const int64_t row = padded(w.k);
  const uint16_t* from = static_cast<const uint16_t*>(w.data);
  int64_t k = k0;
  for (; k + 4 <= k1; k += 4) {
    const uint16_t *a = from + k * w.n, *b = a + w.n, *c = b + w.n, *d = c + w.n;
    for (int64_t m = 0; m < rows; ++m) {
      const float* xs = x + m * row + k;
      float* to = sums + m * stride;
      for (int64_t n = n0; n < n1; ++n)
        to[n - n0] += (xs[0] * widen(a[n]) + xs[1] * widen(b[n])) + (xs[2] * widen(c[n]) + xs[3] * widen(d[n]));
    }
  }
  for (; k < k1; ++k)
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t n = n0; n < n1; ++n) sums[m * stride + n - n0] += x[m * row + k] * widen(from[k * w.n + n]);
}

static void kn_finish(const float* sums, int64_t count, void* out, bool out_is_bfloat16) {
  for (int64_t i = 0; i < count; ++i) put(out, out_is_bfloat16, i, sums[i]);
}

}  // namespace

extern const Level LEVEL;
const Level LEVEL = {LEVEL_NAME, &ATTEND_LEVEL, &GATED_LEVEL, &NORM_LEVEL, packed_row_bytes, pack_row, nk_scratch_bytes, nk, kn, kn_finish};

}  // namespace codegemma

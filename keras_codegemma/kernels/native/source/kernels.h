// What every instruction set level provides: packing of activations, the two products, attention, and the gated unit.
//
//   NK: weights [N, K], a row per output, in float32, bfloat16, int8 or int4.   out[m, n] = sum_k x[m, k] w[n, k]
//   KN: weights [K, N], a row per input, in bfloat16.                           out[m, n] = sum_k x[m, k] w[k, n]
//
// Each level is one translation unit, compiled for its own instructions. So code in a header must be
// in a namespace without a name (`floats.h`): of other code, the linker would keep one copy, perhaps one that the
// processor cannot run.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace codegemma {

enum Format { kFloat32 = 0, kBfloat16 = 1, kInt8 = 2, kInt4 = 3 };

// Elements of K that every product takes at once; packed activations are padded with zeros to a multiple of it.
constexpr int64_t kUnit = 128;
// Rows that one pass over the weights serves; more are taken in several passes, or in blocks (`nk` of many rows).
constexpr int64_t kFewRows = 8;

struct Weights {
  Format format;
  const void* data;   // NK: rows of K elements; int4 two a byte, the even one in the low half, two's complement
  const void* scale;  // int8: float32 [N]; int4: bfloat16 [N, K / group]; else null
  int64_t n, k;
  int64_t group;      // of int4
};

// Slots that attention takes at once.
constexpr int64_t kSlots = 64;

// Some queries over some slots of one key-value head.
struct AttendBlock {
  const float* query;      // [rows, width], scaled
  const void *key, *value;  // [slots, width], `stride` elements apart, float32 or bfloat16
  bool is_bfloat16;
  int64_t rows, width, slots, stride;
  const int64_t* visible;  // [rows], how many of the slots each query sees; may be none
};

// What attention has summed for some queries: exp(score - highest), alone and times the values.
struct AttendSums {
  float *highest, *total, *mixed;  // [rows], [rows], [rows, width]
};

struct Attend {
  void (*run)(const AttendBlock& block, const AttendSums& to);
  // Adds the sums over one block to those over others; a total of 0 is of none.
  void (*add)(const AttendSums& from, int64_t rows, int64_t width, const AttendSums& to);
};

// gelu(gate) * up, element by element, in float32, rounded once; all three bfloat16 or all float32.
struct Gated {
  void (*run)(const void* gate, const void* up, bool is_bfloat16, int64_t count, void* out);
  // From gate, up and the gradient of the result, the gradients of the first two.
  void (*backward)(const void* const* in, bool is_bfloat16, int64_t count, void* const* out);
};

// Rows of `width` numbers, all bfloat16 or all float32, and a float32 scale.
struct NormRows {
  int64_t rows, width;
  const float* scale;
  float epsilon;
};

// x / sqrt(mean(x^2) + epsilon) (1 + scale) of each row x, in float32, rounded once.
struct Norm {
  // Of x + residual, rounded first and written to `total`; or, where both are null, of x.
  void (*run)(const NormRows& shape, bool is_bfloat16, const void* x, const void* residual, void* total, void* out);
  // From the rows that were normalised, the gradient of the result and, unless null, another of the rows: the rows' whole
  // gradient. Adds to the scale's.
  void (*backward)(const NormRows& shape, bool is_bfloat16, const void* total, const void* of_total, const void* of_normed,
                   void* out, float* of_scale);
};

struct Level {
  const char* name;
  const Attend* attend;
  const Gated* gated;
  const Norm* norm;
  // Bytes of packed activations of one row.
  size_t (*packed_row_bytes)(Format format, bool x_is_bfloat16, int64_t k);
  void (*pack_row)(Format format, const void* x, bool x_is_bfloat16, int64_t k, void* packed);
  // Bytes of scratch memory that `nk` needs for this many rows.
  size_t (*nk_scratch_bytes)(int64_t rows, int64_t k);
  // Outputs n0 .. n1 of every row.
  void (*nk)(const Weights& weights, const void* packed, bool x_is_bfloat16, int64_t rows, int64_t n0, int64_t n1,
             void* out, bool out_is_bfloat16, int64_t out_stride, void* scratch);
  // Adds inputs k0 .. k1 to outputs n0 .. n1 in `sums` [rows, stride], of at most kFewRows rows, then nothing else.
  // The order of columns within 32 is the level's own; `kn_finish` undoes it.
  void (*kn)(const Weights& weights, const void* packed, bool x_is_bfloat16, int64_t rows, int64_t k0, int64_t k1,
             int64_t n0, int64_t n1, float* sums, int64_t stride);
  void (*kn_finish)(const float* sums, int64_t count, void* out, bool out_is_bfloat16);
};

extern const Attend kAttendPortable;
extern const Gated kGatedPortable;
extern const Norm kNormPortable;
extern const Level kPortable;
#if defined(__x86_64__)
extern const Attend kAttendAvx2, kAttendAvx512;
extern const Gated kGatedAvx2, kGatedAvx512;
extern const Norm kNormAvx2, kNormAvx512;
extern const Level kAvx2;
extern const Level kAvx512;
extern const Level kAvx512Bf16;
#endif

}  // namespace codegemma

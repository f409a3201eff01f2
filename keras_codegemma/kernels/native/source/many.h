// Products of many bfloat16 rows with a bfloat16 weight, for prefill and training; sums are float32.
//
//   KN: weights [K, N], a row per input, are packed a panel at a time, and each row of x passes over it.
//   NK: weights [N, K], a row per output, pass over packed rows of x; so sums lie with a row per output, and are turned at
//       the end.
//
// K is even, because the instructions multiply pairs.
#pragma once

#include <stdint.h>

namespace codegemma {

constexpr int64_t kManyColumns = 64;  // of a panel, and rows of x of a packed tile, and outputs of a task
constexpr int64_t kManyInputs = 256;  // of a weight with a row per input, packed at a time

// Where results go: rows `stride` elements apart.
struct ManyOut {
  void* to;
  bool is_bfloat16;
  int64_t stride;
};

struct ManyLevel {
  // Rows [rows, K] times the first `width` columns, kManyColumns at most, of a weight whose rows lie `stride` elements apart.
  // Scratch: panel [kManyInputs / 2, kManyColumns], sums [rows, kManyColumns].
  void (*by_inputs)(const uint16_t* x, int64_t rows, int64_t k, const uint16_t* weight, int64_t stride, int64_t width,
                    uint32_t* panel, float* sums, const ManyOut& out);
  // Up to kManyColumns rows [rows, K] to a tile [K / 2, kManyColumns].
  void (*pack)(const uint16_t* x, int64_t rows, int64_t k, uint32_t* tile);
  // A tile of so many rows times `outputs` rows of a weight, kManyColumns at most. Scratch: sums [kManyColumns,
  // kManyColumns].
  void (*by_outputs)(const uint32_t* tile, int64_t rows, int64_t k, const uint16_t* weight, int64_t outputs, float* sums,
                     const ManyOut& out);
};

#if defined(__x86_64__)
extern const ManyLevel kManyAvx512Bf16;
#endif

}  // namespace codegemma

// Products of many bfloat16 rows with a weight, for prefill and training; sums are float32.
//
//   KN: weights [K, N], a row per input, are packed a panel at a time, and each row of x passes over it.
//   NK: weights [N, K], a row per output, pass over packed rows of x; so sums lie with a row per output, and are turned at
//       the end. Those of int8 and int4 are made bfloat16, which is exact in it, kManyDecoded inputs at a time; scales are
//       applied to sums.
//
// K is even, because the instructions multiply pairs.
#pragma once

#include <stdint.h>

#include "kernels.h"

namespace codegemma {

constexpr int64_t kManyColumns = 64;  // of a panel, and rows of x of a packed tile, and outputs of a task
constexpr int64_t kManyInputs = 256;  // of a weight with a row per input, packed at a time

constexpr int64_t kManyDecoded = 2048;
constexpr int64_t kManyDecodedPitch = kManyDecoded + 32;  // rows 4 KiB apart would fall into the same places of a cache

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
  // Tiles of so many rows in all times outputs n0 .. n0 + `outputs` of a weight of int8 or int4. Scratch: decoded
  // [kManyColumns, kManyDecodedPitch], sums [tiles, kManyColumns, kManyColumns].
  void (*by_quantized)(const uint32_t* tiles, int64_t rows, const Weights& weights, int64_t n0, int64_t outputs,
                       uint16_t* decoded, float* sums, const ManyOut& out);
};

#if defined(__x86_64__)
extern const ManyLevel kManyAvx512Bf16;
#endif

}  // namespace codegemma

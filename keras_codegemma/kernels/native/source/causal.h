// Causal attention over whole rows within segments, of bfloat16 numbers, for training: forward and backward.
//
// Queries and keys are taken `kAttended` at a time. The scores of a tile lie with a row per key and a lane per query, so
// that maxima and sums over keys go down the registers, and so that the backward pass has its weights in the order in
// which it multiplies them. The instructions multiply pairs, so every operand that is read by lanes is packed in pairs of
// what is summed over.
#pragma once

#include <stdint.h>

namespace codegemma {

constexpr int64_t kAttended = 64;

struct CausalShape {
  int64_t batch, time, heads, kv_heads, width;

  int64_t tiles() const { return (time + kAttended - 1) / kAttended; }
  int64_t group() const { return heads / kv_heads; }
  // 32-bit words of one packed tile of `width` columns.
  int64_t packed() const { return kAttended * width / 2; }
};

// Query [B, T, N, H], key and value [B, T, K, H], segments [B, T]; of each tile of segments, the lowest and the highest.
struct CausalOperands {
  const uint16_t *query, *key, *value;
  const int32_t *segments, *lowest, *highest;  // the last two [B, tiles]
};

struct CausalGradients {
  const uint16_t *output, *gradient;  // [B, T, N, H]
  const float* log_total;             // [B, N, T]
  uint16_t* query;                    // [B, T, N, H], written
};

struct CausalLevel {
  // Rows of a tile, `stride` elements apart, to pairs of rows [kAttended / 2, width]; zeros where there is none.
  void (*pack_pairs)(const uint16_t* rows, int64_t count, int64_t stride, int64_t width, uint32_t* to);
  // 32-bit words of scratch memory that `forward` needs.
  int64_t (*forward_words)(const CausalShape& shape);
  // One tile of queries of one head: `values` are all tiles of its key-value head's values, packed in pairs. Writes out
  // [B, T, N, H] and log_total [B, N, T], the logarithm of the sum of e^score.
  void (*forward)(const CausalShape& shape, const CausalOperands& operands, const uint32_t* values, int64_t batch,
                  int64_t head, int64_t tile, uint32_t* scratch, uint16_t* out, float* log_total);
  int64_t (*backward_words)(const CausalShape& shape);
  // Heads first .. end, which share a key-value head. Writes their queries' gradients, and adds to the key's and the
  // value's, [tiles * kAttended, width] each.
  void (*backward)(const CausalShape& shape, const CausalOperands& operands, const CausalGradients& gradients,
                   int64_t batch, int64_t first, int64_t end, uint32_t* scratch, float* key, float* value);
  void (*narrow)(const float* from, int64_t count, uint16_t* to);
};

#if defined(__x86_64__)
extern const CausalLevel kCausalAvx512Bf16;
#endif

}  // namespace codegemma

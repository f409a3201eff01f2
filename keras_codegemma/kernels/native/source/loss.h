// The loss of a linear read-out over a large vocabulary, of bfloat16 numbers: statistics of each row's logits, and the
// gradients that follow from them. A tile of logits has a row per word and a lane per row of hidden states; no more exist.
//
// The backward pass goes through the vocabulary some words at a time. First each tile of rows makes the gradients of its
// logits, which its own hidden states' gradients are summed from; then they are multiplied with all hidden states, which
// gives those words' gradients, each written once. So every number is summed in one order, whatever the threads.
#pragma once

#include <stdint.h>

namespace codegemma {

constexpr int64_t kLossTile = 64;    // rows, and words
constexpr int64_t kLossWords = 256;  // of the vocabulary, whose gradients of logits a tile of rows makes at a time

struct LossShape {
  int64_t rows, words, width;  // the width is a multiple of kLossTile

  int64_t tiles() const { return (rows + kLossTile - 1) / kLossTile; }
  int64_t panels() const { return width / kLossTile; }
  int64_t packed() const { return kLossTile * width / 2; }           // 32-bit words of a packed tile of hidden states
  int64_t row_pairs() const { return tiles() * kLossTile / 2; }      // pairs of rows, those filled up among them
};

struct LossOperands {
  const uint16_t *hidden, *table;  // [rows, width], [words, width]
  const int32_t* labels;           // [rows]; one that is no word has the logit 0
};

struct LossStatistics {
  float *log_total, *label_logit, *best_logit;  // [rows]
  int32_t* best;
};

// Of the statistics: log_total, and the gradients of it and of label_logit.
struct LossGradients {
  const float *log_total, *of_total, *of_label;  // [rows]
};

struct LossLevel {
  // A tile's rows to columns of pairs [width / 2, kLossTile].
  void (*pack_tile)(const LossShape& shape, const uint16_t* hidden, int64_t tile, uint32_t* to);
  // Columns of a panel of up to `pairs` pairs of rows [count, width] to [pairs, kLossTile].
  void (*pack_panel)(const uint16_t* rows, int64_t count, int64_t width, int64_t panel, int64_t pairs, uint32_t* to);
  // Statistics of some packed tiles from `first` on. Scratch: [kLossTile (kLossTile + 4 tiles)] floats.
  void (*statistics)(const LossShape& shape, const LossOperands& operands, const uint32_t* packed, int64_t first,
                     int64_t tiles, float* scratch, const LossStatistics& out);
  // Of a packed tile and the words v0 .. v1, at most kLossWords: adds to the gradients of hidden states
  // [panels, kLossTile, kLossTile], and writes those of logits, if wanted, [v1 - v0, row_pairs] from `slopes` on, where the
  // tile's own begin. `panels` holds the words' rows in pairs, [panels, pairs, kLossTile], `panel_words` from one to the
  // next. Scratch: [kLossTile kLossTile + kLossWords / 2 kLossTile] 32-bit words.
  void (*of_logits)(const LossShape& shape, const LossOperands& operands, const LossGradients& gradients,
                    const uint32_t* packed, int64_t tile, int64_t v0, int64_t v1, const uint32_t* panels,
                    int64_t panel_words, uint32_t* slopes, float* of_hidden, uint32_t* scratch);
  // The gradients of up to kLossTile words' columns of one panel: slopes [words, row_pairs] times a panel of hidden states
  // [row_pairs, kLossTile]. Scratch: [kLossTile, kLossTile] floats.
  void (*of_table)(const LossShape& shape, const uint32_t* slopes, int64_t words, const uint32_t* panel, float* scratch,
                   uint16_t* out);
  // The gradients of a tile's hidden states, rounded.
  void (*finish)(const LossShape& shape, int64_t tile, const float* of_hidden, uint16_t* out);
};

#if defined(__x86_64__)
extern const LossLevel kLossAvx512Bf16;
#endif

}  // namespace codegemma

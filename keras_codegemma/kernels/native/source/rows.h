// The product over rows, which is the gradient of a weight: out[k, n] = sum_m x[m, k] y[m, n], of bfloat16 numbers.
//
// Rows are taken some hundred at a time, and of these two by two, as the instructions do: a pair of rows becomes a row of
// pairs, kept in panels of `kPanel` columns of y and in tiles of `kTile` columns of x.
#pragma once

#include <stdint.h>

namespace codegemma {

constexpr int64_t kPanel = 64;
constexpr int64_t kTile = 6;

struct RowProduct {
  // Some rows of up to kPanel columns, `stride` elements apart, to pairs [pairs, kPanel]; zeros where there is none.
  void (*pack_panel)(const uint16_t* rows, int64_t count, int64_t stride, int64_t width, uint32_t* to);
  // Some rows of any width to tiles [width / kTile, pairs, kTile]. The last tile may hold anything beyond the width.
  void (*pack_tiles)(const uint16_t* rows, int64_t count, int64_t stride, int64_t width, uint32_t* to);
  // Adds the product of a tile and a panel to `rows` rows of `columns` columns of `out`, or puts it there first.
  void (*add)(const uint32_t* tile, const uint32_t* panel, int64_t pairs, int64_t rows, int64_t columns, bool first,
              float* out, int64_t stride);
};

#if defined(__x86_64__)
extern const RowProduct kRowProductAvx512Bf16;
#endif

}  // namespace codegemma

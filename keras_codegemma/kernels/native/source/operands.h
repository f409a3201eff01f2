// What several weights times the same rows are made of, as XLA passes it. Code in a header: for units that are compiled for no
// level alone.
#pragma once

#include <cstdint>
#include <vector>

#include "errors.h"
#include "kernels.h"
#include "pages.h"
#include "xla/ffi/api/ffi.h"

namespace codegemma {

struct Product {
  Weights weights;
  void* out;
  bool out_is_bfloat16;
};

// The products of `rows` rows of K inputs: an argument of data and one of scales for each result.
inline xla::ffi::Error read_products(xla::ffi::RemainingArgs args, xla::ffi::RemainingRets rets, int64_t rows, int64_t k,
                                     int64_t format, int64_t group, std::vector<Product>& found) {
  using xla::ffi::AnyBuffer;
  using xla::ffi::DataType;
  if (format < kFloat32 || format > kInt4) return bad("unknown weight format");
  if (args.size() != 2 * rets.size()) return bad("each product needs weights and scales");
  const Format kind = static_cast<Format>(format);
  if (kind == kInt4 && (group < 32 || 256 % group || k % group)) return bad("groups must divide 256 and the inputs");
  for (size_t i = 0; i < rets.size(); ++i) {
    auto data = args.get<AnyBuffer>(2 * i);
    auto scale = args.get<AnyBuffer>(2 * i + 1);
    auto out = rets.get<AnyBuffer>(i);
    if (!data.has_value() || !scale.has_value() || !out.has_value()) return bad("unreadable buffer");
    const auto shape = (*out)->dimensions();
    if (shape.size() != 2 || shape[0] != rows) return bad("results must be [M, N]");
    const bool is_bfloat16 = (*out)->element_type() == DataType::BF16;
    if (!is_bfloat16 && (*out)->element_type() != DataType::F32) return bad("results are bfloat16 or float32");
    const int64_t n = shape[1], bits[] = {32, 16, 8, 4};
    if (static_cast<int64_t>(data->size_bytes()) != n * k * bits[kind] / 8) return bad("weights of a wrong size");
    const int64_t scales = kind == kInt8 ? n * 4 : kind == kInt4 ? n * (k / group) * 2 : -1;
    if (scales >= 0 && static_cast<int64_t>(scale->size_bytes()) != scales) return bad("scales of a wrong size");
    prefer_large_pages(data->untyped_data(), data->size_bytes());
    found.push_back({{kind, data->untyped_data(), scale->untyped_data(), n, k, group}, (*out)->untyped_data(), is_bfloat16});
  }
  return xla::ffi::Error::Success();
}

}  // namespace codegemma

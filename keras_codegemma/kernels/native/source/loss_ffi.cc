// The loss over a large vocabulary that XLA calls.
//
//   codegemma_loss:           hidden [M, D], table [V, D], labels int32 [M] -> log_total, label_logit, best_logit float32
//                             [M], best int32 [M]
//   codegemma_loss_backward:  the same, then log_total and the gradients of it and of label_logit, float32 [M]
//                             -> gradient of hidden and, where a second result is asked for, of table
//
// All bfloat16 where nothing else is said.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "calls.h"
#include "loss.h"
#include "memory.h"
#include "pages.h"
#include "pool.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace codegemma {
namespace {

using Floats32 = ffi::Buffer<ffi::F32>;
using Integers = ffi::Buffer<ffi::S32>;

constexpr int64_t kTogetherBytes = int64_t{512} << 10;  // packed tiles of a task, which stay in the second-level cache
constexpr int64_t kMostTogether = 16;
constexpr int64_t kSlopeBytes = int64_t{16} << 20;  // gradients of logits at a time

const LossLevel* available() {
#if defined(__x86_64__)
  if (has_avx512_bf16()) return &kLossAvx512Bf16;
#endif
  return nullptr;
}


ffi::Error no_memory() { return codegemma::no_memory("for the loss"); }

struct Call {
  LossShape shape;
  LossOperands operands;
};

ffi::Error prepare(Call& call, const Halves& hidden, const Halves& table, const Integers& labels) {
  const auto h = hidden.dimensions(), t = table.dimensions();
  if (h.size() != 2 || t.size() != 2 || h[1] != t[1] || h[1] % kLossTile || h[1] == 0)
    return bad("hidden states and table must be [M, D] and [V, D], with D a multiple of 64");
  if (labels.dimensions().size() != 1 || labels.dimensions()[0] != h[0]) return bad("each row must have a label");
  call.shape = {h[0], t[0], h[1]};
  call.operands = {bits(hidden), bits(table), labels.typed_data()};
  prefer_large_pages(table.untyped_data(), table.size_bytes());
  return available() ? ffi::Error::Success() : lacks_avx512_bf16();
}

ffi::Error statistics(Halves hidden, Halves table, Integers labels, ffi::ResultBuffer<ffi::F32> log_total,
                      ffi::ResultBuffer<ffi::F32> label_logit, ffi::ResultBuffer<ffi::F32> best_logit,
                      ffi::ResultBuffer<ffi::S32> best) {
  Call call;
  if (auto error = prepare(call, hidden, table, labels); error.failure()) return error;
  const LossShape& shape = call.shape;
  const LossStatistics out = {log_total->typed_data(), label_logit->typed_data(), best_logit->typed_data(),
                              best->typed_data()};
  int64_t together = std::clamp<int64_t>(kTogetherBytes / (shape.packed() * 4), 1, kMostTogether);
  together = std::min(together, std::max<int64_t>(ceil(shape.tiles(), 2 * thread_count()), 1));
  std::atomic<bool> failed{false};
  parallel_for(ceil(shape.tiles(), together), [&](int64_t task) {
    const int64_t first = task * together, tiles = std::min(together, shape.tiles() - first);
    thread_local Kept kept;
    Memory own;
    uint32_t* packed = static_cast<uint32_t*>(
        kept.get((tiles * (shape.packed() + 4 * kLossTile) + kLossTile * kLossTile) * 4, own));
    if (packed == nullptr) {
      failed = true;
      return;
    }
    for (int64_t t = 0; t < tiles; ++t)
      available()->pack_tile(shape, call.operands.hidden, first + t, packed + t * shape.packed());
    available()->statistics(shape, call.operands, packed, first, tiles,
                            reinterpret_cast<float*>(packed + tiles * shape.packed()), out);
  });
  return failed ? no_memory() : ffi::Error::Success();
}

ffi::Error backward(const Call& call, const LossGradients& gradients, uint16_t* of_hidden, uint16_t* of_table) {
  const LossShape& shape = call.shape;
  const LossLevel& level = *available();
  const int64_t tiles = shape.tiles(), panels = shape.panels(), pairs = shape.row_pairs();
  // Words at a time: as many as their gradients of logits may take memory, and a whole number of turns.
  const int64_t most = std::max<int64_t>(kSlopeBytes / (pairs * 4) / kLossWords, 1) * kLossWords;
  const int64_t block = std::min(most, ceil(shape.words, kLossWords) * kLossWords), panel_words = block / 2 * kLossTile;
  const Memory packed = allocate(tiles * shape.packed() * 4), sums = allocate(tiles * kLossTile * shape.width * 4);
  const Memory of_words = allocate(panels * panel_words * 4);
  const Memory of_rows = of_table ? allocate(panels * pairs * kLossTile * 4) : nullptr;
  const Memory slopes = of_table ? allocate(block * pairs * 4) : nullptr;
  if (!packed || !sums || !of_words || (of_table && (!of_rows || !slopes))) return no_memory();
  uint32_t *tile_words = static_cast<uint32_t*>(packed.get()), *word_panels = static_cast<uint32_t*>(of_words.get()),
           *row_panels = static_cast<uint32_t*>(of_rows.get()), *slope = static_cast<uint32_t*>(slopes.get());
  float* hidden_sums = static_cast<float*>(sums.get());
  parallel_for(tiles, [&](int64_t tile) {
    level.pack_tile(shape, call.operands.hidden, tile, tile_words + tile * shape.packed());
    std::memset(hidden_sums + tile * kLossTile * shape.width, 0, kLossTile * shape.width * 4);
  });
  if (of_table)
    parallel_for(panels, [&](int64_t panel) {
      level.pack_panel(call.operands.hidden, shape.rows, shape.width, panel, pairs, row_panels + panel * pairs * kLossTile);
    });
  for (int64_t first = 0; first < shape.words; first += block) {
    const int64_t end = std::min(first + block, shape.words);
    parallel_for(panels, [&](int64_t panel) {
      level.pack_panel(call.operands.table + first * shape.width, end - first, shape.width, panel, block / 2,
                       word_panels + panel * panel_words);
    });
    parallel_for(tiles, [&](int64_t tile) {
      alignas(64) thread_local uint32_t scratch[kLossTile * kLossTile + kLossWords / 2 * kLossTile];
      for (int64_t v0 = first; v0 < end; v0 += kLossWords)
        level.of_logits(shape, call.operands, gradients, tile_words + tile * shape.packed(), tile, v0,
                        std::min(v0 + kLossWords, end), word_panels + (v0 - first) / 2 * kLossTile, panel_words,
                        of_table ? slope + (v0 - first) * pairs + tile * kLossTile / 2 : nullptr,
                        hidden_sums + tile * kLossTile * shape.width, scratch);
    });
    if (!of_table) continue;
    parallel_for(ceil(end - first, kLossTile) * panels, [&](int64_t task) {
      alignas(64) thread_local float scratch[kLossTile * kLossTile];
      const int64_t v = task / panels * kLossTile, panel = task % panels;
      level.of_table(shape, slope + v * pairs, std::min(kLossTile, end - first - v), row_panels + panel * pairs * kLossTile,
                     scratch, of_table + (first + v) * shape.width + panel * kLossTile);
    });
  }
  parallel_for(tiles, [&](int64_t tile) {
    level.finish(shape, tile, hidden_sums + tile * kLossTile * shape.width, of_hidden);
  });
  return ffi::Error::Success();
}

ffi::Error gradients(Halves hidden, Halves table, Integers labels, Floats32 log_total, Floats32 of_total,
                     Floats32 of_label, ffi::Result<Halves> of_hidden, ffi::RemainingRets rest) {
  Call call;
  if (auto error = prepare(call, hidden, table, labels); error.failure()) return error;
  uint16_t* of_table = nullptr;
  if (rest.size() > 0) {
    auto buffer = rest.get<Halves>(0);
    if (!buffer.has_value()) return bad("the table's gradient must be bfloat16");
    of_table = bits(*buffer);
  }
  return backward(call, {log_total.typed_data(), of_total.typed_data(), of_label.typed_data()}, bits(of_hidden),
                  of_table);
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_loss, statistics,
                              ffi::Ffi::Bind()
                                  .Arg<Halves>()
                                  .Arg<Halves>()
                                  .Arg<Integers>()
                                  .Ret<Floats32>()
                                  .Ret<Floats32>()
                                  .Ret<Floats32>()
                                  .Ret<Integers>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_loss_backward, gradients,
                              ffi::Ffi::Bind()
                                  .Arg<Halves>()
                                  .Arg<Halves>()
                                  .Arg<Integers>()
                                  .Arg<Floats32>()
                                  .Arg<Floats32>()
                                  .Arg<Floats32>()
                                  .Ret<Halves>()
                                  .RemainingRets());

}  // namespace codegemma

// The attention that XLA calls: a few new tokens of each row over its cache, read as far as the row has come.
//
//   codegemma_attend: query [B, T, N, H], key and value [B, S, K, H], lengths int32 [B] -> [B, T, N, H]
//
// Slots are taken in blocks of `kSlots`, counted from slot 0, and the blocks' sums are added in their order: a row's
// result is the same to the last bit whatever its batch-mates, the capacity and the number of threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "errors.h"
#include "kernels.h"
#include "levels.h"
#include "memory.h"
#include "pool.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace codegemma {
namespace {

constexpr int64_t kTileRows = 32;  // queries that one task takes: their sums stay in the first-level cache's reach

float widen(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

uint16_t narrow(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

struct Shape {
  int64_t batch, time, heads, width, slots, kv_heads;
  bool query_is_bfloat16, cache_is_bfloat16;
  int64_t group() const { return heads / kv_heads; }
};

// Some queries that share keys: rows row .. row + rows of [T, G], the queries of one batch row and key-value head.
struct Tile {
  int64_t batch, head, row, rows, blocks;
};

// Sums of one tile over one block or all, in one allocation.
struct Sums {
  Memory memory;
  AttendSums sums;

  Sums(int64_t rows, int64_t width) : memory(allocate((rows * width + 2 * kTileRows) * 4)) {
    if (memory == nullptr) return;
    float* from = static_cast<float*>(memory.get());
    sums = {from, from + kTileRows, from + 2 * kTileRows};
    std::memset(from, 0, (rows * width + 2 * kTileRows) * 4);
  }
};

class Attention {
 public:
  Attention(const Shape& shape, const void* query, const void* key, const void* value, const int32_t* lengths, void* out)
      : shape_(shape), query_(query), key_(key), value_(value), lengths_(lengths), out_(out), level_(attend_level()) {}

  bool run() {
    std::vector<Tile> tiles;
    int64_t most_blocks = 0;
    for (int64_t b = 0; b < shape_.batch; ++b)
      for (int64_t head = 0; head < shape_.kv_heads; ++head)
        for (int64_t row = 0; row < shape_.time * shape_.group(); row += kTileRows) {
          const int64_t rows = std::min(kTileRows, shape_.time * shape_.group() - row);
          const int64_t used = visible(b, (row + rows - 1) / shape_.group());
          tiles.push_back({b, head, row, rows, (used + kSlots - 1) / kSlots});
          most_blocks = std::max(most_blocks, tiles.back().blocks);
        }
    // Few tiles (the decode of a row or two): their blocks are shared out too.
    if (static_cast<int64_t>(tiles.size()) < 4 * thread_count() && most_blocks > 1) return by_blocks(tiles);
    std::atomic<bool> failed{false};
    parallel_for(static_cast<int64_t>(tiles.size()), [&](int64_t i) {
      Sums total(tiles[i].rows, shape_.width), one(tiles[i].rows, shape_.width);
      const Memory query = pack(tiles[i]);
      if (total.memory == nullptr || one.memory == nullptr || query == nullptr) {
        failed = true;
        return;
      }
      for (int64_t block = 0; block < tiles[i].blocks; ++block) {
        attend(tiles[i], static_cast<const float*>(query.get()), block, one.sums);
        add(one.sums, tiles[i], total.sums, block == 0);
      }
      finish(tiles[i], total.sums);
    });
    return !failed;
  }

 private:
  bool by_blocks(const std::vector<Tile>& tiles) {
    struct Task {
      int64_t tile, block;
    };
    std::vector<Task> tasks;
    std::vector<Sums> partial;
    std::vector<Memory> queries;
    for (size_t i = 0; i < tiles.size(); ++i) {
      queries.push_back(pack(tiles[i]));
      if (queries.back() == nullptr) return false;
      for (int64_t block = 0; block < tiles[i].blocks; ++block) {
        tasks.push_back({static_cast<int64_t>(i), block});
        partial.emplace_back(tiles[i].rows, shape_.width);
        if (partial.back().memory == nullptr) return false;
      }
    }
    parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t i) {
      const Tile& tile = tiles[tasks[i].tile];
      attend(tile, static_cast<const float*>(queries[tasks[i].tile].get()), tasks[i].block, partial[i].sums);
    });
    size_t at = 0;
    for (const Tile& tile : tiles) {
      Sums total(tile.rows, shape_.width);
      if (total.memory == nullptr) return false;
      for (int64_t block = 0; block < tile.blocks; ++block) add(partial[at++].sums, tile, total.sums, block == 0);
      finish(tile, total.sums);
    }
    return true;
  }

  // Slots that query t of a batch row sees; never more than there are.
  int64_t visible(int64_t b, int64_t t) const {
    return std::clamp<int64_t>(static_cast<int64_t>(lengths_[b]) + t + 1, 0, shape_.slots);
  }

  int64_t query_index(const Tile& tile, int64_t row) const {
    const int64_t t = (tile.row + row) / shape_.group(), g = (tile.row + row) % shape_.group();
    return ((tile.batch * shape_.time + t) * shape_.heads + tile.head * shape_.group() + g) * shape_.width;
  }

  // The tile's queries as scaled floats.
  Memory pack(const Tile& tile) const {
    Memory memory = allocate(tile.rows * shape_.width * 4);
    if (memory == nullptr) return memory;
    float* to = static_cast<float*>(memory.get());
    const float scale = 1.0f / std::sqrt(static_cast<float>(shape_.width));
    for (int64_t row = 0; row < tile.rows; ++row) {
      const int64_t from = query_index(tile, row);
      for (int64_t h = 0; h < shape_.width; ++h)
        *to++ = scale * (shape_.query_is_bfloat16 ? widen(static_cast<const uint16_t*>(query_)[from + h])
                                                  : static_cast<const float*>(query_)[from + h]);
    }
    return memory;
  }

  void attend(const Tile& tile, const float* query, int64_t block, const AttendSums& to) const {
    const int64_t first = block * kSlots;
    const int64_t used = visible(tile.batch, (tile.row + tile.rows - 1) / shape_.group());
    int64_t seen[kTileRows];
    for (int64_t row = 0; row < tile.rows; ++row)
      seen[row] = std::clamp<int64_t>(visible(tile.batch, (tile.row + row) / shape_.group()) - first, 0, kSlots);
    const int64_t stride = shape_.kv_heads * shape_.width;
    const int64_t bytes = shape_.cache_is_bfloat16 ? 2 : 4;
    const int64_t offset = ((tile.batch * shape_.slots + first) * stride + tile.head * shape_.width) * bytes;
    level_->run({query, static_cast<const char*>(key_) + offset, static_cast<const char*>(value_) + offset,
                 shape_.cache_is_bfloat16, tile.rows, shape_.width, std::min(kSlots, used - first), stride, seen},
                to);
  }

  void add(const AttendSums& from, const Tile& tile, const AttendSums& to, bool first) const {
    if (first) std::copy(from.highest, from.highest + tile.rows, to.highest);
    level_->add(from, tile.rows, shape_.width, to);
  }

  void finish(const Tile& tile, const AttendSums& sums) const {
    for (int64_t row = 0; row < tile.rows; ++row) {
      const int64_t to = query_index(tile, row);
      const float factor = sums.total[row] == 0.0f ? 0.0f : 1.0f / sums.total[row];
      for (int64_t h = 0; h < shape_.width; ++h) {
        const float value = factor * sums.mixed[row * shape_.width + h];
        if (shape_.query_is_bfloat16)
          static_cast<uint16_t*>(out_)[to + h] = narrow(value);
        else
          static_cast<float*>(out_)[to + h] = value;
      }
    }
  }

  const Shape shape_;
  const void *query_, *key_, *value_;
  const int32_t* lengths_;
  void* out_;
  const Attend* level_;
};

bool is_float(ffi::DataType type) { return type == ffi::DataType::BF16 || type == ffi::DataType::F32; }

ffi::Error attend(ffi::AnyBuffer query, ffi::AnyBuffer key, ffi::AnyBuffer value, ffi::Buffer<ffi::S32> lengths,
                  ffi::Result<ffi::AnyBuffer> out) {
  const auto q = query.dimensions(), k = key.dimensions();
  if (q.size() != 4 || k.size() != 4) return bad("query and cache must have four axes");
  const Shape shape = {q[0],
                       q[1],
                       q[2],
                       q[3],
                       k[1],
                       k[2],
                       query.element_type() == ffi::DataType::BF16,
                       key.element_type() == ffi::DataType::BF16};
  if (!is_float(query.element_type()) || !is_float(key.element_type())) return bad("query and cache must be floats");
  if (value.element_type() != key.element_type() || value.element_count() != key.element_count())
    return bad("keys and values must be alike");
  if (out->element_type() != query.element_type() || out->element_count() != query.element_count())
    return bad("the result must be like the query");
  if (k[0] != q[0] || k[3] != q[3] || k[2] == 0 || q[2] % k[2] != 0 || q[3] % 16 != 0)
    return bad("query and cache do not fit");
  if (static_cast<int64_t>(lengths.element_count()) != q[0]) return bad("there must be a length for each row");
  if (query.element_count() == 0) return ffi::Error::Success();
  Attention attention(shape, query.untyped_data(), key.untyped_data(), value.untyped_data(), lengths.typed_data(),
                      out->untyped_data());
  if (!attention.run()) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "codegemma: out of memory");
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_attend, attend,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::AnyBuffer>());

}  // namespace codegemma

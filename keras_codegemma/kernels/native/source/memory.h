// Aligned scratch memory that frees itself. Code in a header: for units that are compiled for no level alone.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace codegemma {

struct Free {
  void operator()(void* pointer) const { std::free(pointer); }
};
using Memory = std::unique_ptr<void, Free>;

// Null where there is none left.
inline Memory allocate(size_t bytes) {
  constexpr size_t kAlignment = 64;
  void* pointer = nullptr;
  if (posix_memalign(&pointer, kAlignment, std::max(bytes, kAlignment)) != 0) pointer = nullptr;
  return Memory(pointer);
}

// Memory of this thread that is kept for its next call: from some size on, new memory costs a page fault each page.
class Kept {
 public:
  // Null where there is none left. Much memory is not kept: `own` holds it until the caller is done.
  void* get(size_t bytes, Memory& own) {
    constexpr size_t kMostKept = size_t{32} << 20;
    if (bytes > kMostKept) {
      own = allocate(bytes);
      return own.get();
    }
    if (bytes > size_) {
      memory_ = allocate(bytes);
      size_ = memory_ == nullptr ? 0 : bytes;
    }
    return memory_.get();
  }

 private:
  Memory memory_;
  size_t size_ = 0;
};

}  // namespace codegemma

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

}  // namespace codegemma

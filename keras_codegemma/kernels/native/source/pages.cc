#include "pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace codegemma {

void prefer_large_pages(const void* data, size_t bytes) {
#if defined(__linux__)
  constexpr size_t kPage = 2 << 20;
  constexpr int kCollapse = 25;  // MADV_COLLAPSE, of Linux 6.1: at once, not when the system comes to it
  if (bytes < 4 * kPage) return;
  static std::mutex mutex;
  static std::unordered_map<const void*, size_t> seen;
  {
    std::lock_guard<std::mutex> lock(mutex);
    size_t& known = seen[data];
    if (known == bytes) return;
    known = bytes;
  }
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) / kPage * kPage;
  void* first = reinterpret_cast<void*>(begin);
  // Either may be refused, for instance of memory that is a file's: then the pages stay as they are.
  if (madvise(first, end - begin, MADV_HUGEPAGE) == 0) madvise(first, end - begin, kCollapse);
#else
  (void)data;
  (void)bytes;
#endif
}

}  // namespace codegemma

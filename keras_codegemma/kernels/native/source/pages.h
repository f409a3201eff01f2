// Large pages for weights: a walk through memory in pages of 4 KiB waits at each page's end.
#pragma once

#include <cstddef>

namespace codegemma {

// Asks for large pages under this memory, the first time that it comes; the system moves it there once, or does not.
void prefer_large_pages(const void* data, size_t bytes);

}  // namespace codegemma

// A few threads that wait for loops to share. XLA's own threads are not offered to foreign functions.
#pragma once

#include <cstdint>
#include <functional>

namespace codegemma {

// Threads that `parallel_for` uses, the caller's among them.
int thread_count();

// Calls body(i) for i in [0, count), on any thread and in any order; returns when all are done. Calls from several
// threads come one after the other.
void parallel_for(int64_t count, const std::function<void(int64_t)>& body);

}  // namespace codegemma

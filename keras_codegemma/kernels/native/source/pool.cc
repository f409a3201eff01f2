#include "pool.h"

#if defined(__linux__)
#include <sched.h>
#endif
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

namespace codegemma {
namespace {

// A decode step is some hundred short loops with short gaps between: a thread that slept in each gap would be woken
// later than the work takes. After this long without work it sleeps.
constexpr auto kSpin = std::chrono::microseconds(200);
constexpr int64_t kPatience = 4096;  // pauses, some 100 microseconds

int available_threads() {
  if (const char* asked = std::getenv("KERAS_CODEGEMMA_THREADS")) {
    const int count = std::atoi(asked);
    if (count > 0) return count;
  }
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count > 0 ? static_cast<int>(count) : 1;
}

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; ++i) std::thread([this] { work(); }).detach();
  }

  int threads() const { return threads_; }

  void run(int64_t count, const std::function<void(int64_t)>& body) {
    std::lock_guard<std::mutex> one_loop(callers_);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      body_ = &body;
      count_ = count;
      next_.store(0, std::memory_order_relaxed);
      open_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    if (sleeping_.load() > 0) wake_.notify_all();
    share(body, count);
    {
      // Who has not come by now is not waited for: on a busy machine a thread may be away for long.
      std::lock_guard<std::mutex> lock(mutex_);
      open_ = false;
    }
    // On a busy machine a thread that is waited for may itself wait for this processor.
    for (int64_t turn = 0; inside_.load(std::memory_order_acquire) > 0; ++turn)
      turn < kPatience ? pause() : std::this_thread::yield();
  }

 private:
  void share(const std::function<void(int64_t)>& body, int64_t count) {
    for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count;) body(i);
  }

  void work() {
    uint64_t seen = 0;
    for (;;) {
      wait_for_other_than(seen);
      const std::function<void(int64_t)>* body;
      int64_t count;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        seen = generation_.load(std::memory_order_relaxed);
        if (!open_) continue;
        inside_.fetch_add(1, std::memory_order_relaxed);
        body = body_;
        count = count_;
      }
      share(*body, count);
      inside_.fetch_sub(1, std::memory_order_release);
    }
  }

  void wait_for_other_than(uint64_t seen) {
    const auto until = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 64; ++i) {
        if (generation_.load(std::memory_order_acquire) != seen) return;
        pause();
      }
    } while (std::chrono::steady_clock::now() < until);
    std::unique_lock<std::mutex> lock(mutex_);
    sleeping_.fetch_add(1);
    wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
    sleeping_.fetch_sub(1);
  }

  const int threads_;
  std::mutex callers_, mutex_;
  std::condition_variable wake_;
  const std::function<void(int64_t)>* body_ = nullptr;
  int64_t count_ = 0;
  bool open_ = false;
  std::atomic<int64_t> next_{0};
  std::atomic<int> inside_{0}, sleeping_{0};
  std::atomic<uint64_t> generation_{0};
};

// Never destroyed: its threads live as long as the process. A forked child has none of them and needs a pool of its own.
Pool& pool() {
  static std::mutex mutex;
  static Pool* current = nullptr;
  static pid_t owner = 0;
  std::lock_guard<std::mutex> lock(mutex);
  if (current == nullptr || owner != getpid()) {
    current = new Pool(available_threads());
    owner = getpid();
  }
  return *current;
}

}  // namespace

int thread_count() { return pool().threads(); }

void parallel_for(int64_t count, const std::function<void(int64_t)>& body) {
  Pool& shared = pool();
  if (count <= 1 || shared.threads() == 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  shared.run(count, body);
}

}  // namespace codegemma

#include "levels.h"

#include <atomic>
#include <cstring>
#include <vector>

namespace codegemma {
namespace {

// Whether this processor runs a level. Never runs an instruction of the level to find out.
bool runs(const Level& level) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (&level == &kAvx2) return avx2;
  if (&level == &kAvx512) return avx512;
  if (&level == &kAvx512Bf16)
    return avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
#endif
  return &level == &kPortable;
}

std::vector<const Level*> levels() {
#if defined(__x86_64__)
  return {&kAvx512Bf16, &kAvx512, &kAvx2, &kPortable};
#else
  return {&kPortable};
#endif
}

// No better level than this is taken; null for no limit.
std::atomic<const Level*> g_limit{nullptr};

}  // namespace

const Level* level_for(bool x_is_bfloat16) {
  const Level* limit = g_limit.load();
  bool allowed = limit == nullptr;
  for (const Level* level : levels()) {
    allowed = allowed || level == limit;
#if defined(__x86_64__)
    // It takes bfloat16 activations only.
    if (level == &kAvx512Bf16 && !x_is_bfloat16) continue;
#endif
    if (allowed && runs(*level)) return level;
  }
  return &kPortable;
}

const Attend* attend_level() { return level_for(false)->attend; }

}  // namespace codegemma

extern "C" {

// The name of the level that calls take, for bfloat16 and for float32 activations.
const char* codegemma_level(int x_is_bfloat16) { return codegemma::level_for(x_is_bfloat16 != 0)->name; }

// Makes calls take no better level; null for the best. 0 if done, 1 for an unknown name, 2 if this processor cannot.
int codegemma_limit_level(const char* name) {
  if (name == nullptr) {
    codegemma::g_limit = nullptr;
    return 0;
  }
  for (const codegemma::Level* level : codegemma::levels())
    if (std::strcmp(level->name, name) == 0) {
      if (!codegemma::runs(*level)) return 2;
      codegemma::g_limit = level;
      return 0;
    }
  return 1;
}
}

// What is compiled once: which instruction set this processor runs, and the pool of threads.
#include <cstdint>
#include <thread>

#include "parallel.h"

#define PUBLIC extern "C" __attribute__((visibility("default")))

namespace {

using Pool = void (*)(void (*)(void*), void*, unsigned, unsigned);  // GOMP_parallel
Pool pool = nullptr;

}  // namespace

namespace seqloom {

void run(int threads, void (*body)(void*), void* data) {
  if (pool) return pool(body, data, static_cast<unsigned>(threads), 0);
  std::thread others[64];
  int count = threads - 1 < 64 ? threads - 1 : 64;
  for (int i = 0; i < count; ++i) others[i] = std::thread(body, data);
  body(data);
  for (int i = 0; i < count; ++i) others[i].join();
}

}  // namespace seqloom

// Which interface this library has; the Python side knows one number.
PUBLIC int32_t seqloom_interface() { return SEQLOOM_INTERFACE; }

// Take the address of GOMP_parallel: an OpenMP runtime's own threads are the ones that torch's operations left warm.
PUBLIC void seqloom_use_pool(void* address) { pool = reinterpret_cast<Pool>(address); }

// The widest instruction set that this library was built for and this processor runs.
PUBLIC const char* seqloom_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw"))
    return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
  return "baseline";
#elif defined(__aarch64__)
  return "neon";
#else
  return "baseline";
#endif
}

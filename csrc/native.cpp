// What is compiled once: which instruction set this processor runs, and the pool of threads.
#include <pthread.h>

#include <cstdint>

#include "parallel.h"

#define PUBLIC extern "C" __attribute__((visibility("default")))

namespace {

using Body = void (*)(void*);
using Pool = void (*)(Body, void*, unsigned, unsigned);  // GOMP_parallel
Pool pool = nullptr;

struct Work {
  Body body;
  void* data;
};

void* begin(void* given) {
  auto* work = static_cast<Work*>(given);
  work->body(work->data);
  return nullptr;
}

}  // namespace

namespace seqloom {

void run(int threads, Body body, void* data) {
  if (pool) return pool(body, data, static_cast<unsigned>(threads), 0);
  constexpr int MOST = 64;
  pthread_t others[MOST];
  Work work{body, data};
  int count = 0;
  while (count < threads - 1 && count < MOST && pthread_create(&others[count], nullptr, begin, &work) == 0) ++count;
  body(data);
  for (int i = 0; i < count; ++i) pthread_join(others[i], nullptr);
}

}  // namespace seqloom

// Which interface this library has; the Python side knows one number.
PUBLIC int32_t seqloom_interface() { return SEQLOOM_INTERFACE; }

// Take the address of GOMP_parallel: an OpenMP runtime's own threads are the ones that torch's operations left warm.
// Null: threads of our own, made for each call.
PUBLIC void seqloom_use_pool(void* address) { pool = reinterpret_cast<Pool>(address); }

// The widest instruction set that this library may have and that processor and system run.
PUBLIC const char* seqloom_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma"))
    return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
  return "baseline";
#elif defined(__aarch64__)
  return "neon";
#else
  return "baseline";
#endif
}

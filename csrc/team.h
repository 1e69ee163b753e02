// A team: threads that share every step of the same sequences, each with its own part of the hidden units.
//
// For few sequences with weights larger than one core's cache. Nobody waits for a thread that has not come: parts are
// claimed, each by the member that owns it if it is there, so that its weights stay in its cache.
#pragma once

#include <sched.h>

#include <cstdint>

namespace {

struct Team {
  static constexpr int MOST = 64;
  struct alignas(64) Part {
    int64_t claimed = 0;  // phases that somebody has taken up
  };
  int members;
  Part parts[MOST];
  alignas(64) int64_t done = 0;  // parts of all phases

  explicit Team(int members) : members(members) {}

  // Call work(part) for each part of phase number `phase`, by whoever is there, and wait until all are done.
  template <class Work>
  void together(int64_t phase, int member, const Work& work) {
    for (int i = 0; i < members; ++i) {
      int part = (member + i) % members;
      int64_t expected = phase;
      if (__atomic_load_n(&parts[part].claimed, __ATOMIC_RELAXED) != phase) continue;
      if (!__atomic_compare_exchange_n(&parts[part].claimed, &expected, phase + 1, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED))
        continue;
      work(part);
      __atomic_fetch_add(&done, 1, __ATOMIC_ACQ_REL);
    }
    for (int64_t turn = 0; __atomic_load_n(&done, __ATOMIC_ACQUIRE) < (phase + 1) * members; ++turn)
      turn < 4096 ? pause() : static_cast<void>(sched_yield());
  }
  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
};

// Members of a team that pay for weights of so many bytes, 1: none.
inline int team_size(int threads, int64_t batch, int64_t bytes) {
  int64_t most = bytes / 98304 < Team::MOST ? bytes / 98304 : Team::MOST;
  int members = static_cast<int>(most < threads ? most : threads);
  bool few = batch < threads || (batch < 8 * threads && bytes > 524288);
  return few && members > 1 ? members : 1;
}

}  // namespace

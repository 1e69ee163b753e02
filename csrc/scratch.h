// Memory for one call, kept for the next: fresh memory costs a page fault for every 4 KiB, dearer than its use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

constexpr size_t LARGE_PAGE = size_t(1) << 21;

// Ask for large pages behind large fresh memory, so that its first touch costs few faults.
inline void prepare(void* data, size_t bytes) {
#if defined(__linux__)
  uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + 4095) & ~uintptr_t(4095);
  uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~uintptr_t(4095);
  if (data && end > begin + 2 * LARGE_PAGE) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

// Blocks given back and not yet taken again, at most MOST bytes. Whoever finds it in use goes to the system instead, so
// that no thread waits and a fork cannot leave it locked for ever.
class Spare {
  static constexpr int BLOCKS = 16;
  static constexpr size_t MOST = size_t(64) << 20;
  struct Block {
    void* data;
    size_t bytes;
  };
  Block blocks[BLOCKS] = {};
  size_t held = 0;
  char busy = 0;

  bool lock() { return !__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE); }
  void unlock() { __atomic_clear(&busy, __ATOMIC_RELEASE); }

 public:
  // Return a block of at least `bytes`, which becomes its true size, or null.
  void* take(size_t& bytes) {
    if (!lock()) return nullptr;
    Block* best = nullptr;
    for (Block& block : blocks)
      if (block.data && block.bytes >= bytes && block.bytes <= 2 * bytes && (!best || block.bytes < best->bytes))
        best = &block;
    void* data = best ? best->data : nullptr;
    if (best) {
      bytes = best->bytes;
      held -= bytes;
      *best = {};
    }
    unlock();
    return data;
  }
  // Return whether the block was kept.
  bool keep(void* data, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    return false;  // a block larger than asked for would hide what is written behind its end
#endif
    if (bytes > MOST || !lock()) return false;
    Block* free = nullptr;
    for (Block& block : blocks)
      if (!block.data) free = &block;
    bool fits = free && held + bytes <= MOST;
    if (fits) {
      *free = {data, bytes};
      held += bytes;
    }
    unlock();
    return fits;
  }
};

inline Spare spare;

// `count` elements aligned to a cache line, not cleared.
template <class T>
struct Scratch {
  static constexpr size_t SMALL = 65536;
  size_t bytes;
  T* data;

  explicit Scratch(int64_t count) : bytes((count * sizeof(T) / 64 + 1) * 64), data(static_cast<T*>(get(bytes))) {}
  ~Scratch() {
    if (bytes < SMALL || !spare.keep(data, bytes)) std::free(data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  operator T*() const { return data; }

  static void* get(size_t& bytes) {
    if (bytes >= SMALL)
      if (void* kept = spare.take(bytes)) return kept;
    size_t alignment = bytes >= 2 * LARGE_PAGE ? LARGE_PAGE : 64;
    bytes = (bytes + alignment - 1) / alignment * alignment;
    void* fresh = std::aligned_alloc(alignment, bytes);
    if (!fresh) std::abort();
    if (alignment == LARGE_PAGE) prepare(fresh, bytes + 1);
    return fresh;
  }
};

}  // namespace

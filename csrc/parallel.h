// Threads: a few tasks at once, on the pool of threads that torch already keeps.
#pragma once

namespace seqloom {

// Call body(data) on `threads` threads at once, this one among them, and wait; fewer may run. Defined in native.cpp.
void run(int threads, void (*body)(void*), void* data);

}  // namespace seqloom

namespace {

template <class Task>
struct Tasks {
  const Task* task;
  int count;
  int next;
};

// Run task(0) ... task(count - 1), each once, on up to `count` threads. Tasks must not wait for one another.
template <class Task>
void parallel(int count, const Task& task) {
  if (count == 1) {
    task(0);
    return;
  }
  Tasks<Task> tasks{&task, count, 0};
  auto body = [](void* data) {
    auto* all = static_cast<Tasks<Task>*>(data);
    for (int i; (i = __atomic_fetch_add(&all->next, 1, __ATOMIC_RELAXED)) < all->count;) (*all->task)(i);
  };
  seqloom::run(count, body, &tasks);
}

}  // namespace

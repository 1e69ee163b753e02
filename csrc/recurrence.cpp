// Recurrences along time: each thread takes its own sequences through all steps; no thread waits for another.
//
// Sums run in one order whatever the number of threads, so that results are bitwise equal.
#include "recurrence_backward.h"
#include "recurrence_forward.h"

namespace {

// Threads that pay: each region of threads costs some microseconds, and on a busy machine many times more.
template <class T>
int threads_for(const Call<T>& call, int gates) {
  int64_t flops = 2 * call.count * gates * call.hidden * (call.hidden + call.inputs);
  return flops < 16000000 ? 1 : static_cast<int>(call.threads);
}

template <class T, class Cell>
void run_forward(const Call<T>& call) {
  int threads = threads_for(call, Cell::GATES);
  call.train ? forward<T, Cell, true>(call, threads) : forward<T, Cell, false>(call, threads);
}

template <class T, class Cell>
void run_backward(const Call<T>& call) {
  backward<T, Cell>(call, threads_for(call, Cell::GATES));
}

}  // namespace

EXPORT(recurrence_f32)(const Call<float>* call) { FOR_CELL(run_forward, float, *call) }
EXPORT(recurrence_f64)(const Call<double>* call) { FOR_CELL(run_forward, double, *call) }
EXPORT(recurrence_backward_f32)(const Call<float>* call) { FOR_CELL(run_backward, float, *call) }
EXPORT(recurrence_backward_f64)(const Call<double>* call) { FOR_CELL(run_backward, double, *call) }

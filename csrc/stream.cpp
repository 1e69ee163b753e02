// One step at a time: layers whose weights are packed once, for decoding and live input.
#include "recurrence_forward.h"

namespace {

template <class T>
struct Layer {
  virtual ~Layer() = default;
  virtual const T* step(const T* x) = 0;  // returns h, the state after
};

template <class T, class Cell>
struct LayerOf final : Layer<T> {
  Call<T> call;
  Packed<T> w_ih, w_hh;
  Biases<T, Cell> biases;
  Scratch<T> next, gates;
  Runner<T, Cell, false> runner;

  explicit LayerOf(const Call<T>& given)
      : call(given),
        w_ih(pack_forward<Cell>(1, call.w_ih, call.hidden, call.inputs)),
        w_hh(pack_forward<Cell>(1, call.w_hh, call.hidden, call.hidden)),
        biases(call.b_ih, call.b_hh, call.hidden),
        next(call.batch * call.hidden),
        gates(call.batch * Cell::GATES * call.hidden),
        runner{call, w_ih, w_hh, biases, nullptr, 0, 1, call.batch, 1, gates, call.last} {
    call.y = next;
  }
  const T* step(const T* x) override {
    call.x = x;
    runner.enter(runner.list(0, 1), 0, 1);
    runner.advance(0, 0);
    std::memcpy(const_cast<T*>(call.first), next, call.batch * call.hidden * sizeof(T));
    return call.first;
  }
};

template <class T, class Cell>
Layer<T>* open(const Call<T>& call) {
  return new LayerOf<T, Cell>(call);
}

template <class T>
struct Stream {
  int64_t count, size;  // layers, elements of the last one's h
  Layer<T>* layers[64];

  Stream(const Call<T>* calls, int64_t count) : count(count), size(calls[count - 1].batch * calls[count - 1].hidden) {
    for (int64_t i = 0; i < count; ++i) layers[i] = [&]() -> Layer<T>* { FOR_CELL(open, T, calls[i]) }();
  }
  ~Stream() {
    for (int64_t i = 0; i < count; ++i) delete layers[i];
  }
  void step(const T* x, T* y) {
    for (int64_t i = 0; i < count; ++i) x = layers[i]->step(x);
    std::memcpy(y, x, size * sizeof(T));
  }
};

}  // namespace

// Up to 64 layers, each a Call of one step: its weights are packed, `first` (h) and `last` (c) are kept and updated.
EXPORT(stream_open_f32)(const Call<float>* layers, int64_t count, void** stream) {
  *stream = new Stream<float>(layers, count);
}
EXPORT(stream_open_f64)(const Call<double>* layers, int64_t count, void** stream) {
  *stream = new Stream<double>(layers, count);
}
// Read x (B, D), write y (B, H).
EXPORT(stream_step_f32)(Stream<float>* stream, const float* x, float* y) { stream->step(x, y); }
EXPORT(stream_step_f64)(Stream<double>* stream, const double* x, double* y) { stream->step(x, y); }
EXPORT(stream_close_f32)(Stream<float>* stream) { delete stream; }
EXPORT(stream_close_f64)(Stream<double>* stream) { delete stream; }

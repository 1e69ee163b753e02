// The linear recurrence h_t = a_t h_{t-1} + b_t: one pass over memory, vectors along the lanes, threads over sequences.
//
// It does little work for each byte, so all is about memory: rows are read and written once and in order, the running
// state stays in the nearest cache, and results too large for any cache are written past them.
#include "parallel.h"
#include "scan_vectors.h"
#include "scratch.h"

namespace {

constexpr int64_t BEYOND_CACHE = 16 << 20;  // bytes of one result: it would only push out what is still needed

// Real: lanes are numbers. Complex: two lanes, real and imaginary part, are a number. Strides are in lanes.
template <class T>
struct Scan {
  int64_t threads, batch, steps, lanes;
  int64_t a_batch, a_step, b_batch, b_step;  // of d_y in the backward pass: b_batch, b_step
  const T *a, *b, *first;                    // first: (B, lanes) or null
  T* h;                                      // (B, T, lanes), contiguous; read in the backward pass
  const T* d_h;
  T *d_a, *d_b, *d_first;  // contiguous
};

// a x + c, or conj(a) x + c; complex: for pairs of real and imaginary parts.
template <class T, bool COMPLEX, bool CONJUGATE>
ALWAYS_INLINE Vec<T> times(Vec<T> a, Vec<T> x, Vec<T> c) {
  if constexpr (!COMPLEX) {
    return fused<T>(a, x, c);
  } else {
    typename VectorOf<T>::bits real, imaginary, swapped;
    Vec<T> sign;
#pragma GCC unroll 16
    for (int lane = 0; lane < LANES<T>; ++lane) {
      real[lane] = lane & ~1, imaginary[lane] = lane | 1, swapped[lane] = lane ^ 1;
      sign[lane] = ((lane & 1) != 0) != CONJUGATE ? T(1) : T(-1);
    }
    c = fused<T>(shuffle<T>(a, a, imaginary) * sign, shuffle<T>(x, x, swapped), c);
    return fused<T>(shuffle<T>(a, a, real), x, c);
  }
}

// The lanes `from` ... `to` - 1 of one sequence: body(offset, memory) for each vector.
template <class T, class Body>
ALWAYS_INLINE void for_lanes(int64_t from, int64_t to, const Part<T>& last, const Body& body) {
  constexpr int L = LANES<T>;
  for (; from + L <= to; from += L) body(from, Whole<T>{});
  if (from < to) body(from, last);
}

// Few vectors keep their state in registers: from memory, each step would wait for the one before.
template <class T, bool COMPLEX, int V>
void forward_narrow(const Scan<T>& s, int64_t sequence, int64_t from, int64_t to, bool past_caches) {
  constexpr int L = LANES<T>;
  const Part<T> last(to - from - (V - 1) * L);
  const T *a = s.a + sequence * s.a_batch + from, *b = s.b + sequence * s.b_batch + from;
  const T* first = s.first ? s.first + sequence * s.lanes + from : nullptr;
  T* out = s.h + sequence * s.steps * s.lanes + from;
  auto get = [&](const T* row, int v) { return v < V - 1 ? load(row + v * L) : last.get(row + v * L); };
  Vec<T> h[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) h[v] = first ? get(first, v) : Vec<T>{};
  for (int64_t t = 0; t < s.steps; ++t, a += s.a_step, b += s.b_step, out += s.lanes) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      h[v] = times<T, COMPLEX, false>(get(a, v), h[v], get(b, v));
      if (past_caches)
        store_past_caches<T>(out + v * L, h[v]);
      else if (v < V - 1)
        store(out + v * L, h[v]);
      else
        last.put(out + v * L, h[v]);
    }
  }
}

template <class T, bool COMPLEX>
void forward(const Scan<T>& s, int64_t sequence, int64_t from, int64_t to, bool past_caches) {
  constexpr int L = LANES<T>;
  switch ((to - from + L - 1) / L) {
    case 1: return forward_narrow<T, COMPLEX, 1>(s, sequence, from, to, past_caches);
    case 2: return forward_narrow<T, COMPLEX, 2>(s, sequence, from, to, past_caches);
    case 3: return forward_narrow<T, COMPLEX, 3>(s, sequence, from, to, past_caches);
    case 4: return forward_narrow<T, COMPLEX, 4>(s, sequence, from, to, past_caches);
  }
  const Part<T> last((to - from) % L);
  Scratch<T> state(to - from + L);
  T* h = state.data - from;
  for (int64_t lane = from; lane < to + L; ++lane)
    h[lane] = s.first && lane < to ? s.first[sequence * s.lanes + lane] : T(0);
  const T *a = s.a + sequence * s.a_batch, *b = s.b + sequence * s.b_batch;
  T* out = s.h + sequence * s.steps * s.lanes;
  for (int64_t t = 0; t < s.steps; ++t, a += s.a_step, b += s.b_step, out += s.lanes) {
    if (past_caches) {
      for (int64_t i = from; i < to; i += L) {
        Vec<T> next = times<T, COMPLEX, false>(load(a + i), load(h + i), load(b + i));
        store(h + i, next);
        store_past_caches<T>(out + i, next);
      }
      continue;
    }
    for_lanes<T>(from, to, last, [&](int64_t i, const auto& memory) {
      Vec<T> next = times<T, COMPLEX, false>(memory.get(a + i), load(h + i), memory.get(b + i));
      store(h + i, next);
      memory.put(out + i, next);
    });
  }
}

// g_t = d_h_t + conj(a_{t+1}) g_{t+1}; d_a_t = g_t conj(h_{t-1}); d_b_t = g_t; d_first = conj(a_0) g_0.
template <class T, bool COMPLEX, int V>
void backward_narrow(const Scan<T>& s, int64_t sequence, int64_t from, int64_t to, bool past_caches) {
  constexpr int L = LANES<T>;
  const Part<T> last(to - from - (V - 1) * L);
  const T* first = s.first ? s.first + sequence * s.lanes + from : nullptr;
  auto get = [&](const T* row, int v) { return v < V - 1 ? load(row + v * L) : last.get(row + v * L); };
  auto put = [&](T* row, int v, Vec<T> x) {
    if (past_caches)
      store_past_caches<T>(row + v * L, x);
    else
      v < V - 1 ? store(row + v * L, x) : last.put(row + v * L, x);
  };
  Vec<T> g[V] = {}, later[V] = {};  // later: a_{t+1}
  for (int64_t t = s.steps - 1; t >= 0; --t) {
    const T* a = s.a + sequence * s.a_batch + t * s.a_step + from;
    const T* given = s.d_h + sequence * s.b_batch + t * s.b_step + from;
    int64_t row = (sequence * s.steps + t) * s.lanes + from;
    const T* before = t ? s.h + row - s.lanes : first;
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      g[v] = times<T, COMPLEX, true>(later[v], g[v], get(given, v));
      later[v] = get(a, v);
      put(s.d_b + row, v, g[v]);
      put(s.d_a + row, v, times<T, COMPLEX, true>(before ? get(before, v) : Vec<T>{}, g[v], Vec<T>{}));
    }
  }
  if (!s.d_first) return;
  for (int v = 0; v < V; ++v) {
    T* to_first = s.d_first + sequence * s.lanes + from + v * L;
    Vec<T> x = times<T, COMPLEX, true>(later[v], g[v], Vec<T>{});
    v < V - 1 ? store(to_first, x) : last.put(to_first, x);
  }
}

template <class T, bool COMPLEX>
void backward(const Scan<T>& s, int64_t sequence, int64_t from, int64_t to, bool past_caches) {
  constexpr int L = LANES<T>;
  switch ((to - from + L - 1) / L) {
    case 1: return backward_narrow<T, COMPLEX, 1>(s, sequence, from, to, past_caches);
    case 2: return backward_narrow<T, COMPLEX, 2>(s, sequence, from, to, past_caches);
    case 3: return backward_narrow<T, COMPLEX, 3>(s, sequence, from, to, past_caches);
    case 4: return backward_narrow<T, COMPLEX, 4>(s, sequence, from, to, past_caches);
  }
  const Part<T> last((to - from) % L);
  Scratch<T> state(2 * (to - from + L));
  T *later_g = state.data - from, *none = later_g + (to - from + L);
  for (int64_t lane = from; lane < to + L; ++lane) later_g[lane] = none[lane] = T(0);
  const T *first = s.first ? s.first + sequence * s.lanes : none, *later = none;
  for (int64_t t = s.steps - 1; t >= 0; --t) {
    const T* given = s.d_h + sequence * s.b_batch + t * s.b_step;
    int64_t row = (sequence * s.steps + t) * s.lanes;
    const T* before = t ? s.h + row - s.lanes : first;
    T *d_a = s.d_a + row, *d_b = s.d_b + row;
    if (past_caches) {
      for (int64_t i = from; i < to; i += L) {
        Vec<T> g = times<T, COMPLEX, true>(load(later + i), load(later_g + i), load(given + i));
        store(later_g + i, g);
        store_past_caches<T>(d_b + i, g);
        store_past_caches<T>(d_a + i, times<T, COMPLEX, true>(load(before + i), g, Vec<T>{}));
      }
    } else {
      for_lanes<T>(from, to, last, [&](int64_t i, const auto& memory) {
        Vec<T> g = times<T, COMPLEX, true>(memory.get(later + i), load(later_g + i), memory.get(given + i));
        store(later_g + i, g);
        memory.put(d_b + i, g);
        memory.put(d_a + i, times<T, COMPLEX, true>(memory.get(before + i), g, Vec<T>{}));
      });
    }
    later = s.a + sequence * s.a_batch + t * s.a_step;
  }
  if (!s.d_first) return;
  for_lanes<T>(from, to, last, [&](int64_t i, const auto& memory) {
    Vec<T> x = times<T, COMPLEX, true>(memory.get(later + i), load(later_g + i), Vec<T>{});
    memory.put(s.d_first + sequence * s.lanes + i, x);
  });
}

template <class T, class Run>
void share(const Scan<T>& s, bool aligned, const Run& run) {
  constexpr int L = LANES<T>;
  int64_t size = s.steps * s.lanes, bytes = s.batch * size * sizeof(T);
  int threads = bytes < (1 << 18) ? 1 : static_cast<int>(s.threads);
  // whole rows stream best; they are cut where sequences are too few to go round
  int64_t vectors = (s.lanes + L - 1) / L;
  int64_t cuts = s.batch >= 4 * threads || s.batch % threads == 0 ? 1 : threads < vectors ? threads : vectors;
  int64_t units = s.batch * cuts;
  bool past_caches = bytes >= BEYOND_CACHE && aligned && s.lanes % L == 0;
  parallel(threads, [&](int thread) {
    for (int64_t unit = units * thread / threads; unit < units * (thread + 1) / threads; ++unit) {
      int64_t cut = unit % cuts, from = vectors * cut / cuts * L, to = vectors * (cut + 1) / cuts * L;
      run(unit / cuts, from, to < s.lanes ? to : s.lanes, past_caches);
    }
#if defined(__x86_64__)
    _mm_sfence();
#endif
  });
}

bool aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % SEQLOOM_VECTOR_BYTES == 0; }

template <class T, bool COMPLEX>
void run_forward(const Scan<T>& s) {
  prepare(s.h, s.batch * s.steps * s.lanes * sizeof(T));
  share(s, aligned(s.h), [&](auto... where) { forward<T, COMPLEX>(s, where...); });
}

template <class T, bool COMPLEX>
void run_backward(const Scan<T>& s) {
  prepare(s.d_a, s.batch * s.steps * s.lanes * sizeof(T));
  prepare(s.d_b, s.batch * s.steps * s.lanes * sizeof(T));
  share(s, aligned(s.d_a) && aligned(s.d_b), [&](auto... where) { backward<T, COMPLEX>(s, where...); });
}

}  // namespace

EXPORT(scan_f32)(const Scan<float>* scan) { run_forward<float, false>(*scan); }
EXPORT(scan_f64)(const Scan<double>* scan) { run_forward<double, false>(*scan); }
EXPORT(scan_c64)(const Scan<float>* scan) { run_forward<float, true>(*scan); }
EXPORT(scan_c128)(const Scan<double>* scan) { run_forward<double, true>(*scan); }
EXPORT(scan_backward_f32)(const Scan<float>* scan) { run_backward<float, false>(*scan); }
EXPORT(scan_backward_f64)(const Scan<double>* scan) { run_backward<double, false>(*scan); }
EXPORT(scan_backward_c64)(const Scan<float>* scan) { run_backward<float, true>(*scan); }
EXPORT(scan_backward_c128)(const Scan<double>* scan) { run_backward<double, true>(*scan); }

// What stands between products: rotary turns, RMSNorm and SwiGLU, each one pass over memory forward and one backward.
//
// torch composes them of up to a dozen passes, each through fresh memory.
#include "parallel.h"
#include "scratch.h"
#include "simd.h"

namespace {

constexpr int64_t SHARES = 16;  // of rows, whatever the number of threads: sums over them run in one order

// Call body(begin, end, share) for all rows, a share at a time.
template <class Body>
void shared_out(int64_t threads, int64_t rows, int64_t elements, const Body& body) {
  int64_t next = 0;
  parallel(elements < 50000 ? 1 : static_cast<int>(threads), [&](int) {
    for (int64_t share; (share = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < SHARES;)
      body(rows * share / SHARES, rows * (share + 1) / SHARES, share);
  });
}

// Call body(Units, offset) for each vector of `size` elements.
template <class T, class Body>
ALWAYS_INLINE void along(int64_t size, const Body& body) {
  for (int64_t offset = 0; offset < size; offset += LANES<T>)
    with_units<T>(offset, size, [&](auto units) { body(units, offset); });
}

template <class T>
T sum_of(Vec<T> v) {
  T lanes[LANES<T>], total = 0;
  store(lanes, v);
  for (T lane : lanes) total += lane;
  return total;
}

// x (rows, heads, 2 half), rows `x_row` apart; the first `turned` heads turn by the angles of their row, the others are
// copied. cos, sin: (angles, half), row r takes r % angles. sign -1 turns back.
template <class T>
struct Rotate {
  int64_t threads, rows, heads, turned, half, x_row, angles, sign;
  const T *x, *cos, *sin;
  T* y;
};

template <class T>
void rotate(const Rotate<T>& r) {
  int64_t width = 2 * r.half, size = r.heads * width;
  prepare(r.y, r.rows * size * sizeof(T));
  T sign = static_cast<T>(r.sign);
  shared_out(r.threads, r.rows, r.rows * size, [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t row = begin; row < end; ++row) {
      const T *x = r.x + row * r.x_row, *cos = r.cos + row % r.angles * r.half, *sin = r.sin + row % r.angles * r.half;
      T* y = r.y + row * size;
      for (int64_t head = 0; head < r.turned; ++head, x += width, y += width)
        along<T>(r.half, [&](auto units, int64_t i) {
          Vec<T> a = units.get(x + i), b = units.get(x + r.half + i), c = units.get(cos + i),
                 s = units.get(sin + i) * sign;
          units.put(y + i, a * c - b * s);
          units.put(y + r.half + i, a * s + b * c);
        });
      std::memcpy(y, x, (r.heads - r.turned) * width * sizeof(T));
    }
  });
}

// y = x / sqrt(mean(x^2) + eps) * w over rows (rows, size); kept: the factor of each row.
template <class T>
struct Norm {
  int64_t threads, rows, size;
  double eps;
  const T *x, *w, *d_y;
  T *y, *factor, *d_x, *d_w;
};

template <class T>
void norm(const Norm<T>& n) {
  prepare(n.y, n.rows * n.size * sizeof(T));
  shared_out(n.threads, n.rows, n.rows * n.size, [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t row = begin; row < end; ++row) {
      const T* x = n.x + row * n.size;
      Vec<T> squares{};
      along<T>(n.size, [&](auto units, int64_t i) {
        Vec<T> v = units.get(x + i);
        squares += v * v;
      });
      T factor = static_cast<T>(1.0 / __builtin_sqrt(static_cast<double>(sum_of<T>(squares)) / n.size + n.eps));
      n.factor[row] = factor;
      along<T>(n.size, [&](auto units, int64_t i) {
        units.put(n.y + row * n.size + i, units.get(x + i) * factor * units.get(n.w + i));
      });
    }
  });
}

template <class T>
void norm_backward(const Norm<T>& n) {
  prepare(n.d_x, n.rows * n.size * sizeof(T));
  Scratch<T> sums(SHARES * n.size);
  std::memset(sums, 0, SHARES * n.size * sizeof(T));
  shared_out(n.threads, n.rows, n.rows * n.size, [&](int64_t begin, int64_t end, int64_t share) {
    T* d_w = sums + share * n.size;
    for (int64_t row = begin; row < end; ++row) {
      const T *x = n.x + row * n.size, *d_y = n.d_y + row * n.size;
      T factor = n.factor[row];
      Vec<T> inner{};
      along<T>(n.size, [&](auto units, int64_t i) {
        Vec<T> product = units.get(x + i) * units.get(d_y + i);
        inner += product * units.get(n.w + i);
        units.put(d_w + i, units.get(d_w + i) + product * factor);
      });
      T back = sum_of<T>(inner) * factor * factor * factor / static_cast<T>(n.size);
      along<T>(n.size, [&](auto units, int64_t i) {
        units.put(n.d_x + row * n.size + i,
                  units.get(d_y + i) * units.get(n.w + i) * factor - units.get(x + i) * back);
      });
    }
  });
  along<T>(n.size, [&](auto units, int64_t i) {
    Vec<T> total{};
    for (int64_t share = 0; share < SHARES; ++share) total += units.get(sums + share * n.size + i);
    units.put(n.d_w + i, total);
  });
}

// y (rows, size) = silu(x[:, :size]) * x[:, size:].
template <class T>
struct Gate {
  int64_t threads, rows, size;
  const T *x, *d_y;
  T *y, *d_x;
};

template <class T>
void gate(const Gate<T>& g) {
  prepare(g.y, g.rows * g.size * sizeof(T));
  shared_out(g.threads, g.rows, g.rows * g.size, [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t row = begin; row < end; ++row) {
      const T* x = g.x + row * 2 * g.size;
      along<T>(g.size, [&](auto units, int64_t i) {
        Vec<T> a = units.get(x + i);
        units.put(g.y + row * g.size + i, a * sigmoid<T>(a) * units.get(x + g.size + i));
      });
    }
  });
}

template <class T>
void gate_backward(const Gate<T>& g) {
  prepare(g.d_x, 2 * g.rows * g.size * sizeof(T));
  shared_out(g.threads, g.rows, g.rows * g.size, [&](int64_t begin, int64_t end, int64_t) {
    for (int64_t row = begin; row < end; ++row) {
      const T *x = g.x + row * 2 * g.size, *d_y = g.d_y + row * g.size;
      T* d_x = g.d_x + row * 2 * g.size;
      along<T>(g.size, [&](auto units, int64_t i) {
        Vec<T> a = units.get(x + i), d = units.get(d_y + i), s = sigmoid<T>(a);
        units.put(d_x + i, d * units.get(x + g.size + i) * s * (T(1) + a * (T(1) - s)));
        units.put(d_x + g.size + i, d * a * s);
      });
    }
  });
}

}  // namespace

EXPORT(rotate_f32)(const Rotate<float>* r) { rotate(*r); }
EXPORT(rotate_f64)(const Rotate<double>* r) { rotate(*r); }
EXPORT(norm_f32)(const Norm<float>* n) { norm(*n); }
EXPORT(norm_f64)(const Norm<double>* n) { norm(*n); }
EXPORT(norm_backward_f32)(const Norm<float>* n) { norm_backward(*n); }
EXPORT(norm_backward_f64)(const Norm<double>* n) { norm_backward(*n); }
EXPORT(gate_f32)(const Gate<float>* g) { gate(*g); }
EXPORT(gate_f64)(const Gate<double>* g) { gate(*g); }
EXPORT(gate_backward_f32)(const Gate<float>* g) { gate_backward(*g); }
EXPORT(gate_backward_f64)(const Gate<double>* g) { gate_backward(*g); }

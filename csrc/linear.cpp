// The linear layer: y = x W^T + b and its gradients, each a product with one packed operand.
//
// Each output is one sum in one order, whatever the number of threads: results are bitwise equal.
#include "outer.h"
#include "parallel.h"

namespace {

// The fields that the Python side fills, in the same order. Matrices are contiguous; unneeded pointers are null.
template <class T>
struct Linear {
  int64_t threads, rows, inputs, outputs;      // N, K, M
  const T *x, *w, *b, *d_y;                    // (N, K), (M, K), (M), (N, M)
  T *y, *d_x, *d_w, *d_b;                      // as what they are gradients of

  int workers() const { return rows * inputs * outputs < 2000000 ? 1 : static_cast<int>(threads); }
};

constexpr int64_t ROWS = 96;    // rows that take all columns in turn while they are in the cache
constexpr int64_t TERMS = 512;  // terms of one sum; longer ones are sums of sums, which round less

// to (rows x size) = from (rows x length) times the operand of elements (k, column) at w[k * step_k + column * step_column].
template <class T>
void product(int threads, const T* from, int64_t rows, int64_t length, const T* w, int64_t step_k, int64_t step_column,
             const T* bias, T* to, int64_t size) {
  constexpr int L = LANES<T>;
  prepare(to, rows * size * sizeof(T));
  Groups groups = Groups::of<T>(1, size);
  Scratch<T> packed(groups.total() * length * L);
  auto terms = [&](int64_t k) { return length - k < TERMS ? length - k : TERMS; };
  parallel(threads, [&](int thread) {
    for (int64_t group = thread; group < groups.count; group += threads)
      for (int64_t k = 0; k < length; k += TERMS)
        pack_group<T>(groups, group, terms(k), [&](int) { return w + k * step_k; }, step_k, step_column,
                      packed + groups.total() * k * L);
  });
  int64_t stretches = (rows + ROWS - 1) / ROWS, next = 0;
  if (stretches < 4 * threads) stretches = 4 * threads < rows ? 4 * threads : rows;
  parallel(threads, [&](int) {
    const T* lines[ROWS];
    for (int64_t turn; (turn = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < stretches;) {
      int64_t begin = rows * turn / stretches, end = rows * (turn + 1) / stretches;
      for (int64_t k = 0; k < length; k += TERMS) {
        for (int64_t row = begin; row < end; ++row) lines[row - begin] = from + row * length + k;
        auto write = [&](int64_t first, int m, int64_t group, const T* sums) {
          for (int i = 0; i < m; ++i)
            for (int v = 0; v < groups.width(group); ++v, sums += L) {
              int64_t offset = (groups.first(group) + v) * L;
              T* at = to + (begin + first + i) * size + offset;
              const T* before = k ? at : bias ? bias + offset : nullptr;
              with_units<T>(offset, size, [&](auto units) {
                units.put(at, before ? load(sums) + units.get(before) : load(sums));
              });
            }
        };
        multiply<T>(lines, end - begin, terms(k), groups, packed + groups.total() * k * L, write);
      }
    }
  });
}

template <class T>
void forward(const Linear<T>& l) {
  product<T>(l.workers(), l.x, l.rows, l.inputs, l.w, 1, l.inputs, l.b, l.y, l.outputs);
}

template <class T>
void backward(const Linear<T>& l) {
  int workers = l.workers();
  if (l.d_x) product<T>(workers, l.d_y, l.rows, l.outputs, l.w, l.inputs, 1, nullptr, l.d_x, l.inputs);
  if (!l.d_w) return;
  int64_t blocks = (l.outputs + BLOCK - 1) / BLOCK;
  parallel(workers, [&](int share) {
    OuterProducts<T> sum{l.outputs, l.inputs, {}, blocks * share / workers, blocks * (share + 1) / workers};
    sum.clear();
    const T *from[DEPTH], *right[DEPTH];
    for (int64_t n = 0; n < l.rows; n += DEPTH) {
      int64_t count = l.rows - n < DEPTH ? l.rows - n : DEPTH;
      for (int64_t i = 0; i < count; ++i) from[i] = l.d_y + (n + i) * l.outputs, right[i] = l.x + (n + i) * l.inputs;
      sum.add(from, right, count);
    }
    sum.write(l.d_w, l.inputs, l.d_b);
  });
}

}  // namespace

EXPORT(linear_f32)(const Linear<float>* l) { forward(*l); }
EXPORT(linear_f64)(const Linear<double>* l) { forward(*l); }
EXPORT(linear_backward_f32)(const Linear<float>* l) { backward(*l); }
EXPORT(linear_backward_f64)(const Linear<double>* l) { backward(*l); }

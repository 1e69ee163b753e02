// The gradients that are sums over all steps of all sequences: one product for each weight, and one for the input.
#pragma once

#include "recurrence.h"

namespace {

// All steps of all sequences in one order, a stretch at a time.
template <class T>
struct Stretches {
  const Call<T>& call;
  int64_t s = 0, b = 0;

  // Fill up to `most` (step, sequence) pairs; 0: no more.
  int64_t next(int64_t most, int64_t* steps, int64_t* rows) {
    int64_t count = 0;
    for (; s < call.steps; ++s, b = 0)
      for (; b < call.batch; ++b) {
        if (s >= call.length(b)) continue;
        if (count == most) return count;
        steps[count] = s, rows[count++] = b;
      }
    return count;
  }
};

// d_x = d W_ih, share `share` of `shares`.
template <class T, class Cell>
void input_gradients(const Call<T>& call, const Packed<T>& w_ih, int share, int shares) {
  constexpr int L = LANES<T>;
  const int64_t wide = Cell::D * call.hidden;
  Scratch<int64_t> steps(STRETCH), rows(STRETCH);
  Scratch<const T*> from(STRETCH);
  Scratch<T*> to(STRETCH);
  Stretches<T> all{call};
  for (int64_t turn = 0, count; (count = all.next(STRETCH, steps, rows)); ++turn) {
    if (turn % shares != share) continue;
    for (int64_t i = 0; i < count; ++i) {
      int64_t slot = call.slot(steps[i], rows[i]);
      from[i] = call.d + slot * wide, to[i] = call.d_x + slot * call.inputs;
    }
    multiply<T>(from, count, Cell::GATES * call.hidden, w_ih.groups, w_ih.data.data,
                [&](int64_t first, int m, int64_t group, const T* sums) {
                  for (int i = 0; i < m; ++i)
                    for (int v = 0; v < w_ih.groups.width(group); ++v, sums += L) {
                      int64_t offset = (w_ih.groups.first(group) + v) * L;
                      with_units<T>(offset, call.inputs,
                                    [&](auto units) { units.put(to[first + i] + offset, load(sums)); });
                    }
                });
  }
}

constexpr int BLOCK = rows_of_tile(3);  // rows of a weight whose gradient is summed at once
constexpr int64_t DEPTH = 128;          // steps summed before they are added to the rest

template <class T, int V>
void add_tile(const T* const* rows, const T* group, int64_t depth, T* out) {
  tile<T, BLOCK, V, BLOCK, true>(rows, depth, group, out);
}

// One weight's gradient: the sum over steps of (gradient of gates) x (what the weight was multiplied with).
template <class T, class Cell>
struct WeightGradient {
  const Call<T>& call;
  bool hidden;     // of W_hh, else of W_ih
  int64_t size;    // columns: H or D
  int64_t begin, end;  // blocks of rows that this share sums
  Groups groups = Groups::of<T>(1, size);
  int64_t blocks = (call.hidden + BLOCK - 1) / BLOCK;  // of one gate
  Scratch<T> packed{groups.total() * DEPTH * LANES<T>};
  Scratch<T> left{DEPTH * BLOCK};
  Scratch<T> sums{(end - begin) * BLOCK * groups.total() * LANES<T> + 1};
  Scratch<T> bias{(end - begin) * BLOCK + 1};

  void clear() {
    zeros(sums, (end - begin) * BLOCK * groups.total() * LANES<T>);
    zeros(bias, (end - begin) * BLOCK);
  }
  int64_t column(int gate) const { return hidden ? Cell::HIDDEN + gate : Cell::column(gate); }

  // d: the rows of d; right: what the weight was multiplied with.
  void add(const T* const* d, const T* const* right, int64_t count) {
    constexpr int L = LANES<T>;
    for (int64_t group = 0; group < groups.count; ++group) pack_right(right, count, group);
    for (int64_t block = begin; block < end; ++block) {
      pack_left(d, count, block);
      const T* rows[BLOCK];
      for (int m = 0; m < BLOCK; ++m) rows[m] = left + m;
      T* out = sums + (block - begin) * BLOCK * groups.total() * L;
      for (int64_t group = 0; group < groups.count; ++group) {
        const T* from = packed + groups.offset(group) * DEPTH * L;
        T* to = out + groups.offset(group) * BLOCK * L;
        switch (groups.width(group)) {
          case 1: add_tile<T, 1>(rows, from, count, to); break;
          case 2: add_tile<T, 2>(rows, from, count, to); break;
          default: add_tile<T, 3>(rows, from, count, to);
        }
      }
    }
  }
  void pack_right(const T* const* right, int64_t count, int64_t group) {
    constexpr int L = LANES<T>;
    int64_t offset = groups.first(group) * L, width = groups.width(group) * L;
    T* to = packed + groups.offset(group) * DEPTH * L;
    int64_t present = size - offset < width ? size - offset : width;
    for (int64_t n = 0; n < count; ++n, to += width) {
      std::memcpy(to, right[n] + offset, present * sizeof(T));
      if (present < width) std::memset(to + present, 0, (width - present) * sizeof(T));
    }
  }
  void pack_left(const T* const* d, int64_t count, int64_t block) {
    int64_t unit = block % blocks * BLOCK, from = column(static_cast<int>(block / blocks)) * call.hidden + unit;
    int64_t present = call.hidden - unit < BLOCK ? call.hidden - unit : BLOCK;
    T* total = bias + (block - begin) * BLOCK;
    present == BLOCK ? copy_left(d, count, from, total, [] { return BLOCK; })
                     : copy_left(d, count, from, total, [=] { return static_cast<int>(present); });
  }
  template <class Present>
  void copy_left(const T* const* d, int64_t count, int64_t from, T* total, const Present& present) {
    T sum[BLOCK] = {};
    for (int64_t n = 0; n < count; ++n) {
      const T* row = d[n] + from;
      for (int m = 0; m < BLOCK; ++m) {
        T value = m < present() ? row[m] : T(0);
        left[n * BLOCK + m] = value;
        sum[m] += value;
      }
    }
    for (int m = 0; m < BLOCK; ++m) total[m] += sum[m];
  }
  void write(T* weight, T* b) const {
    constexpr int L = LANES<T>;
    for (int64_t block = begin; block < end; ++block)
      for (int64_t m = 0; m < BLOCK; ++m) {
        int64_t unit = block % blocks * BLOCK + m;
        if (unit >= call.hidden) break;
        int64_t row = block / blocks * call.hidden + unit;
        if (b) b[row] = bias[(block - begin) * BLOCK + m];
        const T* out = sums + (block - begin) * BLOCK * groups.total() * L;
        for (int64_t group = 0; group < groups.count; ++group) {
          int64_t offset = groups.first(group) * L, width = groups.width(group) * L;
          int64_t present = size - offset < width ? size - offset : width;
          std::memcpy(weight + row * size + offset, out + groups.offset(group) * BLOCK * L + m * width,
                      present * sizeof(T));
        }
      }
  }
};

template <class T, class Cell>
void weight_gradients(const Call<T>& call, const T* zero, int share, int shares) {
  const int64_t H = call.hidden, wide = Cell::D * H;
  int64_t blocks = Cell::GATES * ((H + BLOCK - 1) / BLOCK);
  int64_t begin = blocks * share / shares, end = blocks * (share + 1) / shares;
  WeightGradient<T, Cell> input{call, false, call.inputs, begin, end}, hidden{call, true, H, begin, end};
  input.clear(), hidden.clear();
  Scratch<int64_t> steps(DEPTH), rows(DEPTH);
  Scratch<const T*> d(DEPTH), x(DEPTH), before(DEPTH);
  Stretches<T> all{call};
  for (int64_t count; (count = all.next(DEPTH, steps, rows));) {
    for (int64_t i = 0; i < count; ++i) {
      int64_t s = steps[i], b = rows[i], slot = call.slot(s, b);
      d[i] = call.d + slot * wide;
      x[i] = call.x + slot * call.inputs;
      before[i] = call.starts_at(s, b) ? zero : s ? call.y + call.slot(s - 1, b) * H : call.first + b * H;
    }
    input.add(d, x, count), hidden.add(d, before, count);
  }
  input.write(call.d_w_ih, call.d_b_ih), hidden.write(call.d_w_hh, call.d_b_hh);
}

}  // namespace

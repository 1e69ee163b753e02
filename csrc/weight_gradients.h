// The gradients that are sums over all steps of all sequences: one product for each weight, and one for the input.
#pragma once

#include "outer.h"
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

template <class T, class Cell>
void weight_gradients(const Call<T>& call, const T* zero, int share, int shares) {
  const int64_t H = call.hidden, wide = Cell::D * H;
  int64_t blocks = Cell::GATES * ((H + BLOCK - 1) / BLOCK);
  int64_t begin = blocks * share / shares, end = blocks * (share + 1) / shares;
  OuterProducts<T> input{H, call.inputs, {}, begin, end}, hidden{H, H, {}, begin, end};
  for (int gate = 0; gate < Cell::GATES; ++gate) {
    input.columns[gate] = Cell::column(gate);
    hidden.columns[gate] = Cell::HIDDEN + gate;
  }
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
  input.write(call.d_w_ih, call.inputs, call.d_b_ih), hidden.write(call.d_w_hh, H, call.d_b_hh);
}

}  // namespace

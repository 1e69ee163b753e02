// Backward: from the last step of each sequence to its first, then one product over all steps for each weight.
//
// The product that carries the gradient to the step before goes straight into that step's derivative.
#pragma once

#include "recurrence.h"
#include "team.h"

namespace {

template <class T, class Cell>
struct Reverser {
  const Call<T>& call;
  const Packed<T>&w_ih, &w_hh;
  const T* zero;
  int64_t first_row, row_step, rows;
  T* carry;  // (rows, H)
  int64_t H = call.hidden, kept = Cell::KEPT * H, wide = Cell::D * H;
  Scratch<Backward<T>> step{rows};
  Scratch<const T*> hidden{rows};  // the hidden part of d one step later
  Scratch<const T*> given{rows};   // d_y of the step
  Scratch<T*> finished{rows};      // d_first of a sequence that has no more steps
  Scratch<bool> cut{rows};         // whether the step that d comes from began from zeros

  int64_t row(int64_t i) const { return first_row + i * row_step; }

  void point(int64_t s, int64_t i, int64_t active) {
    int64_t b = row(i);
    Backward<T>& at = step[active];
    at.carry = carry + i * H;
    finished[active] = s < 0 ? call.d_first + b * H : nullptr;
    cut[active] = s + 1 < call.length(b) && call.starts_at(s + 1, b);
    if (s + 1 < call.length(b)) hidden[active] = call.d + call.slot(s + 1, b) * wide + Cell::HIDDEN * H;
    if (s < 0) return;
    int64_t slot = call.slot(s, b), previous = s ? call.slot(s - 1, b) : 0;
    bool start = call.starts_at(s, b);
    at.gates = call.kept + slot * kept;
    at.h_before = start ? zero : s ? call.y + previous * H : call.first + b * H;
    at.h_after = call.y + slot * H;
    at.d = call.d + slot * wide;
    at.size = H;
    if (Cell::STATES == 2)
      at.c_before = start ? zero : s ? call.kept + previous * kept + 4 * H : call.first + (call.batch + b) * H;
    given[active] = call.d_y + slot * H;
  }

  // The derivative of one vector of units, `flow` what reaches h from later steps.
  void derive(int64_t active, int64_t offset, Vec<T> flow) const {
    Backward<T> at = step[active];
    at.carry += offset;
    with_units<T>(offset, H, [&](auto units) {
      if (cut[active]) {
        flow = Vec<T>{};
        units.put(at.carry, flow);
      } else if (Cell::CARRIES_H) {
        flow += units.get(at.carry);
      }
      if (finished[active]) {
        units.put(finished[active] + offset, flow);
        return;
      }
      at.gates += offset, at.h_before += offset, at.h_after += offset, at.d += offset;
      if (Cell::STATES == 2) at.c_before += offset;
      Cell::template backward<T>(units, at, flow + units.get(given[active] + offset));
    });
  }

  // Back number k from the end of each sequence: k = 0 is its last step, k = length what is left for the first state.
  void back(int64_t k, int share = 0, int shares = 1) {
    constexpr int L = LANES<T>;
    int64_t active = 0;
    for (int64_t i = 0; i < rows; ++i)
      if (k <= call.length(row(i))) point(call.length(row(i)) - 1 - k, i, active++);
    const Groups& groups = w_hh.groups;
    auto derive_tile = [&](int64_t first, int m, int64_t group, const T* sums) {
      for (int i = 0; i < m; ++i)
        for (int v = 0; v < groups.width(group); ++v, sums += L)
          derive(first + i, (groups.first(group) + v) * L, load(sums));
    };
    multiply<T>(hidden, active, Cell::GATES * H, groups, w_hh.data.data, derive_tile, share, shares);
  }

  void begin() {
    for (int64_t i = 0; i < rows; ++i) {
      int64_t b = row(i);
      const T* c = call.d_last + (call.batch + b) * H;
      if (Cell::STATES == 2)
        std::memcpy(carry + i * H, c, H * sizeof(T));
      else
        std::memset(carry + i * H, 0, H * sizeof(T));
      point(call.length(b) - 1, i, 0);
      for (int64_t offset = 0; offset < H; offset += LANES<T>)
        with_units<T>(offset, H, [&](auto units) { derive(0, offset, units.get(call.d_last + b * H + offset)); });
    }
  }

  void end() const {
    if (Cell::STATES == 2)
      for (int64_t i = 0; i < rows; ++i)
        std::memcpy(call.d_first + (call.batch + row(i)) * H, carry + i * H, H * sizeof(T));
  }

  int64_t longest() const {
    int64_t most = 0;
    for (int64_t i = 0; i < rows; ++i) most = call.length(row(i)) > most ? call.length(row(i)) : most;
    return most;
  }
};

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

template <class T, class Cell>
void backward(const Call<T>& call, int threads) {
  const int64_t H = call.hidden, D = call.inputs;
  prepare(call.d, call.count * Cell::D * H);
  prepare(call.d_x, call.count * D);
  Scratch<T> nothing(H);
  const T* zero = zeros(nothing, H);
  // a column of the packed operand is a column of the weight; k runs over the gates in the order of d
  Packed<T> w_hh(threads, Groups::of<T>(1, H), Cell::GATES * H, H, 1, [&](int) { return call.w_hh; });
  Scratch<T> turned(Cell::GATES * H * D);
  for (int gate = 0; gate < Cell::GATES; ++gate)
    std::memcpy(turned + Cell::column(gate) * H * D, call.w_ih + gate * H * D, H * D * sizeof(T));
  Packed<T> w_ih(threads, Groups::of<T>(1, D), Cell::GATES * H, D, 1, [&](int) { return turned.data; });
  int members = team_size(threads, call.batch, w_hh.groups.total() * w_hh.length * LANES<T> * sizeof(T));
  int workers = members > 1 ? 1 : call.batch < threads ? static_cast<int>(call.batch) : threads;
  Scratch<T> carry(members > 1 ? call.batch * H : 0);
  Team team(members);
  parallel(members > 1 ? members : workers, [&](int member) {
    int worker = members > 1 ? 0 : member;
    int64_t rows = (call.batch - worker + workers - 1) / workers;
    Scratch<T> own(members > 1 ? 0 : rows * H);
    Reverser<T, Cell> reverser{call, w_ih, w_hh, zero, worker, workers, rows, members > 1 ? carry.data : own.data};
    int64_t longest = reverser.longest();
    if (members > 1) {
      team.together(0, member, [&](int part) { part == 0 ? reverser.begin() : void(); });
      for (int64_t k = 1; k <= longest; ++k)
        team.together(k, member, [&](int part) { reverser.back(k, part, members); });
      if (member == 0) reverser.end();
    } else {
      reverser.begin();
      for (int64_t k = 1; k <= longest; ++k) reverser.back(k);
      reverser.end();
    }
  });
  parallel(threads, [&](int share) {
    if (call.d_x) input_gradients<T, Cell>(call, w_ih, share, threads);
    weight_gradients<T, Cell>(call, zero, share, threads);
  });
}

}  // namespace

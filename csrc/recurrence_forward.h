// Forward: the input products of a stretch of steps, then step by step a product with the packed hidden weights whose
// sums go straight into the cell.
#pragma once

#include "recurrence.h"
#include "team.h"

namespace {

template <class T, class Cell, bool KEEP>
struct Runner {
  const Call<T>& call;
  const Packed<T>&w_ih, &w_hh;
  const Biases<T, Cell>& biases;
  const T* zero;
  int64_t first_row, row_step, rows;  // the sequences first_row, first_row + row_step, ...
  int64_t stretch;                    // steps whose input products are computed together
  T *gates, *cells;                   // inference: gates of a stretch, (stretch, rows, G H); the LSTM's c, (rows, H)
  int64_t H = call.hidden, width = Cell::KEPT == 0 ? H : (KEEP ? Cell::KEPT : Cell::GATES) * H;
  Scratch<const T*> inputs{stretch * rows};
  Scratch<T*> entered{stretch * rows};
  Scratch<Forward<T>> step{rows};
  Scratch<const T*> before{rows};

  int64_t row(int64_t i) const { return first_row + i * row_step; }
  T* gates_at(int64_t s, int64_t i, int64_t s0) const {
    if (Cell::KEPT == 0) return call.y + call.slot(s, row(i)) * H;
    if (KEEP) return call.kept + call.slot(s, row(i)) * width;
    return gates + ((s - s0) * rows + i) * width;
  }

  const T* first_cell(int64_t b) const { return call.first + (call.batch + b) * H; }
  int64_t end_of(int64_t s0) const { return s0 + stretch < call.steps ? s0 + stretch : call.steps; }

  void begin() {
    if (!KEEP && Cell::STATES == 2)
      for (int64_t i = 0; i < rows; ++i)
        std::memcpy(cells + i * H, first_cell(row(i)), H * sizeof(T));
  }

  // List the steps s0 ... s1 - 1 of all sequences.
  int64_t list(int64_t s0, int64_t s1) {
    int64_t count = 0;
    for (int64_t s = s0; s < s1; ++s)
      for (int64_t i = 0; i < rows; ++i)
        if (s < call.length(row(i))) {
          inputs[count] = call.x + call.slot(s, row(i)) * call.inputs;
          entered[count++] = gates_at(s, i, s0);
        }
    return count;
  }
  // The input products of what was listed, share `share` of `shares`.
  void enter(int64_t count, int64_t share, int64_t shares) const {
    int64_t from = count * share / shares, to = count * (share + 1) / shares;
    multiply<T>(inputs + from, to - from, call.inputs, w_ih.groups, w_ih.data.data,
                [&](int64_t first, int m, int64_t group, const T* sums) {
                  for (int i = 0; i < m; ++i, sums += w_ih.groups.width(group) * LANES<T>)
                    put(entered[from + first + i], group, sums);
                });
  }
  void put(T* to, int64_t group, const T* sums) const {
    constexpr int L = LANES<T>;
    const T* bias = biases.input + w_ih.groups.offset(group) * L;
    for (int v = 0; v < w_ih.groups.width(group); ++v) {
      int64_t offset = (Cell::GATES == 1 ? w_ih.groups.first(group) + v : group) * L;
      T* column = to + (Cell::GATES == 1 ? 0 : Cell::column(v) * H) + offset;
      with_units<T>(offset, H, [&](auto units) { units.put(column, load(sums + v * L) + load(bias + v * L)); });
    }
  }

  void point(int64_t s, int64_t i, int64_t s0, int64_t active) {
    int64_t b = row(i);
    bool start = call.starts_at(s, b);
    int64_t previous = s ? call.slot(s - 1, b) : 0;
    Forward<T>& f = step[active];
    f.h_before = start ? zero : s ? call.y + previous * H : call.first + b * H;
    f.h_after = call.y + call.slot(s, b) * H;
    f.gates = gates_at(s, i, s0);
    f.size = H;
    if (Cell::STATES == 2) {
      const T* c = !KEEP ? cells + i * H : s ? call.kept + previous * width + 4 * H : first_cell(b);
      f.c_before = start ? zero : c;
      f.c_after = KEEP ? f.gates + 4 * H : cells + i * H;
    }
    before[active] = f.h_before;
  }

  // Step s of all sequences that have it, share `share` of `shares` of the hidden units.
  void advance(int64_t s, int64_t s0, int share = 0, int shares = 1) {
    constexpr int L = LANES<T>;
    const Groups& groups = w_hh.groups;
    int64_t active = 0;
    for (int64_t i = 0; i < rows; ++i)
      if (s < call.length(row(i))) point(s, i, s0, active++);
    auto finish_tile = [&](int64_t first, int m, int64_t group, const T* sums) {
      int vectors = Cell::GATES == 1 ? groups.width(group) : 1;
      for (int i = 0; i < m; ++i)
        for (int v = 0; v < vectors; ++v, sums += Cell::GATES * L)
          finish(step[first + i], (groups.first(group) + v) * L, sums);
    };
    multiply<T>(before, active, H, groups, w_hh.data.data, finish_tile, share, shares);
  }
  void finish(const Forward<T>& at, int64_t offset, const T* sums) const {
    Forward<T> f = at;
    f.hidden = sums;
    f.bias = biases.hidden + offset;
    f.gates += offset, f.h_before += offset, f.h_after += offset;
    if (Cell::STATES == 2) f.c_before += offset, f.c_after += offset;
    with_units<T>(offset, H, [&](auto units) { Cell::template forward<KEEP, T>(units, f); });
  }

  void end() const {
    for (int64_t i = 0; i < rows; ++i) {
      int64_t b = row(i), n = call.length(b);
      const T* h = n ? call.y + call.slot(n - 1, b) * H : call.first + b * H;
      std::memcpy(call.last + b * H, h, H * sizeof(T));
      if (Cell::STATES == 1) continue;
      const T* c = !KEEP ? cells + i * H : n ? call.kept + call.slot(n - 1, b) * width + 4 * H : first_cell(b);
      std::memcpy(call.last + (call.batch + b) * H, c, H * sizeof(T));
    }
  }
};

inline int64_t stretch_of(int64_t rows) { return (STRETCH + rows - 1) / rows; }

template <class Runner>
void run_together(Runner& runner, Team& team, int member) {
  int64_t phase = 0;
  team.together(phase++, member, [&](int part) { part == 0 ? runner.begin() : void(); });
  for (int64_t s0 = 0; s0 < runner.call.steps; s0 += runner.stretch) {
    int64_t end = runner.end_of(s0);
    team.together(phase++, member, [&](int part) { runner.enter(runner.list(s0, end), part, team.members); });
    for (int64_t s = s0; s < end; ++s)
      team.together(phase++, member, [&](int part) { runner.advance(s, s0, part, team.members); });
  }
}

template <class T, class Cell, bool KEEP>
void forward(const Call<T>& call, int threads) {
  prepare(call.y, call.count * call.hidden * sizeof(T));
  prepare(call.kept, call.count * Cell::KEPT * call.hidden * sizeof(T));
  Packed<T> w_ih = pack_forward<Cell>(threads, call.w_ih, call.hidden, call.inputs);
  Packed<T> w_hh = pack_forward<Cell>(threads, call.w_hh, call.hidden, call.hidden);
  Biases<T, Cell> biases(call.b_ih, call.b_hh, call.hidden);
  Scratch<T> nothing(call.hidden);
  const T* zero = zeros(nothing, call.hidden);
  auto runner = [&](int64_t first_row, int64_t row_step, int64_t rows, T* gates, T* cells) {
    return Runner<T, Cell, KEEP>{call, w_ih, w_hh, biases, zero, first_row,
                                 row_step, rows, stretch_of(rows), gates, cells};
  };
  auto gates_of = [&](int64_t rows) {
    return KEEP || Cell::KEPT == 0 ? 0 : stretch_of(rows) * rows * Cell::GATES * call.hidden;
  };
  auto cells_of = [&](int64_t rows) { return KEEP || Cell::STATES == 1 ? 0 : rows * call.hidden; };
  int members = team_size(threads, call.batch, w_hh.groups.total() * w_hh.length * LANES<T> * sizeof(T));
  if (members > 1) {
    Scratch<T> gates(gates_of(call.batch)), cells(cells_of(call.batch));
    Team team(members);
    parallel(members, [&](int member) {
      auto all = runner(0, 1, call.batch, gates, cells);
      run_together(all, team, member);
      if (member == 0) all.end();
    });
    return;
  }
  int workers = call.batch < threads ? static_cast<int>(call.batch) : threads;
  int shares = workers == 1 ? threads : 1;  // one sequence: at least its input product is shared
  parallel(workers, [&](int worker) {
    int64_t rows = (call.batch - worker + workers - 1) / workers;
    Scratch<T> gates(gates_of(rows)), cells(cells_of(rows));
    auto own = runner(worker, workers, rows, gates, cells);
    own.begin();
    for (int64_t s0 = 0; s0 < call.steps; s0 += own.stretch) {
      int64_t end = own.end_of(s0), listed = own.list(s0, end);
      parallel(shares, [&](int share) { own.enter(listed, share, shares); });
      for (int64_t s = s0; s < end; ++s) own.advance(s, s0);
    }
    own.end();
  });
}

}  // namespace

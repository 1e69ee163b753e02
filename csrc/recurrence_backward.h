// Backward: from the last step of each sequence to its first, then the sums over all steps.
//
// The product that carries the gradient to the step before goes straight into that step's derivative.
#pragma once

#include "recurrence.h"
#include "team.h"
#include "weight_gradients.h"

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

template <class T, class Cell>
void backward(const Call<T>& call, int threads) {
  const int64_t H = call.hidden, D = call.inputs;
  prepare(call.d, call.count * Cell::D * H * sizeof(T));
  prepare(call.d_x, call.count * D * sizeof(T));
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

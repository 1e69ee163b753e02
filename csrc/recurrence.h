// What one call of the recurrence works on, and what its two directions share.
//
// The Python side fills the fields of Call in the same order.
#pragma once

#include "cells.h"
#include "matrix.h"
#include "parallel.h"

namespace {

// Rows of x, y and the rest are "slots": row slot(s, b) is step s of sequence b, in any layout, padded or not. All
// matrices are contiguous. Pointers that are not needed are null.
template <class T>
struct Call {
  int64_t cell, threads, train;
  int64_t batch, steps, inputs, hidden, count;       // B, T, D, H, slots
  int64_t slot_first, slot_of_step, slot_of_row;     // without `slots`: slot = first + s * of_step + b * of_row
  const int32_t* slots;                              // (T, B)
  const int32_t* lengths;                            // (B) steps of each sequence; null: all have T
  const uint8_t* starts;                             // (T, B) whether the state is zero before step s; null: nowhere
  const T *x, *w_ih, *w_hh, *b_ih, *b_hh;            // (slots, D), (G H, D), (G H, H), (G H), (G H)
  const T* first;                                    // (states, B, H)
  T *y, *kept, *last;                                // (slots, H), (slots, KEPT H), (states, B, H)
  const T *d_y, *d_last;                             // as y and last
  T *d, *d_x, *d_w_ih, *d_w_hh, *d_b_ih, *d_b_hh, *d_first;  // d: (slots, D H) work space

  int64_t slot(int64_t s, int64_t b) const {
    return slots ? slots[s * batch + b] : slot_first + s * slot_of_step + b * slot_of_row;
  }
  int64_t length(int64_t b) const { return lengths ? lengths[b] : steps; }
  bool starts_at(int64_t s, int64_t b) const { return starts && starts[s * batch + b]; }
};

constexpr int64_t STRETCH = 192;  // slots whose input products are computed together: they stay in the cache

template <class T>
const T* zeros(Scratch<T>& scratch, int64_t count) {
  std::memset(scratch.data, 0, count * sizeof(T));
  return scratch.data;
}

// function<T, Cell>(call) for the cell of the call.
#define FOR_CELL(function, T, call)                  \
  switch ((call).cell) {                             \
    case 0: return function<T, Elman<false>>(call);  \
    case 1: return function<T, Elman<true>>(call);   \
    case 2: return function<T, Lstm>(call);          \
    default: return function<T, Gru>(call);          \
  }

// A weight packed for products; `source(part)` is the first element of a part's columns.
template <class T>
struct Packed {
  Groups groups;
  int64_t length;
  Scratch<T> data;

  template <class Source>
  Packed(int threads, const Groups& groups, int64_t length, int64_t step_k, int64_t step_column, const Source& source)
      : groups(groups), length(length), data(groups.total() * length * LANES<T>) {
    parallel(threads, [&](int thread) {
      for (int64_t group = thread; group < groups.count; group += threads)
        pack_group<T>(groups, group, length, source, step_k, step_column, data.data);
    });
  }
};

template <class Cell, class T>
Packed<T> pack_forward(int threads, const T* weight, int64_t hidden, int64_t length) {
  return Packed<T>(threads, Groups::of<T>(Cell::GATES, hidden), length, 1, length,
                   [&](int gate) { return weight + gate * hidden * length; });
}

// Biases as vectors of their groups: what is added to the input's part, and what must stay with the hidden part.
template <class T, class Cell>
struct Biases {
  Groups groups;
  Scratch<T> input, hidden;

  Biases(const T* b_ih, const T* b_hh, int64_t size)
      : groups(Groups::of<T>(Cell::GATES, size)),
        input(groups.total() * LANES<T>),
        hidden(groups.vectors * LANES<T>) {
    zeros(input, groups.total() * LANES<T>);
    zeros(hidden, groups.vectors * LANES<T>);
    for (int gate = 0; gate < Cell::GATES; ++gate)
      for (int64_t unit = 0; unit < size; ++unit) {
        T from_hidden = b_hh ? b_hh[gate * size + unit] : T(0);
        bool apart = Cell::HIDDEN_BIAS && gate == Cell::GATES - 1;
        if (apart) hidden[unit] = from_hidden;
        input[at(gate, unit)] = (b_ih ? b_ih[gate * size + unit] : T(0)) + (apart ? T(0) : from_hidden);
      }
  }
  int64_t at(int gate, int64_t unit) const {
    constexpr int L = LANES<T>;
    return Cell::GATES == 1 ? unit : (unit / L * Cell::GATES + gate) * L + unit % L;
  }
};

}  // namespace

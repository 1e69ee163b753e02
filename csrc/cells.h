// The cells: one step forward and one step back, for a vector of hidden units of one row.
//
// A row of `gates` holds in columns of H units, before the step, the part that comes from the input, and after it what
// the backward pass needs. A row of `d` holds the gradients: columns 0 ... GATES - 1 those of the input's part, columns
// HIDDEN ... HIDDEN + GATES - 1 those of the hidden part, so that each is one stretch of memory.
#pragma once

#include "simd.h"

namespace {

template <class T>
struct Forward {
  const T* hidden;  // products with the state before: a vector for each gate
  const T* bias;    // of the hidden part, where it cannot be added to the input's (GRU)
  T* gates;
  const T* h_before;
  T* h_after;
  const T* c_before;
  T* c_after;
  int64_t size;  // H
};

template <class T>
struct Backward {
  const T* gates;
  const T* h_before;
  const T* h_after;
  const T* c_before;
  T* d;
  T* carry;      // what reaches the state before without passing through the hidden product
  int64_t size;  // H
};

template <bool RELU>
struct Elman {
  static constexpr int GATES = 1, STATES = 1, HIDDEN = 0, KEPT = 0, D = 1;  // kept: h itself
  static constexpr bool CARRIES_H = false, HIDDEN_BIAS = false;
  static constexpr int column(int gate) { return gate; }

  template <bool KEEP, class T, class U>
  static ALWAYS_INLINE void forward(const U& units, const Forward<T>& f) {
    Vec<T> x = units.get(f.gates) + load(f.hidden);
    units.put(f.h_after, RELU ? (x < T(0) ? Vec<T>{} : x) : hyperbolic_tangent<T>(x));
  }
  template <class T, class U>
  static ALWAYS_INLINE void backward(const U& units, const Backward<T>& b, Vec<T> d_h) {
    Vec<T> h = units.get(b.h_after);
    units.put(b.d, RELU ? (h > T(0) ? d_h : Vec<T>{}) : d_h * (T(1) - h * h));
  }
};

struct Lstm {
  static constexpr int GATES = 4, STATES = 2, HIDDEN = 0, KEPT = 5, D = 4;  // kept: i f g o c
  static constexpr bool CARRIES_H = false, HIDDEN_BIAS = false;
  static constexpr int column(int gate) { return gate; }

  template <bool KEEP, class T, class U>
  static ALWAYS_INLINE void forward(const U& units, const Forward<T>& f) {
    constexpr int L = LANES<T>;
    Vec<T> i = sigmoid<T>(units.get(f.gates) + load(f.hidden));
    Vec<T> g = hyperbolic_tangent<T>(units.get(f.gates + 2 * f.size) + load(f.hidden + 2 * L));
    Vec<T> c = i * g;
    Vec<T> forget = sigmoid<T>(units.get(f.gates + f.size) + load(f.hidden + L));
    c += forget * units.get(f.c_before);
    Vec<T> o = sigmoid<T>(units.get(f.gates + 3 * f.size) + load(f.hidden + 3 * L));
    units.put(f.c_after, c);
    units.put(f.h_after, o * hyperbolic_tangent<T>(c));
    if (KEEP) {
      units.put(f.gates, i);
      units.put(f.gates + f.size, forget);
      units.put(f.gates + 2 * f.size, g);
      units.put(f.gates + 3 * f.size, o);
    }
  }
  template <class T, class U>
  static ALWAYS_INLINE void backward(const U& units, const Backward<T>& b, Vec<T> d_h) {
    Vec<T> i = units.get(b.gates), forget = units.get(b.gates + b.size);
    Vec<T> g = units.get(b.gates + 2 * b.size), o = units.get(b.gates + 3 * b.size);
    // tanh(c) = h / o; where o is next to nothing so is every term with tanh(c)
    Vec<T> tanh_c = o > T(1e-30) ? units.get(b.h_after) / o : Vec<T>{};
    Vec<T> d_c = units.get(b.carry) + d_h * o * (T(1) - tanh_c * tanh_c);
    units.put(b.d, d_c * g * i * (T(1) - i));
    units.put(b.d + b.size, d_c * units.get(b.c_before) * forget * (T(1) - forget));
    units.put(b.d + 2 * b.size, d_c * i * (T(1) - g * g));
    units.put(b.d + 3 * b.size, d_h * tanh_c * o * (T(1) - o));
    units.put(b.carry, d_c * forget);
  }
};

struct Gru {
  // kept and d: n r z u, u the hidden part of n
  static constexpr int GATES = 3, STATES = 1, HIDDEN = 1, KEPT = 4, D = 4;
  static constexpr bool CARRIES_H = true, HIDDEN_BIAS = true;
  static constexpr int column(int gate) { return (gate + 1) % 3; }  // torch's order is r z n

  template <bool KEEP, class T, class U>
  static ALWAYS_INLINE void forward(const U& units, const Forward<T>& f) {
    constexpr int L = LANES<T>;
    Vec<T> r = sigmoid<T>(units.get(f.gates + f.size) + load(f.hidden));
    Vec<T> u = load(f.hidden + 2 * L) + load(f.bias);
    Vec<T> n = hyperbolic_tangent<T>(units.get(f.gates) + r * u);
    Vec<T> z = sigmoid<T>(units.get(f.gates + 2 * f.size) + load(f.hidden + L));
    units.put(f.h_after, n + z * (units.get(f.h_before) - n));
    if (KEEP) {
      units.put(f.gates, n);
      units.put(f.gates + f.size, r);
      units.put(f.gates + 2 * f.size, z);
      units.put(f.gates + 3 * f.size, u);
    }
  }
  template <class T, class U>
  static ALWAYS_INLINE void backward(const U& units, const Backward<T>& b, Vec<T> d_h) {
    Vec<T> n = units.get(b.gates), r = units.get(b.gates + b.size), z = units.get(b.gates + 2 * b.size);
    Vec<T> u = units.get(b.gates + 3 * b.size);
    Vec<T> d_n = d_h * (T(1) - z) * (T(1) - n * n);
    units.put(b.d, d_n);
    units.put(b.d + b.size, d_n * u * r * (T(1) - r));
    units.put(b.d + 2 * b.size, d_h * (units.get(b.h_before) - n) * z * (T(1) - z));
    units.put(b.d + 3 * b.size, d_n * r);
    units.put(b.carry, d_h * z);
  }
};

}  // namespace

// Vectors of the widest registers that this translation unit is compiled for, and the functions of gates on them.
//
// Everything stands in an unnamed namespace: the same source is compiled once for each instruction set, and functions
// of one name must not be merged. For the same reason kernels use no templates of the standard library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#define SEQLOOM_JOIN_(name, isa) seqloom_##name##_##isa
#define SEQLOOM_JOIN(name, isa) SEQLOOM_JOIN_(name, isa)
// A function that the library exports for this instruction set.
#define EXPORT(name) extern "C" __attribute__((visibility("default"))) void SEQLOOM_JOIN(name, SEQLOOM_ISA)

#if defined(__AVX512F__)
#define SEQLOOM_VECTOR_BYTES 64
#define SEQLOOM_REGISTERS 32
#elif defined(__AVX2__)
#define SEQLOOM_VECTOR_BYTES 32
#define SEQLOOM_REGISTERS 16
#elif defined(__aarch64__)
#define SEQLOOM_VECTOR_BYTES 16
#define SEQLOOM_REGISTERS 32
#else
#define SEQLOOM_VECTOR_BYTES 16
#define SEQLOOM_REGISTERS 16
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))

namespace {

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float vector __attribute__((vector_size(SEQLOOM_VECTOR_BYTES)));
  typedef float anywhere __attribute__((vector_size(SEQLOOM_VECTOR_BYTES), aligned(4), may_alias));
  typedef int32_t bits __attribute__((vector_size(SEQLOOM_VECTOR_BYTES)));
};
template <>
struct VectorOf<double> {
  typedef double vector __attribute__((vector_size(SEQLOOM_VECTOR_BYTES)));
  typedef double anywhere __attribute__((vector_size(SEQLOOM_VECTOR_BYTES), aligned(8), may_alias));
  typedef int64_t bits __attribute__((vector_size(SEQLOOM_VECTOR_BYTES)));
};
template <class T>
using Vec = typename VectorOf<T>::vector;
template <class T>
constexpr int LANES = SEQLOOM_VECTOR_BYTES / sizeof(T);

template <class T>
ALWAYS_INLINE Vec<T> load(const T* from) {
  return *reinterpret_cast<const typename VectorOf<T>::anywhere*>(from);
}
template <class T>
ALWAYS_INLINE void store(T* to, Vec<T> v) {
  *reinterpret_cast<typename VectorOf<T>::anywhere*>(to) = v;
}
template <class T>
ALWAYS_INLINE Vec<T> fill(T x) {
  return x - Vec<T>{};  // not 0 + x, which would cost an addition: it turns -0 into 0
}

// The first n < LANES elements; the others read as zero and are not written.
template <class T>
ALWAYS_INLINE Vec<T> load(const T* from, int n) {
  T lanes[LANES<T>] = {};
  std::memcpy(lanes, from, n * sizeof(T));
  return load(lanes);
}
template <class T>
ALWAYS_INLINE void store(T* to, Vec<T> v, int n) {
  T lanes[LANES<T>];
  store(lanes, v);
  std::memcpy(to, lanes, n * sizeof(T));
}

// n <= LANES hidden units in memory.
template <class T, bool FULL>
struct Units {
  int n;
  ALWAYS_INLINE Vec<T> get(const T* from) const { return FULL ? load(from) : load(from, n); }
  ALWAYS_INLINE void put(T* to, Vec<T> v) const { FULL ? store(to, v) : store(to, v, n); }
};

// Call body(Units) for the vector of `size` units that begins at `offset`.
template <class T, class Body>
ALWAYS_INLINE void with_units(int64_t offset, int64_t size, const Body& body) {
  if (offset + LANES<T> <= size)
    body(Units<T, true>{LANES<T>});
  else
    body(Units<T, false>{static_cast<int>(size - offset)});
}

// Lane i is lane which[i] of a followed by b.
template <class T>
ALWAYS_INLINE Vec<T> shuffle(Vec<T> a, Vec<T> b, typename VectorOf<T>::bits which) {
#if defined(__clang__)
  Vec<T> result;
  for (int lane = 0; lane < LANES<T>; ++lane)
    result[lane] = which[lane] < LANES<T> ? a[which[lane]] : b[which[lane] - LANES<T>];
  return result;
#else
  return __builtin_shuffle(a, b, which);
#endif
}

// Transpose LANES x LANES elements in registers: log2(LANES) rounds that swap blocks off the diagonal.
template <class T>
ALWAYS_INLINE void transpose(Vec<T> (&rows)[LANES<T>]) {
  constexpr int L = LANES<T>;
#pragma GCC unroll 4
  for (int size = 1; size < L; size *= 2) {
    typename VectorOf<T>::bits upper, lower;
#pragma GCC unroll 16
    for (int lane = 0; lane < L; ++lane) {
      upper[lane] = lane & size ? L + lane - size : lane;
      lower[lane] = lane & size ? L + lane : lane + size;
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) {
      if (i & size) continue;
      Vec<T> a = rows[i], b = rows[i + size];
      rows[i] = shuffle<T>(a, b, upper);
      rows[i + size] = shuffle<T>(a, b, lower);
    }
  }
}

// ---- exp, sigmoid, tanh: within a few units in the last place; NaN stays NaN ----

// exp(x) = 2^n exp(r), |r| <= ln 2 / 2; the integer n stands in the low bits of x log2(e) + magic.
ALWAYS_INLINE Vec<float> exponential(Vec<float> x) {
  x = x < -87.3f ? fill(-87.3f) : x;
  x = x > 88.3f ? fill(88.3f) : x;
  const float magic = 12582912.0f + 127.0f;  // 1.5 * 2^23 + the exponent's bias
  Vec<float> shifted = x * 1.44269504088896341f + magic;
  Vec<float> n = shifted - magic;
  Vec<float> r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Vec<float> p = fill(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * (Vec<float>)((VectorOf<float>::bits)shifted << 23);
}

ALWAYS_INLINE Vec<double> exponential(Vec<double> x) {
  x = x < -708.0 ? fill(-708.0) : x;
  x = x > 709.0 ? fill(709.0) : x;
  const double magic = 6755399441055744.0 + 1023.0;  // 1.5 * 2^52 + the exponent's bias
  Vec<double> shifted = x * 1.4426950408889634074 + magic;
  Vec<double> n = shifted - magic;
  Vec<double> r = x - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6;
  Vec<double> p = fill(1.0 / 6227020800.0);  // Taylor's series: the first term left out is 4e-18
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * (r * r) + r + 1.0;
  return p * (Vec<double>)((VectorOf<double>::bits)shifted << 52);
}

template <class T>
ALWAYS_INLINE Vec<T> sigmoid(Vec<T> x) {
  return T(1) / (T(1) + exponential(-x));
}

// Near zero 1 - 2 / (exp(2x) + 1) would lose the digits of small x: there a polynomial (Moshier, Cephes) is taken.
ALWAYS_INLINE Vec<float> near_zero_tanh(Vec<float> x) {
  Vec<float> z = x * x;
  Vec<float> p = z * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  return p * z * x + x;
}

ALWAYS_INLINE Vec<double> near_zero_tanh(Vec<double> x) {
  Vec<double> z = x * x;
  Vec<double> p = z * -9.64399179425052238628e-1 - 9.92877231001918586564e1;
  p = p * z - 1.61468768441708447952e3;
  Vec<double> q = z + 1.12811678491632931402e2;
  q = q * z + 2.23548839060100448583e3;
  q = q * z + 4.84406305325125486048e3;
  return x + x * z * (p / q);
}

template <class T>
ALWAYS_INLINE Vec<T> hyperbolic_tangent(Vec<T> x) {
  Vec<T> far = T(1) - T(2) / (exponential(x + x) + T(1));
  return ((x < T(0.625)) & (x > T(-0.625))) ? near_zero_tanh(x) : far;
}

}  // namespace

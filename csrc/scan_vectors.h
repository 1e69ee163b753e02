// What the scan needs of vectors beyond simd.h: stores past the caches, one rounding for a x + c, parts of a vector.
#pragma once

#include "simd.h"
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

template <class T>
ALWAYS_INLINE void store_past_caches(T* to, Vec<T> v) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    _mm512_stream_ps(to, (__m512)v);
  else
    _mm512_stream_pd(to, (__m512d)v);
#elif defined(__AVX__)
  if constexpr (sizeof(T) == 4)
    _mm256_stream_ps(to, (__m256)v);
  else
    _mm256_stream_pd(to, (__m256d)v);
#else
  store(to, v);
#endif
}

// a x + c in one rounding where there is such an instruction. Left to the compiler, the same sum could be rounded once
// in one loop and twice in another, and results would depend on how lanes are shared out.
template <class T>
ALWAYS_INLINE Vec<T> fused(Vec<T> a, Vec<T> x, Vec<T> c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return (Vec<T>)_mm512_fmadd_ps((__m512)a, (__m512)x, (__m512)c);
  else
    return (Vec<T>)_mm512_fmadd_pd((__m512d)a, (__m512d)x, (__m512d)c);
#elif defined(__FMA__)
  if constexpr (sizeof(T) == 4)
    return (Vec<T>)_mm256_fmadd_ps((__m256)a, (__m256)x, (__m256)c);
  else
    return (Vec<T>)_mm256_fmadd_pd((__m256d)a, (__m256d)x, (__m256d)c);
#elif defined(__aarch64__)
  if constexpr (sizeof(T) == 4)
    return (Vec<T>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)x);
  else
    return (Vec<T>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)x);
#else
  return a * x + c;
#endif
}

// All lanes of a vector in memory.
template <class T>
struct Whole {
  static ALWAYS_INLINE Vec<T> get(const T* from) { return load(from); }
  static ALWAYS_INLINE void put(T* to, Vec<T> v) { store(to, v); }
};

// The first n <= LANES of them: the others read as zero and are not written.
template <class T>
struct Part {
#if defined(__AVX512F__)
  unsigned mask;
  explicit Part(int64_t n) : mask((1u << n) - 1) {}
  ALWAYS_INLINE Vec<T> get(const T* from) const {
    if constexpr (sizeof(T) == 4)
      return (Vec<T>)_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from);
    else
      return (Vec<T>)_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), from);
  }
  ALWAYS_INLINE void put(T* to, Vec<T> v) const {
    if constexpr (sizeof(T) == 4)
      _mm512_mask_storeu_ps(to, static_cast<__mmask16>(mask), (__m512)v);
    else
      _mm512_mask_storeu_pd(to, static_cast<__mmask8>(mask), (__m512d)v);
  }
#elif defined(__AVX2__)
  typename VectorOf<T>::bits mask;
  explicit Part(int64_t n) {
    for (int lane = 0; lane < LANES<T>; ++lane) mask[lane] = lane < n ? -1 : 0;
  }
  ALWAYS_INLINE Vec<T> get(const T* from) const {
    if constexpr (sizeof(T) == 4)
      return (Vec<T>)_mm256_maskload_ps(from, (__m256i)mask);
    else
      return (Vec<T>)_mm256_maskload_pd(from, (__m256i)mask);
  }
  ALWAYS_INLINE void put(T* to, Vec<T> v) const {
    if constexpr (sizeof(T) == 4)
      _mm256_maskstore_ps(to, (__m256i)mask, (__m256)v);
    else
      _mm256_maskstore_pd(to, (__m256i)mask, (__m256d)v);
  }
#else
  int n;
  explicit Part(int64_t n) : n(static_cast<int>(n)) {}
  ALWAYS_INLINE Vec<T> get(const T* from) const {
    if (n >= LANES<T>) return load(from);
    if (n > 1) return load(from, n);
    Vec<T> v{};
    v[0] = *from;
    return v;
  }
  ALWAYS_INLINE void put(T* to, Vec<T> v) const {
    if (n >= LANES<T>) return store(to, v);
    if (n > 1) return store(to, v, n);
    *to = v[0];
  }
#endif
};

}  // namespace

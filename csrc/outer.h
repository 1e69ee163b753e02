// Sums of outer products: what the gradient of a weight is.
#pragma once

#include "matrix.h"

namespace {

constexpr int BLOCK = rows_of_tile(3);  // rows of a sum that are computed at once
constexpr int64_t DEPTH = 128;          // products summed before they are added to the rest

template <class T, int V>
void add_tile(const T* const* rows, const T* group, int64_t depth, T* out) {
  tile<T, BLOCK, V, BLOCK, true>(rows, depth, group, out);
}

// The sum over n of left[n]^T right[n], (parts * units, size), and of left[n] alone.
//
// Its rows are `parts` stretches of `units`; those of part p multiply the elements of left from columns[p] * units on.
template <class T>
struct OuterProducts {
  int64_t units, size;
  int columns[4];
  int64_t begin, end;  // blocks of rows that this share sums
  Groups groups = Groups::of<T>(1, size);
  int64_t blocks = (units + BLOCK - 1) / BLOCK;  // of one part
  Scratch<T> packed{groups.total() * DEPTH * LANES<T>};
  Scratch<T> left{DEPTH * BLOCK};
  Scratch<T> sums{(end - begin) * BLOCK * groups.total() * LANES<T> + 1};
  Scratch<T> totals{(end - begin) * BLOCK + 1};

  void clear() {
    std::memset(sums, 0, (end - begin) * BLOCK * groups.total() * LANES<T> * sizeof(T));
    std::memset(totals, 0, (end - begin) * BLOCK * sizeof(T));
  }

  // Begin another sum, of one part with at most as many rows as memory was asked for.
  void shrink(int64_t rows) {
    units = rows;
    end = blocks = (rows + BLOCK - 1) / BLOCK;
    clear();
  }

  // Add at most DEPTH products.
  void add(const T* const* from, const T* const* right, int64_t count) { add(from, right, count, begin, end); }
  // Add them to the rows of these blocks only.
  void add(const T* const* from, const T* const* right, int64_t count, int64_t first, int64_t last) {
    constexpr int L = LANES<T>;
    for (int64_t group = 0; group < groups.count; ++group) pack_right(right, count, group);
    for (int64_t block = first; block < last; ++block) {
      pack_left(from, count, block);
      const T* rows[BLOCK];
      for (int m = 0; m < BLOCK; ++m) rows[m] = left + m;
      T* out = sums + (block - begin) * BLOCK * groups.total() * L;
      for (int64_t group = 0; group < groups.count; ++group) {
        const T* with = packed + groups.offset(group) * DEPTH * L;
        T* to = out + groups.offset(group) * BLOCK * L;
        switch (groups.width(group)) {
          case 1: add_tile<T, 1>(rows, with, count, to); break;
          case 2: add_tile<T, 2>(rows, with, count, to); break;
          default: add_tile<T, 3>(rows, with, count, to);
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
  void pack_left(const T* const* from, int64_t count, int64_t block) {
    int64_t unit = block % blocks * BLOCK, column = columns[block / blocks] * units + unit;
    int64_t present = units - unit < BLOCK ? units - unit : BLOCK;
    T* total = totals + (block - begin) * BLOCK;
    present == BLOCK ? copy_left(from, count, column, total, [] { return BLOCK; })
                     : copy_left(from, count, column, total, [=] { return static_cast<int>(present); });
  }
  template <class Present>
  void copy_left(const T* const* from, int64_t count, int64_t column, T* total, const Present& present) {
    T sum[BLOCK] = {};
    for (int64_t n = 0; n < count; ++n) {
      const T* row = from[n] + column;
      for (int m = 0; m < BLOCK; ++m) {
        T value = m < present() ? row[m] : T(0);
        left[n * BLOCK + m] = value;
        sum[m] += value;
      }
    }
    for (int m = 0; m < BLOCK; ++m) total[m] += sum[m];
  }

  // Write this share's rows of the sum, each `stride` from the one before, and of the sum of left alone, unless null.
  void write(T* sum, int64_t stride, T* total) const {
    constexpr int L = LANES<T>;
    for (int64_t block = begin; block < end; ++block)
      for (int64_t m = 0; m < BLOCK; ++m) {
        int64_t unit = block % blocks * BLOCK + m;
        if (unit >= units) break;
        int64_t row = block / blocks * units + unit;
        if (total) total[row] = totals[(block - begin) * BLOCK + m];
        const T* from = sums + (block - begin) * BLOCK * groups.total() * L;
        for (int64_t group = 0; group < groups.count; ++group) {
          int64_t offset = groups.first(group) * L, width = groups.width(group) * L;
          int64_t present = size - offset < width ? size - offset : width;
          std::memcpy(sum + row * stride + offset, from + groups.offset(group) * BLOCK * L + m * width,
                      present * sizeof(T));
        }
      }
  }
};

}  // namespace

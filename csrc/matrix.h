// Matrix products for a few rows at a time: one operand is packed once and read many times, the other is any rows.
//
// The packed operand is K x (vectors of columns), cut into groups of 1 to 4 vectors; a group lies [K][vectors][LANES],
// so that a tile of up to MAX_ROWS rows is one pass over the group with all sums in registers. Each sum runs over k in
// order, whatever the tile: results do not depend on how rows are shared out.
#pragma once

#include "scratch.h"
#include "simd.h"

namespace {

constexpr int MAX_ROWS = 8;
constexpr int64_t NEAREST_CACHE = 56 << 10;  // bytes of a packed operand that is read again and again from there

// Rows of a tile with V vectors of columns: sums, one row of the packed operand and one broadcast fill the registers.
constexpr int rows_of_tile(int vectors) {
  int fits = (SEQLOOM_REGISTERS - vectors - 1) / vectors;
  return fits < MAX_ROWS ? fits : MAX_ROWS;
}

// out[m][v][lane] = sum over k of rows[m][k * STRIDE] * group[k][v][lane], added to `out` if ADD.
template <class T, int M, int V, int STRIDE, bool ADD>
void tile(const T* const* rows, int64_t length, const T* group, T* out) {
  constexpr int L = LANES<T>;
  const T* row[M];
  Vec<T> sum[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    row[m] = rows[m];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[m][v] = Vec<T>{};
  }
  for (int64_t k = 0; k < length; ++k) {
    Vec<T> column[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) column[v] = load(group + (k * V + v) * L);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      Vec<T> x = fill(row[m][k * STRIDE]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[m][v] += x * column[v];
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      T* at = out + (m * V + v) * L;
      store(at, ADD ? load(at) + sum[m][v] : sum[m][v]);
    }
}

// The tile of one row, for two groups at once: the sums of one alone would wait for each other.
template <class T, int V>
void pair_of_tiles(const T* row, int64_t length, const T* group, const T* other, T* out) {
  constexpr int L = LANES<T>;
  Vec<T> sum[2][V] = {};
  for (int64_t k = 0; k < length; ++k) {
    Vec<T> x = fill(row[k]);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      sum[0][v] += x * load(group + (k * V + v) * L);
      sum[1][v] += x * load(other + (k * V + v) * L);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    store(out + v * L, sum[0][v]);
    store(out + (V + v) * L, sum[1][v]);
  }
}

template <class T>
void pair_of_tiles(const T* row, int64_t length, int vectors, const T* group, const T* other, T* out) {
  switch (vectors) {
    case 1: return pair_of_tiles<T, 1>(row, length, group, other, out);
    case 2: return pair_of_tiles<T, 2>(row, length, group, other, out);
    case 3: return pair_of_tiles<T, 3>(row, length, group, other, out);
    default: return pair_of_tiles<T, 4>(row, length, group, other, out);
  }
}

template <class T>
using Tile = void (*)(const T* const* rows, int64_t length, const T* group, T* out);

// The tile for m <= rows_of_tile(V) rows.
template <class T, int V>
Tile<T> tile_of(int m) {
  constexpr int R = rows_of_tile(V);
  static constexpr Tile<T> tiles[MAX_ROWS] = {
      tile<T, 1, V, 1, false>,         tile<T, R < 2 ? R : 2, V, 1, false>, tile<T, R < 3 ? R : 3, V, 1, false>,
      tile<T, R < 4 ? R : 4, V, 1, false>, tile<T, R < 5 ? R : 5, V, 1, false>, tile<T, R < 6 ? R : 6, V, 1, false>,
      tile<T, R < 7 ? R : 7, V, 1, false>, tile<T, R, V, 1, false>};
  return tiles[m - 1];
}

template <class T>
Tile<T> tile_of(int m, int vectors) {
  switch (vectors) {
    case 1: return tile_of<T, 1>(m);
    case 2: return tile_of<T, 2>(m);
    case 3: return tile_of<T, 3>(m);
    default: return tile_of<T, 4>(m);
  }
}

// How the columns of a packed operand are grouped: `parts` stretches of `size` columns each.
//
// Interleaved (gates of a cell): group j holds vector j of every part. Plain (one part): groups of up to three vectors.
struct Groups {
  int parts;
  int64_t size;
  int64_t vectors;  // of one part
  int64_t count;
  int each;  // vectors of a full group

  template <class T>
  static Groups of(int parts, int64_t size) {
    int64_t vectors = (size + LANES<T> - 1) / LANES<T>;
    if (parts > 1) return {parts, size, vectors, vectors, parts};
    int64_t count = (vectors + 2) / 3;
    return {1, size, vectors, count, static_cast<int>((vectors + count - 1) / (count ? count : 1))};
  }
  int64_t first(int64_t group) const { return parts > 1 ? group : group * each; }  // vector of a part
  int width(int64_t group) const {
    if (parts > 1) return parts;
    int64_t left = vectors - group * each;
    return left < each ? static_cast<int>(left > 0 ? left : 0) : each;
  }
  int64_t total() const { return parts * vectors; }
  int64_t offset(int64_t group) const { return parts > 1 ? group * parts : group * each; }  // in vectors, times K
};

// Pack group `group` of an operand whose element (k, column) is source(part)[k * step_k + column * step_column].
template <class T, class Source>
void pack_group(const Groups& groups, int64_t group, int64_t length, const Source& source, int64_t step_k,
                int64_t step_column, T* packed) {
  constexpr int L = LANES<T>;
  int width = groups.width(group);
  T* to = packed + groups.offset(group) * length * L;
  for (int v = 0; v < width; ++v) {
    int64_t column = (groups.parts > 1 ? group : groups.first(group) + v) * L;
    int64_t lanes = groups.size - column < L ? groups.size - column : L;
    const T* from = source(groups.parts > 1 ? v : 0) + column * step_column;
    int64_t k = 0;
    if (step_k == 1 && lanes == L)  // columns lie along k: whole blocks are transposed
      for (; k + L <= length; k += L) {
        Vec<T> block[L];
#pragma GCC unroll 16
        for (int lane = 0; lane < L; ++lane) block[lane] = load(from + k + lane * step_column);
        transpose<T>(block);
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) store(to + ((k + i) * width + v) * L, block[i]);
      }
    for (; k < length; ++k) {
      T* at = to + (k * width + v) * L;
      for (int64_t lane = 0; lane < lanes; ++lane) at[lane] = from[k * step_k + lane * step_column];
      for (int64_t lane = lanes; lane < L; ++lane) at[lane] = T(0);
    }
  }
}

// For each tile of rows and each of the groups begin ... end - 1: out(first row, rows, group, sums), sums
// [rows][vectors][LANES], over `length` terms from `skip` on of an operand packed with `packed_length`.
template <class T, class Out>
void multiply_groups(const T* const* rows, int64_t count, int64_t length, const Groups& groups, const T* packed,
                     int64_t packed_length, int64_t skip, int64_t begin, int64_t end, const Out& out) {
  constexpr int L = LANES<T>;
  alignas(64) T sums[MAX_ROWS * 4 * L];
  for (int64_t group = begin; group < end; ++group) {
    int width = groups.width(group);
    int most = rows_of_tile(width);
    const T* from = packed + (groups.offset(group) * packed_length + skip * width) * L;
    int64_t tiles = (count + most - 1) / most;
    for (int64_t i = 0, row = 0; i < tiles; ++i) {
      // tiles of nearly equal height: a last tile of one row would read the group for little
      int m = static_cast<int>((count - row + (tiles - i) - 1) / (tiles - i));
      tile_of<T>(m, width)(rows + row, length, from, sums);
      out(row, m, group, sums);
      row += m;
    }
  }
}

// The same for share `share` of `shares` of the groups and all terms.
template <class T, class Out>
void multiply(const T* const* rows, int64_t count, int64_t length, const Groups& groups, const T* packed,
              const Out& out, int share = 0, int shares = 1) {
  constexpr int L = LANES<T>;
  alignas(64) T sums[MAX_ROWS * 4 * L];
  int64_t group = groups.count * share / shares, end = groups.count * (share + 1) / shares;
  // from the second cache on, two streams are slower than one
  bool near = groups.total() * length * L * static_cast<int64_t>(sizeof(T)) <= NEAREST_CACHE;
  for (; near && count == 1 && group + 1 < end && groups.width(group) == groups.width(group + 1); group += 2) {
    int width = groups.width(group);
    const T *from = packed + groups.offset(group) * length * L, *other = packed + groups.offset(group + 1) * length * L;
    pair_of_tiles<T>(rows[0], length, width, from, other, sums);
    out(0, 1, group, sums);
    out(0, 1, group + 1, sums + width * L);
  }
  multiply_groups<T>(rows, count, length, groups, packed, length, 0, group, end, out);
}

}  // namespace

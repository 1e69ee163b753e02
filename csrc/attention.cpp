// Attention: softmax(q k^T / sqrt(K)) v and its gradients, a block of scores at a time.
//
// Scores never leave the cache: forward keeps, for each query, the largest score and the sum so far (Dao et al. 2022,
// arXiv 2205.14135); backward computes them again. Sums run in one order, whatever the number of threads.
#include "outer.h"
#include "parallel.h"

namespace {

// The fields that the Python side fills, in the same order. q (B, T, H, K), k and v (B, S, G, K), d_y as q have any
// strides but the last; the rest is contiguous. Heads h of q read head h / (H / G) of k and v.
template <class T>
struct Attention {
  int64_t threads, batch, queries, keys, heads, groups, width, causal, window;  // window 0: none
  int64_t q_batch, q_step, q_head, k_batch, k_step, k_head, v_batch, v_step, v_head, d_batch, d_step, d_head;
  const int32_t* lengths;  // (B) keys of each row; null: all
  const T *q, *k, *v, *d_y;
  T *y, *log_sum;      // (B, T, H, K), (B, H, T): log of the sum of exp of the scores
  T *d_q, *d_k, *d_v;  // (B, T, H, K), (B, S, G, K)

  // The keys that a query sees, the first of them and one behind the last.
  int64_t begin(int64_t t) const {
    int64_t first = t + keys - queries - window + 1;
    return window && first > 0 ? first : 0;
  }
  int64_t end(int64_t b, int64_t t) const {
    int64_t last = t + keys - queries + (causal ? 1 : window), all = lengths ? lengths[b] : keys;
    return (causal || window) && last < all ? (last > 0 ? last : 0) : all;
  }
  int64_t shared() const { return heads / groups; }
  int workers() const { return batch * heads * queries * keys * width < 2000000 ? 1 : static_cast<int>(threads); }
};

constexpr int64_t QUERIES = 64, KEYS = 256, ALIGNED = 16;

template <class T>
T negative_infinity() {
  return -static_cast<T>(__builtin_inf());
}

// Scores of a block of queries and a block of keys, and which of them are seen.
template <class T>
struct Block {
  const Attention<T>& a;
  int64_t b, t, count;    // queries t ... t + count - 1
  int64_t base, present;  // keys base ... base + present - 1
  Groups groups = Groups::of<T>(1, present);
  int64_t room = groups.vectors * LANES<T>;
  int64_t from = within(a.begin(t)), to = within(a.end(b, t + count - 1));  // seen by any of the queries
  int64_t first = from / ALIGNED * ALIGNED, last = (to + ALIGNED - 1) / ALIGNED * ALIGNED < room
                                                       ? (to + ALIGNED - 1) / ALIGNED * ALIGNED
                                                       : room;

  int64_t within(int64_t key) const { return key < base ? 0 : key - base < present ? key - base : present; }
  bool empty() const { return from >= to; }

  // to[i][key] = rows[i] . operand[key], for the keys that are seen.
  void products(const T* const* rows, const T* packed, T* to_rows) const {
    constexpr int L = LANES<T>;
    int64_t group = first / (groups.each * L), end = (last + groups.each * L - 1) / (groups.each * L);
    multiply_groups<T>(rows, count, a.width, groups, packed, a.width, 0, group, end,
                       [&](int64_t row, int m, int64_t group, const T* sums) {
                         int width = groups.width(group);
                         for (int i = 0; i < m; ++i)
                           for (int v = 0; v < width; ++v, sums += L)
                             store(to_rows + (row + i) * KEYS + (groups.first(group) + v) * L, load(sums));
                       });
  }
  // Give keys that query i does not see a score of -infinity; return whether it sees any.
  bool hide(int64_t i, T* row) const {
    int64_t begin = within(a.begin(t + i)), end = within(a.end(b, t + i));
    for (int64_t key = first; key < (begin < last ? begin : last); ++key) row[key] = negative_infinity<T>();
    for (int64_t key = end > first ? end : first; key < last; ++key) row[key] = negative_infinity<T>();
    return begin < end;
  }
  // sums (count, K), `stride` apart, += rows (count, KEYS) times the operand packed along the keys.
  void add_products(const T* rows, const Groups& columns, const T* packed, T* sums, int64_t stride) const {
    constexpr int L = LANES<T>;
    const T* lines[QUERIES];
    for (int64_t i = 0; i < count; ++i) lines[i] = rows + i * KEYS + from;
    multiply_groups<T>(lines, count, to - from, columns, packed, present, from, 0, columns.count,
                       [&](int64_t row, int m, int64_t group, const T* products) {
                         for (int i = 0; i < m; ++i)
                           for (int v = 0; v < columns.width(group); ++v, products += L) {
                             int64_t offset = (columns.first(group) + v) * L;
                             T* at = sums + (row + i) * stride + offset;
                             with_units<T>(offset, a.width,
                                           [&](auto units) { units.put(at, units.get(at) + load(products)); });
                           }
                       });
  }
};

// Pack keys base ... base + count - 1 as columns, their elements as terms: the operand of scores.
template <class T>
void pack_columns(const T* keys, int64_t step, int64_t count, int64_t width, T* packed) {
  Groups groups = Groups::of<T>(1, count);
  for (int64_t group = 0; group < groups.count; ++group)
    pack_group<T>(groups, group, width, [&](int) { return keys; }, 1, step, packed);
}
// Pack them as terms, their elements as columns: the operand of weighted sums.
template <class T>
void pack_terms(const T* keys, int64_t step, int64_t count, int64_t width, T* packed) {
  Groups groups = Groups::of<T>(1, width);
  for (int64_t group = 0; group < groups.count; ++group)
    pack_group<T>(groups, group, count, [&](int) { return keys; }, step, 1, packed);
}

template <class T>
T horizontal(Vec<T> v, bool largest) {
  T lanes[LANES<T>], result;
  store(lanes, v);
  result = lanes[0];
  for (int i = 1; i < LANES<T>; ++i) result = !largest ? result + lanes[i] : lanes[i] > result ? lanes[i] : result;
  return result;
}

// What one thread needs to read one head of keys and values after another.
template <class T>
struct Forward {
  const Attention<T>& a;
  int64_t b = 0, group = 0;
  const T scale = T(1) / static_cast<T>(__builtin_sqrt(static_cast<double>(a.width)));
  int64_t blocks = (a.keys + KEYS - 1) / KEYS;
  Groups columns = Groups::of<T>(1, a.width);
  int64_t room = columns.vectors * LANES<T>;
  Scratch<T> keys{blocks * KEYS * a.width}, values{blocks * KEYS * room};
  Scratch<T> scores{QUERIES * KEYS};
  T highest[QUERIES] = {}, sum[QUERIES] = {};

  void pack(int64_t row, int64_t head) {
    b = row, group = head;
    for (int64_t block = 0; block < blocks; ++block) {
      int64_t base = block * KEYS, present = a.keys - base < KEYS ? a.keys - base : KEYS;
      pack_columns(a.k + b * a.k_batch + base * a.k_step + group * a.k_head, a.k_step, present, a.width,
                   keys + base * a.width);
      pack_terms(a.v + b * a.v_batch + base * a.v_step + group * a.v_head, a.v_step, present, a.width,
                 values + base * room);
    }
  }
  void run(int64_t head, int64_t t) {
    const T* rows[QUERIES];
    int64_t count = a.queries - t < QUERIES ? a.queries - t : QUERIES, stride = a.heads * a.width;
    T* y = a.y + ((b * a.queries + t) * a.heads + head) * a.width;
    for (int64_t i = 0; i < count; ++i) {
      rows[i] = a.q + b * a.q_batch + (t + i) * a.q_step + head * a.q_head;
      highest[i] = negative_infinity<T>(), sum[i] = 0;
      std::memset(y + i * stride, 0, a.width * sizeof(T));
    }
    for (int64_t base = a.begin(t) / KEYS * KEYS, end = a.end(b, t + count - 1); base < end; base += KEYS) {
      Block<T> block{a, b, t, count, base, a.keys - base < KEYS ? a.keys - base : KEYS};
      if (block.empty()) continue;
      block.products(rows, keys + base * a.width, scores);
      for (int64_t i = 0; i < count; ++i) weigh(block, i, scores + i * KEYS, y + i * stride);
      block.add_products(scores, columns, values + base * room, y, stride);
    }
    for (int64_t i = 0; i < count; ++i) {
      T factor = sum[i] > 0 ? T(1) / sum[i] : T(0);
      for (int64_t k = 0; k < a.width; ++k) y[i * stride + k] *= factor;
      a.log_sum[(b * a.heads + head) * a.queries + t + i] =
          sum[i] > 0 ? highest[i] * scale + static_cast<T>(__builtin_log(static_cast<double>(sum[i]))) : T(0);
    }
  }
  // Scores become weights relative to the highest so far; what was summed before is brought to the same.
  void weigh(const Block<T>& block, int64_t i, T* row, T* y) {
    constexpr int L = LANES<T>;
    if (!block.hide(i, row)) {
      std::memset(row + block.first, 0, (block.last - block.first) * sizeof(T));
      return;
    }
    Vec<T> high = fill(highest[i]);
    for (int64_t key = block.first; key < block.last; key += L) {
      Vec<T> score = load(row + key);
      high = score > high ? score : high;
    }
    T now = horizontal<T>(high, true);
    Vec<T> total{};
    for (int64_t key = block.first; key < block.last; key += L) {
      Vec<T> score = load(row + key);
      Vec<T> weight = exponential((score - now) * scale);
      weight = score > negative_infinity<T>() ? weight : Vec<T>{};
      store(row + key, weight);
      total += weight;
    }
    if (now > highest[i] && sum[i] > 0) {
      Vec<T> lowered = exponential(fill((highest[i] - now) * scale));
      T factor = lowered[0];
      sum[i] *= factor;
      for (int64_t k = 0; k < a.width; ++k) y[k] *= factor;
    }
    highest[i] = now;
    sum[i] += horizontal<T>(total, false);
  }
};

template <class T>
void forward(const Attention<T>& a) {
  prepare(a.y, a.batch * a.queries * a.heads * a.width * sizeof(T));
  int workers = a.workers();
  int64_t pairs = a.batch * a.groups, turns = (a.queries + QUERIES - 1) / QUERIES * a.shared();
  // few rows and heads: their queries are shared out
  int64_t parts = pairs >= 2 * workers ? 1 : (2 * workers + pairs - 1) / pairs, next = 0;
  if (parts > turns) parts = turns;
  parallel(workers, [&](int) {
    Forward<T> own{a};
    for (int64_t task; (task = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < pairs * parts;) {
      own.pack(task / parts / a.groups, task / parts % a.groups);
      // the last queries see most: parts take blocks in turn
      for (int64_t turn = task % parts; turn < turns; turn += parts)
        own.run(own.group * a.shared() + turn % a.shared(), turn / a.shared() * QUERIES);
    }
  });
}

// The gradients of a head of keys and values, and of all queries that read it; one after another.
template <class T>
struct Backward {
  const Attention<T>& a;
  int64_t b = 0, group = 0;
  const T scale = T(1) / static_cast<T>(__builtin_sqrt(static_cast<double>(a.width)));
  Groups columns = Groups::of<T>(1, a.width);
  int64_t room = columns.vectors * LANES<T>, stride = a.heads * a.width;
  Scratch<T> keys{KEYS * a.width}, values{KEYS * a.width}, terms{KEYS * room};
  Scratch<T> weights{QUERIES * KEYS}, slopes{QUERIES * KEYS};
  Scratch<T> along{a.shared() * a.queries};  // d_y . y: what the softmax's sum takes back
  OuterProducts<T> d_k{KEYS, a.width, {}, 0, (KEYS + BLOCK - 1) / BLOCK}, d_v{KEYS, a.width, {}, 0, d_k.end};

  int64_t at(int64_t t, int64_t head) const { return (b * a.queries + t) * stride + head * a.width; }
  const T* d_y(int64_t t, int64_t head) const { return a.d_y + b * a.d_batch + t * a.d_step + head * a.d_head; }

  void run(int64_t row, int64_t head) {
    b = row, group = head;
    for (int64_t i = 0; i < a.shared(); ++i)
      for (int64_t t = 0; t < a.queries; ++t) {
        const T *d = d_y(t, group * a.shared() + i), *y = a.y + at(t, group * a.shared() + i);
        T total = 0;
        for (int64_t k = 0; k < a.width; ++k) total += d[k] * y[k];
        along[i * a.queries + t] = total;
        std::memset(a.d_q + at(t, group * a.shared() + i), 0, a.width * sizeof(T));
      }
    for (int64_t base = 0; base < a.keys; base += KEYS) {
      int64_t present = a.keys - base < KEYS ? a.keys - base : KEYS;
      const T *k = a.k + b * a.k_batch + base * a.k_step + group * a.k_head,
              *v = a.v + b * a.v_batch + base * a.v_step + group * a.v_head;
      pack_columns(k, a.k_step, present, a.width, keys.data);
      pack_columns(v, a.v_step, present, a.width, values.data);
      pack_terms(k, a.k_step, present, a.width, terms.data);
      d_k.shrink(present), d_v.shrink(present);
      for (int64_t head = 0; head < a.shared(); ++head)
        for (int64_t t = 0; t < a.queries; t += QUERIES) {
          Block<T> block{a, b, t, a.queries - t < QUERIES ? a.queries - t : QUERIES, base, present};
          if (!block.empty()) add(block, head);
        }
      int64_t step = a.groups * a.width, offset = (b * a.keys + base) * step + group * a.width;
      d_k.write(a.d_k + offset, step, nullptr), d_v.write(a.d_v + offset, step, nullptr);
    }
  }
  void add(const Block<T>& block, int64_t i) {
    const T *q[QUERIES], *d[QUERIES], *weight[QUERIES], *slope[QUERIES];
    int64_t head = group * a.shared() + i;
    for (int64_t n = 0; n < block.count; ++n) {
      q[n] = a.q + b * a.q_batch + (block.t + n) * a.q_step + head * a.q_head;
      d[n] = d_y(block.t + n, head);
      weight[n] = weights + n * KEYS, slope[n] = slopes + n * KEYS;
    }
    block.products(q, keys, weights);
    block.products(d, values, slopes);
    for (int64_t n = 0; n < block.count; ++n)
      derive(block, n, a.log_sum[(b * a.heads + head) * a.queries + block.t + n],
             along[i * a.queries + block.t + n]);
    block.add_products(slopes, columns, terms, a.d_q + at(block.t, head), stride);
    int64_t first = block.from / BLOCK, last = (block.to + BLOCK - 1) / BLOCK;
    d_k.add(slope, q, block.count, first, last);
    d_v.add(weight, d, block.count, first, last);
  }
  // Scores become weights, the gradients of the weights those of the scores.
  void derive(const Block<T>& block, int64_t n, T log_sum, T taken) {
    constexpr int L = LANES<T>;
    T *weight = weights + n * KEYS, *slope = slopes + n * KEYS;
    block.hide(n, weight);
    for (int64_t key = block.first; key < block.last; key += L) {
      Vec<T> score = load(weight + key);
      Vec<T> p = exponential(score * scale - log_sum);
      p = score > negative_infinity<T>() ? p : Vec<T>{};
      store(weight + key, p);
      store(slope + key, p * (load(slope + key) - taken) * scale);
    }
  }
};

template <class T>
void backward(const Attention<T>& a) {
  T* written[] = {a.d_q, a.d_k, a.d_v};
  for (int i = 0; i < 3; ++i) prepare(written[i], a.batch * (i ? a.keys * a.groups : a.queries * a.heads) * a.width * sizeof(T));
  int64_t next = 0;
  parallel(a.workers(), [&](int) {
    Backward<T> own{a};
    for (int64_t task; (task = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < a.batch * a.groups;)
      own.run(task / a.groups, task % a.groups);
  });
}

}  // namespace

EXPORT(attention_f32)(const Attention<float>* a) { forward(*a); }
EXPORT(attention_f64)(const Attention<double>* a) { forward(*a); }
EXPORT(attention_backward_f32)(const Attention<float>* a) { backward(*a); }
EXPORT(attention_backward_f64)(const Attention<double>* a) { backward(*a); }

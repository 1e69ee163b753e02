// One step of one row through a whole model: a list of instructions on vectors, for decoding without overhead.

#include "simd.h"

namespace {

enum Operation : int64_t { EMBED, LAYER_NORM, RMS_NORM, LINEAR, GATE, ROTATE, ATTEND, CELL, CONVOLVE, SELECTIVE };
enum Activation : int64_t { IDENTITY, RELU, GELU, GELU_TANH, SILU, SIGMOID };

// Addresses of weights, of vectors and of states; what the fields mean is told at each operation.
struct Instruction {
  int64_t operation, activation, n, m, k, groups, adds;
  double number, other;
  const float *a, *b, *c, *d;
  const float* x;
  const float* z;
  float* y;
  float* state;
  float* more;
};

struct Step {
  int64_t token, position;  // of the step: as many steps were before it
};

constexpr int L = LANES<float>;
using V = Vec<float>;

// Call body(i, n) for stretches of at most L of `count` elements.
template <class Body>
ALWAYS_INLINE void stretches(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + L <= count; i += L) body(i, L);
  if (i < count) body(i, static_cast<int>(count - i));
}
ALWAYS_INLINE V take(const float* from, int n) { return n == L ? load(from) : load(from, n); }
ALWAYS_INLINE void put(float* to, V v, int n) { n == L ? store(to, v) : store(to, v, n); }

ALWAYS_INLINE float total(V v) {
  float lanes[L], sum = 0;
  store(lanes, v);
  for (float lane : lanes) sum += lane;
  return sum;
}

// With erf of the C library: a row has few elements.
ALWAYS_INLINE V exact_gelu(V v) {
  float lanes[L];
  store(lanes, v);
  for (float& lane : lanes) lane = 0.5f * lane * (1.0f + __builtin_erff(lane * 0.70710678118654752f));
  return load(lanes);
}

ALWAYS_INLINE V activated(V v, int64_t activation) {
  switch (activation) {
    case RELU: return v < 0.0f ? V{} : v;
    case GELU: return exact_gelu(v);
    case GELU_TANH: return 0.5f * v * (1.0f + hyperbolic_tangent<float>(0.7978845608028654f * (v + 0.044715f * v * v * v)));
    case SILU: return v * sigmoid<float>(v);
    case SIGMOID: return sigmoid<float>(v);
    default: return v;
  }
}

ALWAYS_INLINE float dot(const float* a, const float* b, int64_t count) {
  V sum{};
  stretches(count, [&](int64_t i, int n) { sum += take(a + i, n) * take(b + i, n); });
  return total(sum);
}

// y (m) = number * row `token` of a, plus row `position` of b.
void embed(const Instruction& i, const Step& step) {
  const float* row = i.a + step.token * i.m;
  const float* place = i.b ? i.b + step.position * i.m : nullptr;
  const float factor = static_cast<float>(i.number);
  stretches(i.m, [&](int64_t j, int n) {
    V v = take(row + j, n) * factor;
    put(i.y + j, place ? v + take(place + j, n) : v, n);
  });
}

// y (groups x n) = norm of each group of x, times a, plus b; number: eps.
void normalise(const Instruction& i, bool centred) {
  for (int64_t g = 0; g < i.groups; ++g) {
    const float* x = i.x + g * i.n;
    V sum{};
    float mean = 0;
    if (centred) {
      stretches(i.n, [&](int64_t j, int n) { sum += take(x + j, n); });
      mean = total(sum) / i.n;
    }
    V squares{};
    stretches(i.n, [&](int64_t j, int n) {
      V apart = take(x + j, n) - mean;
      if (n < L) {
        float lanes[L] = {};
        store(lanes, apart, n);
        apart = load(lanes);
      }
      squares += apart * apart;
    });
    const float scale = 1.0f / __builtin_sqrtf(total(squares) / i.n + static_cast<float>(i.number));
    stretches(i.n, [&](int64_t j, int n) {
      V v = (take(x + j, n) - mean) * scale * take(i.a + g * i.n + j, n);
      put(i.y + g * i.n + j, i.b ? v + take(i.b + g * i.n + j, n) : v, n);
    });
  }
}

// y (n) = activation(a (n, m) x + b), or added to y. L rows at a time: as many chains of sums, then one transpose.
void linear(const Instruction& i) {
  const int64_t m = i.m, whole = m - m % L;
  for (int64_t row = 0; row < i.n; row += L) {
    const int rows = static_cast<int>(i.n - row < L ? i.n - row : L);
    const float* from[L];
    for (int r = 0; r < L; ++r) from[r] = i.a + (row + (r < rows ? r : 0)) * m;
    V sums[L] = {};
    for (int64_t j = 0; j < whole; j += L) {
      V x = load(i.x + j);
#pragma GCC unroll 16
      for (int r = 0; r < L; ++r) sums[r] += load(from[r] + j) * x;
    }
    if (whole < m) {
      V x = load(i.x + whole, static_cast<int>(m - whole));
      for (int r = 0; r < L; ++r) sums[r] += load(from[r] + whole, static_cast<int>(m - whole)) * x;
    }
    transpose<float>(sums);
    V sum{};
    for (int r = 0; r < L; ++r) sum += sums[r];
    if (i.b) sum += take(i.b + row, rows);
    sum = activated(sum, i.activation);
    put(i.y + row, i.adds ? take(i.y + row, rows) + sum : sum, rows);
  }
}

// y (n) = activation(x) z.
void gate(const Instruction& i) {
  stretches(i.n, [&](int64_t j, int n) { put(i.y + j, activated(take(i.x + j, n), i.activation) * take(i.z + j, n), n); });
}

// Turn the pairs (p, p + k / 2) of n heads of width k in y by position * number^(-2 p / k).
void rotate(const Instruction& i, const Step& step) {
  const int64_t half = i.k / 2;
  for (int64_t p = 0; p < half; ++p) {
    const double angle = step.position * __builtin_pow(i.number, -2.0 * p / i.k);
    const float c = static_cast<float>(__builtin_cos(angle)), s = static_cast<float>(__builtin_sin(angle));
    for (int64_t h = 0; h < i.n; ++h) {
      float *first = i.y + h * i.k + p, *second = first + half;
      const float a = *first, b = *second;
      *first = a * c - b * s;
      *second = a * s + b * c;
    }
  }
}

// x = q (n heads) | k | v (groups heads), each of width k; state, more: keys and values (groups, m, k) of the last m
// steps, step t at place t % m, which the step itself takes. Attend to them; z: m scores; number: the scale.
void attend(const Instruction& i, const Step& step) {
  const int64_t width = i.k, share = i.n / i.groups;
  const float *keys = i.x + i.n * width, *values = keys + i.groups * width;
  const int64_t at = step.position % i.m, count = step.position < i.m ? step.position + 1 : i.m;
  float* scores = const_cast<float*>(i.z);
  for (int64_t g = 0; g < i.groups; ++g) {
    float *key = i.state + g * i.m * width, *value = i.more + g * i.m * width;
    __builtin_memcpy(key + at * width, keys + g * width, width * sizeof(float));
    __builtin_memcpy(value + at * width, values + g * width, width * sizeof(float));
    for (int64_t h = g * share; h < (g + 1) * share; ++h) {
      const float* query = i.x + h * width;
      float highest = -__builtin_inff();
      for (int64_t t = 0; t < count; ++t) {
        scores[t] = dot(query, key + t * width, width) * static_cast<float>(i.number);
        highest = scores[t] > highest ? scores[t] : highest;
      }
      V sums{};
      stretches(count, [&](int64_t j, int n) {
        V e = exponential(take(scores + j, n) - highest);
        put(scores + j, e, n);
        if (n < L) e = load(scores + j, n);
        sums += e;
      });
      const float share_of = 1.0f / total(sums);
      stretches(width, [&](int64_t j, int n) {
        V sum{};
        for (int64_t t = 0; t < count; ++t) sum += scores[t] * take(value + t * width + j, n);
        put(i.y + h * width + j, sum * share_of, n);
      });
    }
  }
}

// A recurrent cell of n units; x: the input's part of the gates, z: the state's; k: 0 tanh, 1 relu, 2 LSTM, 3 GRU.
// y = state = h after, more: c.
void cell(const Instruction& i) {
  const int64_t size = i.n;
  stretches(size, [&](int64_t j, int n) {
    auto x = [&](int gate) { return take(i.x + gate * size + j, n); };
    auto u = [&](int gate) { return take(i.z + gate * size + j, n); };
    V h;
    if (i.k < 2) {
      V s = x(0) + u(0);
      h = i.k == 0 ? hyperbolic_tangent<float>(s) : (s < 0.0f ? V{} : s);
    } else if (i.k == 2) {
      V c = sigmoid<float>(x(1) + u(1)) * take(i.more + j, n) +
            sigmoid<float>(x(0) + u(0)) * hyperbolic_tangent<float>(x(2) + u(2));
      put(i.more + j, c, n);
      h = sigmoid<float>(x(3) + u(3)) * hyperbolic_tangent<float>(c);
    } else {
      V r = sigmoid<float>(x(0) + u(0)), z = sigmoid<float>(x(1) + u(1));
      V candidate = hyperbolic_tangent<float>(x(2) + r * u(2));
      h = candidate + z * (take(i.state + j, n) - candidate);
    }
    put(i.state + j, h, n);
    put(i.y + j, h, n);
  });
}

// y (n) = activation(b + sum of k steps times a (k, n)); state: the k - 1 steps before, (k - 1, n).
void convolve(const Instruction& i) {
  stretches(i.n, [&](int64_t j, int n) {
    V sum = i.b ? take(i.b + j, n) : V{};
    V now = take(i.x + j, n);
    for (int64_t s = 0; s < i.k - 1; ++s) {
      V before = take(i.state + s * i.n + j, n);
      sum += before * take(i.a + s * i.n + j, n);
      if (s) put(i.state + (s - 1) * i.n + j, before, n);
    }
    if (i.k > 1) put(i.state + (i.k - 2) * i.n + j, now, n);
    sum += now * take(i.a + (i.k - 1) * i.n + j, n);
    put(i.y + j, activated(sum, i.activation), n);
  });
}

// Mamba-2's step: n heads in groups, values of width k, states of m; x: u (n k); z: B | C (2 groups m); c: d before
// softplus (n); a: log A, b: bias of d, d: skip, each (n); state (groups, m, n / groups, k); number, other: limits of d.
void selective(const Instruction& i) {
  const int64_t share = i.n / i.groups, row = share * i.k;
  for (int64_t h = 0; h < i.n; ++h) {
    const float raw = i.c[h] + i.b[h];
    double d = raw > 20.0f ? raw : __builtin_log1p(__builtin_exp(static_cast<double>(raw)));
    d = d < i.number ? i.number : d > i.other ? i.other : d;
    const float step = static_cast<float>(d);
    const float kept = static_cast<float>(__builtin_exp(-__builtin_exp(static_cast<double>(i.a[h])) * d));
    const int64_t g = h / share;
    const float *b = i.z + g * i.m, *c = i.z + (i.groups + g) * i.m;
    float* state = i.state + g * i.m * row + (h - g * share) * i.k;
    stretches(i.k, [&](int64_t j, int n) {
      V u = take(i.x + h * i.k + j, n), entering = u * step, sum = u * i.d[h];
      for (int64_t s = 0; s < i.m; ++s) {
        V v = take(state + s * row + j, n) * kept + b[s] * entering;
        put(state + s * row + j, v, n);
        sum += c[s] * v;
      }
      put(i.y + h * i.k + j, sum, n);
    });
  }
}

void run(const Instruction& i, const Step& step) {
  switch (i.operation) {
    case EMBED: return embed(i, step);
    case LAYER_NORM: return normalise(i, true);
    case RMS_NORM: return normalise(i, false);
    case LINEAR: return linear(i);
    case GATE: return gate(i);
    case ROTATE: return rotate(i, step);
    case ATTEND: return attend(i, step);
    case CELL: return cell(i);
    case CONVOLVE: return convolve(i);
    case SELECTIVE: return selective(i);
  }
}

}  // namespace

// Run a program for one token: its number, and its position in the document.
EXPORT(decode_row_f32)(const Instruction* program, int64_t count, int64_t token, int64_t position) {
  const Step step{token, position};
  for (int64_t i = 0; i < count; ++i) run(program[i], step);
}

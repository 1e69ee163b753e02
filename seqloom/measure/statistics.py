"""Intervals by the bootstrap: of medians, their ratios, metrics over seeds and examples, and where two curves cross.

All take a seed, and the same samples in another order give the same answer. Sources: Efron 1979 (Annals of
Statistics 7:1); percentile intervals: Efron and Tibshirani 1993, chapter 13; examples shared by seeds: Owen 2007,
"The pigeonhole bootstrap", arXiv 0712.1111; one draw fewer than there are seeds: Rao and Wu 1988 (JASA 83:401).
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 2000
LEVEL = 0.95
Formula = Callable[[np.ndarray], np.ndarray]  # sums (..., k) of k columns -> a metric (...)
_CHUNK = 2_000_000  # numbers drawn at once


class Interval(NamedTuple):
    """A value and the interval around it."""

    value: float
    low: float
    high: float


class Crossover(NamedTuple):
    """Where two curves change places; a bound is None where it lies beyond the lengths looked at."""

    value: float
    low: float | None
    high: float | None
    extrapolated: bool  # the value lies beyond the longest length measured


def median_interval(samples: ArrayLike, seed: int = 0, level: float = LEVEL, resamples: int = RESAMPLES) -> Interval:
    """Return the median of samples (n,) with its percentile interval; work O(resamples n)."""
    x = np.sort(_samples("samples", samples))
    drawn = _medians(x, np.random.default_rng(seed), resamples)
    return Interval(float(np.median(x)), *_bounds(drawn, level))


def median_ratio(
    a: ArrayLike,
    b: ArrayLike,
    seed: int = 0,
    paired: bool = True,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return median(a) / median(b) with its interval.

    Args:
        a, b: positive samples (n,). `paired`: sample i of both comes from the same round, and rounds are drawn whole,
            so that a disturbance common to both cancels; else each is drawn alone and the lengths may differ.

    Raises:
        ValueError: samples not positive, or pairs of unequal number.
    """
    x, y = _samples("a", a, positive=True), _samples("b", b, positive=True)
    rng = np.random.default_rng(seed)
    value = float(np.median(x) / np.median(y))
    if not paired:
        drawn = _medians(np.sort(x), rng, resamples) / _medians(np.sort(y), rng, resamples)
        return Interval(value, *_bounds(drawn, level))
    if len(x) != len(y):
        raise ValueError(f"pairs need as many samples of each, got {len(x)} and {len(y)}; or take paired=False")
    order = np.lexsort((y, x))
    index = rng.integers(len(x), size=(resamples, len(x)))
    drawn = np.median(x[order][index], axis=1) / np.median(y[order][index], axis=1)
    return Interval(value, *_bounds(drawn, level))


def ratio(sums: np.ndarray) -> np.ndarray:
    """Return first / second of sums (..., 2); NaN where the second is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[..., 1] != 0, sums[..., 0] / sums[..., 1], np.nan)


def of_sums(
    parts: ArrayLike,
    formula: Formula = ratio,
    seed: int = 0,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return a metric, a formula of sums over examples, with its interval over seeds and examples.

    Both levels are drawn: seeds, and examples, which all seeds share. Of S >= 2 seeds S - 1 are drawn, which makes the
    spread of so few unbiased; a single seed leaves the examples alone, and says nothing of other seeds.

    Args:
        parts: (seeds, examples, k), or (examples, k) of one seed: what is summed over examples.
        formula: sums (..., k) to the metric (...).
        seed: of the draws.
        level: of the interval.
        resamples: how many draws; work O(resamples x examples x k).

    Raises:
        ValueError: nothing in the parts, a value that is not finite, or a metric of nothing.
    """
    x = _finite("parts", parts)
    x = x[None] if x.ndim == 2 else x
    if x.ndim != 3 or x.size == 0:
        raise ValueError(f"parts {x.shape}: must be (seeds, examples, columns), not empty")
    # one order for every order given: examples, then seeds, by what they hold
    x = x[:, np.lexsort(x.sum(axis=0).T)]
    x = x[np.lexsort(x.sum(axis=1).T)]
    seeds, examples, _ = x.shape
    value = float(formula(x.sum(axis=(0, 1))))
    if not math.isfinite(value):
        raise ValueError(f"the metric of these sums is {value}: no target was scored")
    rng = np.random.default_rng(seed)
    drawn_seeds = rng.integers(seeds, size=(resamples, max(1, seeds - 1)))
    drawn: list[np.ndarray] = []
    step = max(1, _CHUNK // examples)
    for start in range(0, resamples, step):
        n = min(step, resamples - start)
        index = rng.integers(examples, size=(n, examples)) + np.arange(n)[:, None] * examples
        times = np.bincount(index.ravel(), minlength=n * examples).reshape(n, examples).astype(np.float64)
        sums = np.stack([times @ of_seed for of_seed in x])  # (seeds, n, k)
        picked = sums[drawn_seeds[start : start + n], np.arange(n)[:, None]].sum(axis=1)
        drawn.append(formula(picked))
    found = np.concatenate(drawn)
    return Interval(value, *_bounds(found[np.isfinite(found)], level))


def disjoint(a: Interval, b: Interval) -> bool:
    """Tell whether two intervals have no point in common; only then is a difference shown."""
    return a.high < b.low or b.high < a.low


def crossover(
    lengths: Sequence[float],
    samples_a: Sequence[ArrayLike],
    samples_b: Sequence[ArrayLike],
    seed: int = 0,
    reach: float = 1.0,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Crossover | None:
    """Return the length at which two curves of medians change places, straight lines between points, log over log.

    The curves must have changed places by the longest length: two crossings that undo each other are none. Of three or
    more the middle one stands. Where samples are pairs (equal numbers at a length), rounds are drawn whole.

    Args:
        lengths: at least two, rising.
        samples_a, samples_b: at each length, positive samples (n,).
        reach: how many times the longest length the last line may be prolonged, where there is no crossing up to it;
            1: not at all. A crossing found so has `extrapolated` set.

    Returns:
        The crossover, or None where there is none within reach. A bound is None where the draws that decide it cross
        outside of [shortest length, reach * longest length], or not at all.

    Raises:
        ValueError: fewer than two lengths, lengths not rising, samples missing or not positive, reach < 1.
    """
    at = np.log(np.asarray(lengths, dtype=np.float64))
    if len(at) < 2 or not (np.diff(at) > 0).all() or not len(at) == len(samples_a) == len(samples_b):
        raise ValueError("a crossover needs samples of both at two or more rising lengths")
    if reach < 1:
        raise ValueError(f"reach = {reach} must be at least 1")
    end = at[-1] + math.log(reach)
    rng = np.random.default_rng(seed)
    values, columns = [], []
    for a, b in zip(samples_a, samples_b, strict=True):
        x, y = _samples("samples_a", a, positive=True), _samples("samples_b", b, positive=True)
        values.append(math.log(np.median(x)) - math.log(np.median(y)))
        columns.append(_log_ratios(x, y, rng, resamples))
    value = float(_crossings(at, np.array(values)[None], end)[0])
    if not math.isfinite(value):
        return None
    drawn = _crossings(at, np.stack(columns, axis=1), end)
    # draws that never cross lie on the side to which they lean, and draws beyond the range count there
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return Crossover(
        math.exp(value),
        math.exp(low) if math.isfinite(low) else None,
        math.exp(high) if math.isfinite(high) else None,
        value > at[-1],
    )


def _log_ratios(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    if len(x) != len(y):
        return np.log(_medians(np.sort(x), rng, resamples)) - np.log(_medians(np.sort(y), rng, resamples))
    order = np.lexsort((y, x))
    index = rng.integers(len(x), size=(resamples, len(x)))
    return np.log(np.median(x[order][index], axis=1)) - np.log(np.median(y[order][index], axis=1))


def _crossings(at: np.ndarray, ratios: np.ndarray, end: float) -> np.ndarray:
    """Return for curves (R, L) of log ratios the log length where the sign has changed for good, else an infinity.

    -inf: the places were changed before the first length; +inf: they are not changed up to `end`. Which of the two is
    told by the slope: a curve that comes nearer to 0 will cross, one that goes away from it has crossed.
    """
    first, last = ratios[:, 0], ratios[:, -1]
    slope = (last - ratios[:, -2]) / (at[-1] - at[-2])
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = at[-1] - last / slope
    overall = last - first
    nearing = np.sign(overall) * np.sign(last) < 0
    found = np.where(nearing, np.inf, -np.inf)
    found = np.where((slope * last < 0) & (beyond <= end), beyond, found)
    for row in np.flatnonzero(first * last <= 0):
        curve = ratios[row]
        signs = np.sign(curve)
        turns = np.flatnonzero(signs[:-1] * signs[1:] < 0)
        points = [at[i] + (at[i + 1] - at[i]) * curve[i] / (curve[i] - curve[i + 1]) for i in turns]
        points += [at[i] for i in np.flatnonzero(signs == 0)]
        found[row] = np.nan if not signs.any() else sorted(points)[len(points) // 2]
    # equal everywhere: there is no place to change
    return np.where(np.isnan(found), np.inf, found)


def _medians(x: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    step = max(1, _CHUNK // len(x))
    parts = [
        np.median(x[rng.integers(len(x), size=(min(step, resamples - start), len(x)))], axis=1)
        for start in range(0, resamples, step)
    ]
    return np.concatenate(parts)


def _bounds(drawn: np.ndarray, level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level = {level} must be between 0 and 1, e.g. 0.95")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _finite(name: str, values: ArrayLike) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError(f"{name} holds a value that is not finite; leave it out, and say so")
    return x


def _samples(name: str, values: ArrayLike, positive: bool = False) -> np.ndarray:
    x = _finite(name, values)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"{name} has shape {x.shape}; it must be (n,) with n >= 1")
    if positive and (x <= 0).any():
        raise ValueError(f"{name} holds {x.min()}; ratios need samples above 0")
    return x

"""Intervals: they cover what they should, scale with their samples, and do not depend on the order of these."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqloom.measure.statistics import (
    Interval,
    crossover,
    disjoint,
    median_interval,
    median_ratio,
    of_sums,
)


def over(numerators, denominators) -> np.ndarray:
    return np.stack([numerators, denominators], axis=-1).astype(float)


positive = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12)
seeds = st.integers(0, 2**31)


@given(samples=positive, seed=seeds)
@settings(max_examples=30)
def test_a_median_lies_within_its_interval_and_that_within_the_samples(samples, seed) -> None:
    found = median_interval(samples, seed, resamples=200)
    assert min(samples) <= found.low <= found.high <= max(samples)
    assert found.value == np.median(samples)
    assert found == median_interval(samples, seed, resamples=200)


@given(samples=positive, seed=seeds)
@settings(max_examples=30)
def test_the_order_of_samples_does_not_matter(samples, seed) -> None:
    other = samples[::-1]
    assert median_interval(samples, seed, resamples=100) == median_interval(other, seed, resamples=100)
    pairs = [2 * s for s in samples]
    assert median_ratio(samples, pairs, seed, resamples=100) == median_ratio(other, pairs[::-1], seed, resamples=100)


@given(samples=positive, seed=seeds, power=st.integers(-10, 10))
@settings(max_examples=30)
def test_intervals_scale_with_their_samples(samples, seed, power) -> None:
    scale = 2.0**power  # exact in floating point
    plain = median_interval(samples, seed, resamples=100)
    scaled = median_interval([scale * s for s in samples], seed, resamples=100)
    assert scaled == pytest.approx([scale * x for x in plain], rel=1e-12)
    other = samples[::-1]
    assert median_ratio([scale * s for s in samples], other, seed, resamples=100) == pytest.approx(
        [scale * x for x in median_ratio(samples, other, seed, resamples=100)], rel=1e-12
    )


def test_median_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    runs = 300
    hits = sum(
        low <= 1.0 <= high
        for _, low, high in (median_interval(rng.lognormal(0, 0.5, 25), i, resamples=300) for i in range(runs))
    )
    # 95 % nominal; 0.88 leaves room for 300 runs (standard error 0.013) and for percentile intervals of 25 samples
    assert 0.88 <= hits / runs <= 0.995


def test_pairs_cancel_what_disturbs_both() -> None:
    rng = np.random.default_rng(1)
    common = rng.lognormal(0, 1.0, 40)
    a, b = common * 2 * rng.lognormal(0, 0.01, 40), common * rng.lognormal(0, 0.01, 40)
    paired, alone = median_ratio(a, b), median_ratio(a, b, paired=False)
    assert paired.low <= 2 <= paired.high or abs(paired.value - 2) < 0.1
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_metric_intervals_cover_the_truth_over_new_seeds_and_examples() -> None:
    rng = np.random.default_rng(2)
    truth, runs, hits = 0.0, 200, 0
    for i in range(runs):
        seed_effect, example_effect = rng.normal(0, 0.1, (6, 1)), rng.normal(0, 1, (1, 100))
        scores = seed_effect + example_effect + rng.normal(0, 1, (6, 100))
        found = of_sums(over(scores, np.ones_like(scores)), seed=i, resamples=200)
        hits += found.low <= truth <= found.high
    # 95 % nominal; six seeds make percentile intervals a little narrow, 200 runs have a standard error of 0.02
    assert 0.87 <= hits / runs <= 1.0


def test_more_seeds_that_agree_do_not_hide_the_spread_of_examples() -> None:
    right = np.random.default_rng(3).random((1, 200)) < 0.7
    one = of_sums(over(right, np.ones_like(right)))
    same = of_sums(over(np.repeat(right, 8, axis=0), np.ones((8, 200))))
    assert same.high - same.low == pytest.approx(one.high - one.low, rel=0.15)  # 2000 resamples: some per cent


def test_seeds_that_differ_widen_the_interval() -> None:
    base = np.full((3, 50), 0.5)
    spread = base + np.array([[-0.1], [0.0], [0.1]])
    assert of_sums(over(base, np.ones((3, 50))))[1:] == (0.5, 0.5)
    found = of_sums(over(spread, np.ones((3, 50))))
    assert found.value == pytest.approx(0.5) and found.low < 0.42 and found.high > 0.58


def test_a_metric_does_not_depend_on_the_order_of_examples_and_seeds() -> None:
    rng = np.random.default_rng(4)
    num, den = rng.random((3, 40)), rng.integers(1, 9, (3, 40))
    columns, rows = rng.permutation(40), rng.permutation(3)
    again = of_sums(over(num[rows][:, columns], den[rows][:, columns]), seed=5)
    assert again == pytest.approx(of_sums(over(num, den), seed=5), rel=1e-12)  # sums in another order


def test_sums_weigh_examples_by_their_denominators() -> None:
    assert of_sums([[1.0, 1.0], [9.0, 3.0]]).value == 2.5


def test_a_metric_may_be_any_formula_of_sums() -> None:
    rng = np.random.default_rng(5)
    parts = rng.integers(1, 5, (30, 3)).astype(float)
    found = of_sums(parts, lambda sums: np.exp(sums[..., 0] / sums[..., 1]) * sums[..., 2], resamples=100)
    total = parts.sum(axis=0)
    assert found.value == pytest.approx(np.exp(total[0] / total[1]) * total[2])
    assert found.low < found.value < found.high


@pytest.mark.parametrize("bad", [[], [math.nan], [[1.0]], [math.inf]])
def test_samples_that_cannot_be_summed_up_are_refused(bad) -> None:
    with pytest.raises(ValueError):
        median_interval(bad)


def test_bad_ratios_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs"):
        median_ratio([1, 2], [1])
    with pytest.raises(ValueError, match="above 0"):
        median_ratio([1, 0], [1, 1])
    with pytest.raises(ValueError, match="no target"):
        of_sums([[1.0, 0.0]])
    with pytest.raises(ValueError, match="not empty"):
        of_sums([1.0])


def test_disjoint_needs_a_gap() -> None:
    a = Interval(1, 0.9, 1.1)
    assert disjoint(a, Interval(2, 1.2, 3)) and disjoint(Interval(2, 1.2, 3), a)
    assert not disjoint(a, Interval(2, 1.1, 3)) and not disjoint(a, a)


LENGTHS = [256, 512, 1024, 2048]


def curve(scale: float, power: float, noise: float = 0.0, seed: int = 0, n: int = 9) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [scale * length**power * rng.lognormal(0, noise, n) for length in LENGTHS]


def test_power_laws_cross_where_they_are_equal() -> None:
    # 700 L = L^2 at L = 700: straight lines on log axes, so the point is exact
    found = crossover(LENGTHS, curve(700, 1), curve(1, 2))
    assert found is not None and not found.extrapolated
    assert found[:3] == pytest.approx((700, 700, 700))
    turned = crossover(LENGTHS, curve(1, 2), curve(700, 1))
    assert turned is not None and turned.value == pytest.approx(700)


def test_noise_gives_an_interval_around_the_crossing() -> None:
    found = crossover(LENGTHS, curve(700, 1, 0.1, 1), curve(1, 2, 0.1, 2))
    assert found is not None and found.low is not None and found.high is not None
    assert found.low < 700 < found.high and found.low > 500 and found.high < 1000


def test_no_crossing_within_the_lengths_is_none_unless_reach_is_asked_for() -> None:
    a, b = curve(4000, 1), curve(1, 2)
    assert crossover(LENGTHS, a, b) is None
    assert crossover(LENGTHS, a, b, reach=1.5) is None
    found = crossover(LENGTHS, a, b, reach=4)
    assert found is not None and found.extrapolated and found.value == pytest.approx(4000)
    # crossed before the first length, or never
    assert crossover(LENGTHS, curve(100, 1), b, reach=4) is None
    assert crossover(LENGTHS, curve(2, 2), b, reach=4) is None
    assert crossover(LENGTHS, b, b, reach=4) is None


def test_bounds_beyond_the_range_are_left_open() -> None:
    found = crossover(LENGTHS, curve(1950, 1, 0.2, 3), curve(1, 2, 0.2, 4))
    assert found is not None and found.high is None and found.low is not None


def test_crossings_that_undo_each_other_are_none() -> None:
    a = [np.array([x]) for x in (1.0, 3.0, 1.0, 1.0)]
    b = [np.array([x]) for x in (2.0, 2.0, 2.0, 2.0)]
    assert crossover(LENGTHS, a, b) is None


@given(seed=seeds, scale=st.floats(300, 1900))
@settings(max_examples=20)
def test_units_do_not_move_a_crossing(seed, scale) -> None:
    a, b = curve(scale, 1, 0.05, seed), curve(1, 2, 0.05, seed + 1)
    plain = crossover(LENGTHS, a, b, resamples=100)
    scaled = crossover(LENGTHS, [1024 * x for x in a], [1024 * x for x in b], resamples=100)
    assert plain is not None and scaled is not None
    assert plain.value == pytest.approx(scaled.value, rel=1e-9)


def test_lengths_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValueError, match="rising"):
        crossover([512, 256], [[1], [1]], [[1], [1]])
    with pytest.raises(ValueError, match="rising"):
        crossover([256], [[1]], [[1]])
    with pytest.raises(ValueError, match="reach"):
        crossover([256, 512], [[1], [1]], [[1], [1]], reach=0.5)

"""Splits share every class out alike, and equal examples never stand in two of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.data.splits import conflicting, grouped, keys, repeated, stratified, without


@given(
    counts=st.lists(st.integers(3, 60), min_size=1, max_size=6),
    held=st.floats(0.01, 0.49),
    seed=st.integers(0, 2**64 - 1),
)
def test_every_row_is_in_one_part_and_every_class_in_all(counts: list[int], held: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = stratified(labels, (1 - 2 * held, held, held), seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    for part in parts:
        assert np.array_equal(part, np.sort(part)) and set(labels[part]) == set(labels)
    for number, count in enumerate(counts):
        # rounded, and then moved by at most one to give each part a row
        assert abs(int(np.sum(labels[parts[1]] == number)) - held * count) <= 2


def test_the_seed_alone_decides() -> None:
    labels = np.arange(300) % 3
    first, again, other = (stratified(labels, (0.8, 0.2), seed) for seed in (1, 1, 2))
    assert all(map(np.array_equal, first, again)) and not np.array_equal(first[1], other[1])


def test_a_class_too_small_to_share_out_is_refused() -> None:
    with pytest.raises(ValueError, match="class 1 has 2 rows, too few to share out to 3 parts"):
        stratified(np.array([0, 0, 0, 1, 1]), (0.8, 0.1, 0.1), 0)


@given(
    groups=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=9, max_size=80),
    seed=st.integers(0, 100),
)
def test_rows_of_equal_key_are_in_one_part(groups: list[tuple[int, int]], seed: int) -> None:
    groups = [(number, 1) for number in (0, 1, 2) * 3] + groups
    rows = [(key, label) for key, (label, times) in enumerate(groups) for _ in range(times)]
    of_row, labels = (np.array(column) for column in zip(*np.random.default_rng(seed).permutation(rows), strict=True))
    parts = grouped(of_row.astype(np.uint64), labels, (0.8, 0.1, 0.1), seed)
    assert sorted(np.concatenate(parts)) == list(range(len(of_row)))
    held = [set(of_row[part]) for part in parts]
    assert not held[0] & held[1] and not held[0] & held[2] and not held[1] & held[2]
    assert all(set(labels[part]) == {0, 1, 2} for part in parts)
    again = grouped(of_row.astype(np.uint64), labels, (0.8, 0.1, 0.1), seed)
    assert all(map(np.array_equal, parts, again))


def test_without_repeats_the_grouped_split_is_the_stratified_one() -> None:
    labels = np.arange(90) % 3
    of_row = keys(map(str, range(90)))
    for one, other in zip(grouped(of_row, labels, (0.7, 0.3), 5), stratified(labels, (0.7, 0.3), 5), strict=True):
        assert np.array_equal(one, other)
    assert sum(map(len, grouped(of_row, None, (0.7, 0.3), 5))) == 90


def test_a_key_with_two_labels_counts_for_the_rarer() -> None:
    # every text of class 1 also stands there as class 0: each part must still have class 1
    of_row = keys(["a", "a", "b", "b", *map(str, range(20))])
    labels = np.array([0, 1, 0, 1, *[0] * 20])
    parts = grouped(of_row, labels, (0.5, 0.5), 0)
    assert all(1 in labels[part] for part in parts)
    assert (repeated(of_row), conflicting(of_row, labels)) == (2, 2)


def test_rows_of_a_test_set_are_told() -> None:
    train, test = keys(["a", "b", "c", "b"]), keys(["b", "z"])
    assert without(train, test).tolist() == [0, 2] and without(test, train).tolist() == [1]


def test_equal_examples_have_equal_keys_whatever_they_are() -> None:
    one, other = np.array([1, 2], dtype=np.int64), np.array([[1, 2]], dtype=np.int64)
    found = keys(["ab", b"ab", "ba", one, one.copy(), other, one.astype(np.float64), "\ud800"])
    assert found[0] == found[1] and found[3] == found[4] and len(set(found.tolist())) == 6
    assert found.dtype == np.uint64 and keys([]).shape == (0,)

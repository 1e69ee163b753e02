"""Splits share every class out alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.data.splits import stratified


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

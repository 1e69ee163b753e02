"""Batches: what collating keeps, and that an order is a function of (seed, epoch, index)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqloom.core.types import IGNORED
from seqloom.data.batches import Arrays, Order, Packed, Windows, shuffled, stream


def ragged(lengths: list[int]) -> list[np.ndarray]:
    return [np.arange(1, n + 1, dtype=np.uint8) + 10 * i for i, n in enumerate(lengths)]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=12), st.data())
@settings(max_examples=50, deadline=None)
def test_collated_rows_are_the_sequences_padded_right(lengths: list[int], data: st.DataObject) -> None:
    sequences = ragged(lengths)
    rows = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=8)))
    batch = Packed.of(sequences, np.arange(len(lengths))).batch(rows)
    longest = max(lengths[i] for i in rows)
    assert batch.inputs.shape == (len(rows), longest) and batch.inputs.dtype == torch.int64
    assert batch.rows.tolist() == rows.tolist() == batch.target.tolist()
    for k, i in enumerate(rows):
        n = lengths[i]
        assert batch.inputs[k, :n].tolist() == sequences[i].tolist()
        assert not batch.inputs[k, n:].any()
        if batch.segment is None:
            assert n == longest
        else:
            assert batch.segment[k].tolist() == [1] * n + [0] * (longest - n)


def test_rows_of_one_length_need_no_segment() -> None:
    packed = Packed.of(ragged([3, 5, 3]), np.zeros(3))
    assert packed.batch(np.array([0, 2])).segment is None
    assert packed.batch(np.array([0, 1])).segment is not None


def test_targets_of_each_step_are_ignored_at_padding() -> None:
    sequences = ragged([2, 4])
    batch = Packed.of(sequences, [s.astype(np.int64) + 100 for s in sequences]).batch(np.array([0, 1]))
    assert batch.target.tolist() == [[101, 102, IGNORED, IGNORED], [111, 112, 113, 114]]


def test_values_pack_like_tokens() -> None:
    steps = np.arange(10, dtype=np.float64).reshape(5, 2)
    batch = Packed(steps, np.array([0, 2, 5]), np.array([0.5, 1.5])).batch(np.array([1, 0]))
    assert batch.inputs.dtype == batch.target.dtype == torch.float32
    assert batch.inputs[1].tolist() == [[0, 1], [2, 3], [0, 0]]


def test_an_empty_sequence_is_refused_by_number() -> None:
    with pytest.raises(ValueError, match="example 1 has no steps"):
        Packed.of([np.ones(2), np.ones(0)], np.zeros(2))


def test_targets_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="3 targets for 2 examples"):
        Packed.of(ragged([1, 2]), np.zeros(3))
    with pytest.raises(ValueError, match="3 targets for 2 examples"):
        Arrays(np.zeros((2, 4)), np.zeros(3))


@pytest.mark.parametrize("n", [2, 3, 8, 9, 10, 17])
def test_windows_ask_for_each_token_but_the_first_exactly_once(n: int) -> None:
    tokens = np.arange(100, 100 + n, dtype=np.uint8)
    windows = Windows(tokens, 4)
    batch = windows.batch(np.arange(len(windows)))
    asked = batch.target != IGNORED
    assert batch.target[asked].tolist() == tokens[1:].tolist()
    assert batch.inputs[asked].tolist() == tokens[:-1].tolist()
    if batch.segment is not None:
        assert torch.equal(batch.segment != 0, asked)


def test_selected_rows_are_numbered_anew() -> None:
    arrays = Arrays(np.arange(12).reshape(6, 2), np.arange(6))
    some = arrays.select(np.array([4, 1, 5]))
    batch = some.batch(np.array([2, 0]))
    assert len(some) == 3
    assert batch.target.tolist() == [5, 4] and batch.rows.tolist() == [2, 0]


@given(st.integers(1, 200), st.integers(1, 9), st.booleans(), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_row_comes_once_an_epoch(n: int, batch_size: int, bucket: bool, epoch: int) -> None:
    lengths = 1 + np.arange(n) * 7 % 13
    order = Order(lengths, batch_size, seed=5, bucket=bucket)
    batches = [order.rows(epoch, i) for i in range(order.steps_per_epoch)]
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    sizes = sorted(map(len, batches))
    assert all(size == batch_size for size in sizes[1:]) and 0 < sizes[0] <= batch_size


def test_a_batch_depends_on_seed_epoch_and_index_alone() -> None:
    lengths = 1 + np.arange(500) % 17
    order, fresh = Order(lengths, 8, seed=3), Order(lengths, 8, seed=3)
    for epoch, index in [(0, 0), (2, 5), (0, 1), (1, 62), (2, 5)]:
        assert order.rows(epoch, index).tolist() == Order(lengths, 8, seed=3).rows(epoch, index).tolist()
    assert fresh.rows(2, 5).tolist() == order.rows(2, 5).tolist()
    assert order.rows(0, 0).tolist() != order.rows(1, 0).tolist()
    assert order.rows(0, 0).tolist() != Order(lengths, 8, seed=4).rows(0, 0).tolist()


def test_an_order_never_changes_between_versions() -> None:
    # a run must go on where it stood, whatever library versions came between
    assert shuffled(stream(1, 2), 8).tolist() == [4, 2, 0, 6, 1, 5, 7, 3]
    assert Order(np.ones(9, dtype=np.int64), 4, seed=7).rows(1, 0).tolist() == [3, 1, 6, 2]


def test_buckets_hold_rows_of_like_length_and_come_in_any_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, size=20_000)
    order = Order(lengths, 32, seed=0)
    batches = [lengths[order.rows(0, i)] for i in range(order.steps_per_epoch)]
    padded = sum(len(batch) * int(batch.max()) for batch in batches)
    assert padded < 1.05 * lengths.sum()  # at random it would be nearly twice the sum
    means = np.array([batch.mean() for batch in batches])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2  # no drift from short to long


def test_sizes_that_give_no_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="batches of 0"):
        Order(np.ones(3), 0, seed=0)
    with pytest.raises(ValueError, match="seed = -1"):
        Order(np.ones(3), 1, seed=-1).rows(0, 0)

"""Masks: their shares are BERT's, and they are a function of (seed, epoch, row) alone."""

import numpy as np
import pytest
import torch

from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch, Packed, stream
from seqloom.data.masking import Masked

VOCABULARY = 200
LENGTH, ROWS = 200, 500


def sequences(lengths: list[int]) -> Packed:
    words = stream(7).random_raw(sum(lengths)) % VOCABULARY
    cuts = np.cumsum(lengths)[:-1]
    return Packed.of(np.split(words.astype(np.uint8), cuts), np.zeros(len(lengths)))


@pytest.fixture(scope="module")
def source() -> Packed:
    return sequences([LENGTH] * ROWS)


def whole(examples: Masked) -> Batch:
    return examples.batch(np.arange(len(examples)))


def test_of_the_targets_most_are_hidden_some_another_token_some_as_they_were(source: Packed) -> None:
    before, after = source.batch(np.arange(ROWS)).inputs, whole(Masked(source, VOCABULARY))
    asked = after.target != IGNORED
    assert asked.sum(dim=1).tolist() == [30] * ROWS  # 15 % of 200, exactly
    assert torch.equal(after.target[asked], before[asked]) and torch.equal(after.inputs[~asked], before[~asked])
    now, was = after.inputs[asked], before[asked]
    hidden, kept = (now == VOCABULARY).double().mean(), (now == was).double().mean()
    other = now[(now != VOCABULARY) & (now != was)]
    n = len(now)  # 15,000 draws: four standard deviations of a share p are 4 sqrt(p (1 - p) / n)
    assert hidden == pytest.approx(0.8, abs=4 * (0.16 / n) ** 0.5)
    # a random token may happen to be the one that stood there
    assert kept == pytest.approx(0.1 + 0.1 / VOCABULARY, abs=4 * (0.09 / n) ** 0.5)
    assert len(other) / n == pytest.approx(0.1, abs=4 * (0.09 / n) ** 0.5)
    assert other.min() >= 0 and other.max() < VOCABULARY and len(other.unique()) > 0.99 * VOCABULARY


def test_every_position_is_a_target_as_often_as_any_other(source: Packed) -> None:
    often = torch.stack([whole(Masked(source, VOCABULARY).of_epoch(e)).target != IGNORED for e in range(8)])
    counts = often.double().mean(dim=(0, 1))
    # 4000 rows: five standard deviations, as the extreme of 200 positions is compared
    assert counts.min() > 0.15 - 5 * (0.1275 / 4000) ** 0.5 and counts.max() < 0.15 + 5 * (0.1275 / 4000) ** 0.5


def test_each_epoch_and_each_seed_draws_anew_and_draws_the_same_again(source: Packed) -> None:
    first = whole(Masked(source, VOCABULARY))
    for other in (Masked(source, VOCABULARY).of_epoch(1), Masked(source, VOCABULARY, seed=1)):
        shared = ((first.target != IGNORED) & (whole(other).target != IGNORED)).double().mean()
        assert shared == pytest.approx(0.15**2, abs=0.004)  # as of independent draws
    again = whole(Masked(source, VOCABULARY).of_epoch(3).of_epoch(0))
    assert torch.equal(first.inputs, again.inputs) and torch.equal(first.target, again.target)


def test_a_rows_masks_do_not_depend_on_its_batch_or_on_padding() -> None:
    lengths = [1, 40, 7, 40, 3]
    masked = Masked(sequences(lengths), VOCABULARY)
    together = whole(masked)
    for row, length in enumerate(lengths):
        alone = masked.batch(np.array([row]))
        assert torch.equal(alone.inputs[0], together.inputs[row, :length])
        assert torch.equal(alone.target[0], together.target[row, :length])
        assert (together.target[row, length:] == IGNORED).all() and not together.inputs[row, length:].any()
        assert (alone.target != IGNORED).sum() == max(1, round(0.15 * length))  # no row asks for nothing


def test_some_rows_of_masked_ones_draw_as_all_do(source: Packed) -> None:
    masked, rows = Masked(source, VOCABULARY), np.array([4, 2, 9])
    for epoch in (0, 1):
        some = masked.select(rows).of_epoch(epoch).batch(np.arange(3))
        assert torch.equal(some.inputs, masked.of_epoch(epoch).batch(rows).inputs)
        assert some.rows.tolist() == [0, 1, 2]


def test_the_source_is_left_as_it_is_and_other_examples_are_the_same_in_every_epoch(source: Packed) -> None:
    before = source.batch(np.arange(ROWS)).inputs
    whole(Masked(source, VOCABULARY))
    assert torch.equal(source.batch(np.arange(ROWS)).inputs, before)
    assert source.of_epoch(5) is source

"""Recall: the rules each variant's rows follow, and the floors."""

import numpy as np
import pytest

from seqloom.core.types import IGNORED
from seqloom.data.batches import Examples
from seqloom.tasks.recall import Recall


def everything(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    batch = examples.batch(np.arange(len(examples)))
    return batch.inputs.numpy(), batch.target.numpy()


def test_the_answer_to_each_key_is_its_value() -> None:
    inputs, target = everything(Recall(pairs=5, length=20, vocabulary=30, examples=200).open().train)
    for row, answers in zip(inputs, target, strict=True):
        value_of = dict(zip(row[0:10:2].tolist(), row[1:10:2].tolist(), strict=True))
        assert len(value_of) == len(set(value_of.values())) == 5
        assert all(1 <= key < 15 for key in value_of) and all(15 <= value < 30 for value in value_of.values())
        asked = answers != IGNORED
        assert not asked[:10].any() and asked.sum() == 5
        assert answers[asked].tolist() == [value_of[key] for key in row[asked].tolist()]
        assert not row[10:][~asked[10:]].any()


def test_naming_one_of_the_rows_values_reaches_the_floor_of_recall() -> None:
    opened = Recall(pairs=4, examples=10).open()
    inputs, target = everything(opened.test)
    asked = target != IGNORED
    right = (np.broadcast_to(inputs[:, 1:2], target.shape) == target) & asked
    assert right.sum() / asked.sum() == opened.floor  # each value is asked for exactly once


def test_copy_says_the_symbols_again_after_the_signal() -> None:
    opened = Recall(variant="copy", pairs=4, length=12, vocabulary=10, examples=500).open()
    inputs, target = everything(opened.train)
    assert np.array_equal(inputs[:, :4], target[:, -4:])
    assert (inputs[:, :4] >= 2).all() and (inputs[:, :4] < 10).all()
    assert (inputs[:, 7] == 1).all() and not inputs[:, 4:7].any() and not inputs[:, 8:].any()
    assert (target[:, :-4] == IGNORED).all()
    asked = everything(opened.test)[1][:, -4:]
    # 4 000 draws of 1 in 8: 4 standard deviations are 0.021
    assert np.mean(asked == 5) == pytest.approx(opened.floor, abs=0.021)


def test_adding_adds_the_two_marked_numbers_one_from_each_half() -> None:
    opened = Recall(variant="adding", length=9, examples=500).open()
    inputs, target = everything(opened.train)
    number, mark = inputs[:, :, 0], inputs[:, :, 1]
    assert (mark[:, :4].sum(axis=1) == 1).all() and (mark[:, 4:].sum(axis=1) == 1).all()
    assert target == pytest.approx((number * mark).sum(axis=1), abs=1e-6)
    assert number.min() >= 0 and number.max() < 1
    asked = everything(opened.test)[1]
    # mean of 1 000 squares with standard deviation 0.2: 4 standard errors are 0.025
    assert np.mean((asked - 1) ** 2) == pytest.approx(opened.floor, abs=0.025)


def test_the_variant_decides_the_metric() -> None:
    assert (Recall().metric, Recall().better) == ("accuracy", "higher")
    assert (Recall(variant="adding").metric, Recall(variant="adding").better) == ("mse", "lower")


def test_more_training_examples_leave_the_test_as_it_was() -> None:
    few, many = (Recall(examples=n).open() for n in (100, 3000))
    assert np.array_equal(everything(few.test)[0], everything(many.test)[0])
    assert np.array_equal(everything(few.train)[0], everything(many.train)[0][:100])


def test_every_example_is_different_where_repeats_are_likely() -> None:
    opened = Recall(pairs=2, vocabulary=14, examples=250).open()  # 2 250 of 2 520 possible
    rows = np.concatenate([everything(split)[0] for split in (opened.train, opened.validation, opened.test)])
    assert len(np.unique(rows, axis=0)) == len(rows) == 2250


def test_an_example_never_changes_between_versions() -> None:
    inputs, _ = everything(Recall(pairs=3, vocabulary=16, length=10, examples=1).open(seed=1).train)
    assert inputs[0].tolist() == [4, 15, 5, 12, 7, 14, 0, 7, 4, 5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": 8, "length": 20}, "length = 20 is too short for 8 pairs.*at least 24, or take fewer"),
        ({"pairs": 8, "vocabulary": 16}, "vocabulary = 16 gives 7 keys.*at least 18"),
        ({"pairs": 1, "length": 2}, "length = 2 is too short for 1 pairs.*at least 3, "),
        ({"pairs": 1, "vocabulary": 4}, "2 different examples"),
        ({"variant": "copy", "pairs": 8, "length": 16}, "at least 17"),
        ({"variant": "adding", "pairs": 8}, "'adding' has no pairs"),
        ({"variant": "adding", "vocabulary": 8}, "'adding' has no vocabulary"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_the_fix(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recall(**settings).open()

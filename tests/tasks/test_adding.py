"""Adding: the target is the sum of the two marked numbers, one from each half."""

import numpy as np
import pytest

from seqloom.data.batches import Examples
from seqloom.tasks.adding import Adding


def everything(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    batch = examples.batch(np.arange(len(examples)))
    return batch.inputs.numpy(), batch.target.numpy()


def test_the_target_is_the_sum_of_the_two_marked_numbers_one_from_each_half() -> None:
    opened = Adding(length=9, examples=500).open()
    for split in (opened.train, opened.validation, opened.test):
        inputs, target = everything(split)
        number, mark = inputs[:, :, 0], inputs[:, :, 1]
        assert (mark[:, :4].sum(axis=1) == 1).all() and (mark[:, 4:].sum(axis=1) == 1).all()
        assert target == pytest.approx((number * mark).sum(axis=1), abs=1e-6)  # float32 sums
        assert number.min() >= 0 and number.max() < 1


def test_every_step_of_its_half_can_be_marked() -> None:
    marks = everything(Adding(length=9, examples=500).open().train)[0][:, :, 1]
    assert marks.any(axis=0).all()


def test_always_answering_one_reaches_the_floor() -> None:
    opened = Adding(length=9, examples=4000).open()
    # mean of 4 000 squares with standard deviation 0.2: 4 standard errors are 0.013
    assert np.mean((everything(opened.train)[1] - 1) ** 2) == pytest.approx(opened.floor, abs=0.013)
    assert (opened.metric, opened.better) == ("mse", "lower")


def test_more_training_examples_leave_the_test_as_it_was() -> None:
    few, many = (Adding(length=20, examples=n).open() for n in (100, 3000))
    for kept, new in zip(everything(few.test), everything(many.test), strict=True):
        assert np.array_equal(kept, new)
    assert np.array_equal(everything(few.train)[0], everything(many.train)[0][:100])


def test_an_example_never_changes_between_versions() -> None:
    inputs, target = everything(Adding(length=4, examples=1).open(seed=1).train)
    assert inputs[0, :, 1].tolist() == [1, 0, 1, 0]
    assert target[0] == pytest.approx(0.7169, abs=1e-4)

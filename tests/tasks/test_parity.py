"""Parity: the target is the running product, the tables are groups, and the test is longer than the training."""

import numpy as np
import pytest

from seqloom.data.batches import Examples
from seqloom.tasks.parity import Parity


def everything(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    batch = examples.batch(np.arange(len(examples)))
    return batch.inputs.numpy(), batch.target.numpy()


def test_the_target_is_the_parity_of_the_bits_so_far() -> None:
    opened = Parity(examples=200).open()
    for split in (opened.train, opened.validation, opened.test):
        inputs, target = everything(split)
        assert np.array_equal(target, np.cumsum(inputs, axis=1) % 2)


@pytest.mark.parametrize(("group", "order", "abelian"), [("z2", 2, True), ("s3", 6, False), ("a5", 60, False)])
def test_the_states_are_those_of_the_group(group: str, order: int, abelian: bool) -> None:
    opened = Parity.from_json(f'{{"group": "{group}", "length": 20, "examples": 5000}}').open()
    inputs, target = everything(opened.train)
    assert np.array_equal(np.unique(target), np.arange(order)) and opened.floor == 1 / order
    assert np.array_equal(target[:, 0], inputs[:, 0])  # the identity comes first
    before, symbol, after = target[:, :-1].ravel(), inputs[:, 1:].ravel(), target[:, 1:].ravel()
    table = np.full((order, order), -1)
    table[before, symbol] = after
    assert np.array_equal(table[before, symbol], after)  # a function of state and symbol ...
    everyone = np.arange(order)
    assert all(np.array_equal(np.sort(row), everyone) for row in (*table, *table.T))  # ... that can be undone
    assert np.array_equal(table[table, :], table[:, table])  # associative
    assert np.array_equal(table, table.T) == abelian


def test_the_test_is_four_times_as_long_unless_said_otherwise() -> None:
    opened = Parity(length=20, examples=10).open()
    assert set(opened.train.lengths) == set(opened.validation.lengths) == {20} and set(opened.test.lengths) == {80}
    assert set(Parity(length=20, test_length=25, examples=10).open().test.lengths) == {25}


def test_no_two_rows_of_any_split_begin_alike() -> None:
    opened = Parity(length=12, test_length=13, examples=40).open()  # of 4 096 that are possible
    begins = np.concatenate([everything(split)[0][:, :12] for split in (opened.train, opened.validation, opened.test)])
    assert len(np.unique(begins, axis=0)) == len(begins) == 2040


def test_more_training_examples_leave_the_test_as_it_was() -> None:
    few, many = (Parity(examples=n).open() for n in (100, 3000))
    assert np.array_equal(everything(few.test)[0], everything(many.test)[0])
    assert np.array_equal(everything(few.train)[0], everything(many.train)[0][:100])


def test_an_example_never_changes_between_versions() -> None:
    inputs, target = everything(Parity(group="s3", length=10, examples=1).open(seed=1).train)
    assert (inputs[0].tolist(), target[0].tolist()) == ([3, 4, 5, 5, 3, 5, 5, 5, 0, 4], [3, 0, 5, 0, 3, 2, 3, 2, 2, 1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 20, "test_length": 19}, "test_length = 19 is below length = 20"),
        ({"length": 10, "examples": 10}, "length = 10 gave .* different rows of the 2010 that are needed"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_the_fix(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Parity(**settings).open()

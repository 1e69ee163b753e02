"""Copying: the copy is the string, only the copy is scored, and the test's strings are longer."""

import numpy as np
import pytest

from seqloom.core.types import IGNORED
from seqloom.data.batches import Examples
from seqloom.tasks.copying import Copying


def rows(examples: Examples) -> list[tuple[np.ndarray, np.ndarray]]:
    batch = examples.batch(np.arange(len(examples)))
    inputs, target = batch.inputs.numpy(), batch.target.numpy()
    return [(i[:n], t[:n]) for i, t, n in zip(inputs, target, examples.lengths, strict=True)]


def strings(examples: Examples) -> list[np.ndarray]:
    return [inputs[: len(inputs) // 2] for inputs, _ in rows(examples)]


def test_the_target_is_the_string_again_and_only_it_is_scored() -> None:
    opened = Copying(length=6, vocabulary=20, examples=200).open()
    for split in (opened.train, opened.validation, opened.test):
        for inputs, target in rows(split):
            size = len(inputs) // 2
            assert ((inputs[:size] >= 1) & (inputs[:size] < 20)).all() and inputs[size] == 0
            assert (target[:size] == IGNORED).all() and np.array_equal(target[size:], inputs[:size])


def test_each_symbol_is_given_only_after_it_was_to_be_said() -> None:
    for inputs, target in rows(Copying(length=6, examples=50).open().train):
        size = len(inputs) // 2
        assert np.array_equal(inputs[size + 1 :], target[size:-1])


def test_training_has_strings_up_to_length_and_the_test_longer_ones() -> None:
    opened = Copying(length=6, examples=300).open()
    assert {len(string) for string in strings(opened.train)} == {3, 4, 5, 6}
    assert {len(string) for string in strings(opened.validation)} == {3, 4, 5, 6}
    assert {len(string) for string in strings(opened.test)} == {12}
    assert {len(string) for string in strings(Copying(length=6, test_length=9, examples=10).open().test)} == {9}


def test_no_two_strings_of_any_split_begin_alike() -> None:
    opened = Copying(length=4, vocabulary=70, examples=100).open()  # of 4 761 that are possible
    begins = [
        tuple(string[:2]) for split in (opened.train, opened.validation, opened.test) for string in strings(split)
    ]
    assert len(set(begins)) == len(begins) == 2100


def test_naming_one_symbol_reaches_the_floor() -> None:
    opened = Copying(vocabulary=11, examples=10).open()
    said = np.concatenate(strings(opened.test))
    # 32 000 draws of 1 in 10: 4 standard deviations are 0.007
    assert np.mean(said == 3) == pytest.approx(opened.floor, abs=0.007)


def test_more_training_examples_leave_the_test_as_it_was() -> None:
    few, many = (Copying(examples=n).open() for n in (100, 3000))
    for kept, new in ((rows(few.test), rows(many.test)), (rows(few.train), rows(many.train)[:100])):
        assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(kept, new, strict=True))


def test_an_example_never_changes_between_versions() -> None:
    assert rows(Copying(length=6, examples=1).open(seed=1).train)[0][0].tolist() == [
        27,
        26,
        4,
        25,
        17,
        0,
        27,
        26,
        4,
        25,
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 8, "test_length": 7}, "test_length = 7 is below length = 8"),
        ({"length": 4, "vocabulary": 5}, "length = 4 and vocabulary = 5 gave 16 different strings of the 22000"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_the_fix(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Copying(**settings).open()

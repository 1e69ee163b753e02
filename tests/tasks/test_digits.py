"""Digits: what the views keep of an image, and the floor."""

import numpy as np
import pytest

from seqloom.data.batches import Examples
from seqloom.tasks.digits import Digits


def everything(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    batch = examples.batch(np.arange(len(examples)))
    return batch.inputs.numpy(), batch.target.numpy()


def test_every_view_holds_the_same_pixels() -> None:
    rows, pixels, patches = (
        everything(Digits(view=view).open().test)[0]  # type: ignore[arg-type]
        for view in ("rows", "pixels", "patches")
    )
    assert np.array_equal(rows.reshape(-1, 64), pixels[:, :, 0])
    # the second patch of a row of patches begins two pixels to the right
    assert np.array_equal(patches[:, 4:8, 0], rows[:, 0:2, 2:4].reshape(-1, 4))
    assert np.array_equal(np.sort(patches[:, :, 0]), np.sort(pixels[:, :, 0]))


def test_the_floor_is_the_majority_of_training_on_test() -> None:
    opened = Digits().open(seed=3)
    known, asked = everything(opened.train)[1], everything(opened.test)[1]
    values, counts = np.unique(known, return_counts=True)
    assert opened.floor == pytest.approx(np.mean(asked == values[counts.argmax()]), abs=0)


def test_every_split_has_the_classes_in_proportion_and_all_rows_are_used() -> None:
    opened = Digits().open(seed=1)
    targets = [everything(split)[1] for split in (opened.train, opened.validation, opened.test)]
    whole = np.bincount(np.concatenate(targets))
    assert whole.sum() == opened.facts["rows_in"] == 1797
    for target, share in zip(targets, (0.7, 0.1, 0.2), strict=True):
        assert np.abs(np.bincount(target) - share * whole).max() <= 1


def test_training_values_are_standardised() -> None:
    inputs, _ = everything(Digits().open().train)
    assert inputs.dtype == np.float32
    # float32 sums of 80 512 values
    assert inputs.mean() == pytest.approx(0, abs=1e-4) and inputs.std() == pytest.approx(1, abs=1e-4)


def test_another_seed_gives_another_split() -> None:
    one, other = (everything(Digits().open(seed=seed).test)[0] for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_an_unknown_view_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="rows.*pixels.*patches"):
        Digits(view="columns")  # type: ignore[arg-type]

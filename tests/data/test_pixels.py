"""Pixels become the steps of their view, and training moves them anew each epoch."""

import numpy as np
import pytest
import torch

from seqloom.data.moving import DIRECTIONS, Moving
from seqloom.data.pixels import Pixels, View, moved

PIXELS = np.random.default_rng(0).integers(0, 256, size=(6, 4, 6, 3), dtype=np.uint8)


def view(kind: str, patch: int = 1) -> View:
    return View(kind, np.zeros(3), np.ones(3), patch)  # type: ignore[arg-type]


def test_each_view_holds_every_pixel_once_in_its_order() -> None:
    flat = PIXELS.astype(np.float32)
    assert np.array_equal(view("rows").steps(PIXELS), flat.reshape(6, 4, 18))
    assert np.array_equal(view("pixels").steps(PIXELS), flat.reshape(6, 24, 3))
    patches = view("patches", 2).steps(PIXELS)
    assert patches.shape == (6, 6, 12)
    assert np.array_equal(patches[:, 1], flat[:, 0:2, 2:4].reshape(6, 12))
    assert np.array_equal(patches[:, 3], flat[:, 2:4, 0:2].reshape(6, 12))
    clips = np.stack([PIXELS, PIXELS], axis=1)
    assert np.array_equal(view("frames").steps(clips), flat.reshape(6, 1, -1).repeat(2, axis=1))


def test_standardised_pixels_of_training_have_mean_0_and_deviation_1_in_each_channel() -> None:
    rows = np.array([0, 2, 3])
    found = View.learnt("pixels", PIXELS, rows).steps(PIXELS[rows]).reshape(-1, 3)
    assert np.allclose(found.mean(axis=0), 0, atol=1e-5) and np.allclose(found.std(axis=0), 1, atol=1e-5)
    flat = View.learnt("pixels", np.full((2, 2, 2, 1), 7, dtype=np.uint8), np.arange(2))
    assert flat.steps(np.full((1, 2, 2, 1), 7, dtype=np.uint8)).any() == np.False_


def test_moves_go_up_to_the_shift_and_repeat_the_border() -> None:
    one = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1)
    assert np.array_equal(moved(one, np.array([[1, 1]]), 1), one)
    right = moved(one, np.array([[1, 0]]), 1)[0, ..., 0]
    assert right.tolist() == [[0, 0, 1, 2], [4, 4, 5, 6], [8, 8, 9, 10]]
    up = moved(one, np.array([[2, 1]]), 1)[0, ..., 0]
    assert up.tolist() == [[4, 5, 6, 7], [8, 9, 10, 11], [8, 9, 10, 11]]
    clip = np.stack([one[0], one[0] + 1])[None]
    assert np.array_equal(moved(clip, np.array([[1, 0]]), 1)[0, 1], moved(one + 1, np.array([[1, 0]]), 1)[0])


def test_shifts_are_drawn_anew_each_epoch_and_alike_for_every_batch() -> None:
    examples = Pixels(PIXELS, np.arange(6), view("rows"), shift=1, seed=3)
    rows = np.arange(6)
    plain, first, second = (split.batch(rows).inputs for split in (examples, *map(examples.of_epoch, (0, 1))))
    assert torch.equal(plain, Pixels(PIXELS, np.arange(6), view("rows")).batch(rows).inputs)
    assert not torch.equal(first, second) and not torch.equal(plain, first)
    some = examples.select(np.array([4, 1])).of_epoch(1).batch(np.array([1, 0]))
    assert torch.equal(some.inputs, second[[1, 4]]) and some.target.tolist() == [1, 4]


def moving(**changes: int | bool) -> Moving:
    pictures = np.full((5, 2, 2), 9, dtype=np.uint8) * np.arange(1, 6, dtype=np.uint8)[:, None, None]
    settings = {"count": 400, "frames": 5, "side": 7, "directions": 8, "speed": 2, "seed": 1, "part": 0, **changes}
    return Moving(pictures, scale=(0.0, 1.0), **settings)  # type: ignore[arg-type]


def test_a_picture_moves_in_the_direction_of_its_class_and_stays_whole() -> None:
    clips = moving()
    pixels = clips.pixels(np.arange(400))
    assert ((pixels > 0).sum(axis=(2, 3)) == 4).all() and (
        pixels.max(axis=(2, 3)) == pixels.max(axis=(1, 2, 3))[:, None]
    ).all()
    for row in range(400):
        turn = np.array(list(DIRECTIONS.values())[int(clips.target[row])])
        fits = [
            all(
                np.array_equal(np.roll(pixels[row, t], turn * speed, axis=(0, 1)), pixels[row, t + 1]) for t in range(4)
            )
            for speed in (1, 2)
        ]
        assert sum(fits) == 1


def test_no_single_frame_tells_the_direction() -> None:
    clips = moving(count=16_000, directions=4)
    at = clips.pixels(np.arange(16_000))[:, 2].reshape(16_000, -1).argmax(axis=1)
    table = np.zeros((4, 49))
    np.add.at(table, (clips.target, at), 1)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    kept = expected > 0
    statistic = ((table - expected)[kept] ** 2 / expected[kept]).sum()
    freedom = 3 * (int(kept[0].sum()) - 1)
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)  # chi-square: five deviations above its mean


def test_clips_are_a_function_of_seed_split_and_epoch() -> None:
    rows = np.arange(50)
    assert np.array_equal(moving().pixels(rows), moving().pixels(rows))
    assert not np.array_equal(moving().pixels(rows), moving(seed=2).pixels(rows))
    assert not np.array_equal(moving().pixels(rows), moving(part=1).pixels(rows))
    assert moving().of_epoch(3).pixels(rows).tobytes() == moving().pixels(rows).tobytes()
    anew = moving(anew=True)
    assert not np.array_equal(anew.pixels(rows), anew.of_epoch(3).pixels(rows))
    assert np.array_equal(anew.of_epoch(3).pixels(rows), moving(anew=True).of_epoch(3).pixels(rows))


@pytest.mark.parametrize("rows", [[], [3], [2, 2]])
def test_any_rows_are_collated(rows: list[int]) -> None:
    batch = moving().batch(np.array(rows, dtype=np.int64))
    assert batch.inputs.shape == (len(rows), 5, 49) and batch.target.shape == (len(rows),)

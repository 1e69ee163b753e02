"""Sounds: collated to patches, standardised by training, varied as a function of (seed, epoch, row) alone."""

import json

import numpy as np
import pytest
import torch

from seqloom.core.types import IGNORED
from seqloom.data.mel import LogMel
from seqloom.data.sounds import Ear, Scale, Sounds, levelled, masked, noisy, stretched, surrounded

LENGTHS = (7, 12, 4, 9)


def features(seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(length, 10)).astype(np.float16) * 3 for length in LENGTHS]


def ear(frames: int = 3) -> Ear:
    return Ear.learnt(LogMel(8000, 10), frames, 30.0, features())


def test_rows_are_padded_to_whole_patches_and_standardised() -> None:
    sounds = ear().examples(features(), np.array([3, 1, 2, 0]))
    batch = sounds.batch(np.array([0, 2]))
    assert batch.inputs.shape == (2, 9, 10) and batch.target.tolist() == [3, 2] and batch.rows.tolist() == [0, 2]
    assert batch.segment is not None and batch.segment.sum(dim=1).tolist() == [7, 4]
    assert not batch.inputs[0, 7:].any() and not batch.inputs[1, 4:].any()
    for row, x in zip((0, 1), (features()[0], features()[2]), strict=True):
        expected = torch.from_numpy(ear().scale(x.astype(np.float32)))
        torch.testing.assert_close(batch.inputs[row, : len(x)], expected, rtol=0, atol=1e-6)
    assert sounds.batch(np.array([1])).segment is None  # 12 steps are whole patches
    assert sounds.lengths.tolist() == list(LENGTHS)


def test_the_training_split_has_mean_0_and_deviation_1() -> None:
    scale = Scale.of(features())
    whole = np.concatenate([scale(x.astype(np.float32)) for x in features()])
    np.testing.assert_allclose(whole.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(whole.std(axis=0), 1, atol=1e-3)


def test_level_and_what_lies_far_below_it_tell_nothing() -> None:
    x = features()[1].astype(np.float32)
    np.testing.assert_allclose(levelled(x + 5), levelled(x), atol=1e-5)
    deep = x.copy()
    deep[0] = -40
    assert levelled(deep).min() == pytest.approx(-8)


def test_transcripts_are_padded_with_what_is_ignored() -> None:
    targets = [np.array(labels) for labels in ([1, 2], [3], [1, 1, 2], [2])]
    batch = ear().examples(features(), targets).batch(np.array([2, 1]))
    assert batch.target.tolist() == [[1, 1, 2], [3, IGNORED, IGNORED]]


def test_variations_are_of_seed_epoch_and_row_alone() -> None:
    sounds = ear().examples(features(), np.zeros(4), strength=1.0, seed=5)
    plain, first, second = sounds, sounds.of_epoch(0), sounds.of_epoch(1)
    one = first.batch(np.array([1])).inputs
    assert not torch.equal(one, plain.batch(np.array([1])).inputs[:, : one.shape[1]])
    both = first.batch(np.array([3, 1]))
    length = 0 if both.segment is None else int(both.segment[1].sum())
    torch.testing.assert_close(both.inputs[1, :length], one[0, :length], rtol=0, atol=0)
    again = ear().examples(features(), np.zeros(4), strength=1.0, seed=5).of_epoch(4).of_epoch(0).batch(np.array([1]))
    assert torch.equal(again.inputs, one)
    shapes = {second.batch(np.array([1])).inputs.shape, one.shape}
    assert len(shapes) == 2 or not torch.equal(second.batch(np.array([1])).inputs, one)
    unvaried = ear().examples(features(), np.zeros(4))
    assert unvaried.of_epoch(3) is unvaried
    few = sounds.select(np.array([1, 3])).of_epoch(0).batch(np.array([0]))
    assert torch.equal(few.inputs, one)


def test_no_variation_leaves_fewer_steps_than_a_transcript_needs() -> None:
    labels = np.array([1, 1, 2, 2])
    generator = np.random.default_rng(0)
    recording = [generator.normal(size=(18, 10)).astype(np.float16)]
    sounds = Sounds(recording[0], np.array([0, 18]), [labels], Scale.of(recording), patch=3, strength=1.0)
    for epoch in range(200):
        batch = sounds.of_epoch(epoch).batch(np.array([0]))
        real = batch.inputs.shape[1] if batch.segment is None else int(batch.segment.sum())
        assert -(-real // 3) >= 6
        assert torch.isfinite(batch.inputs).all()


def test_half_stretches_nothing_and_ends_stay() -> None:
    x = features()[1].astype(np.float32)
    np.testing.assert_allclose(stretched(x, 0.5, 0.5), x, atol=1e-6)
    longer, shorter = stretched(x, 1.0, 0.5), stretched(x, 0.0, 0.5)
    assert (len(longer), len(shorter), len(stretched(x, 0.0, 0.5, least=12))) == (14, 10, 12)
    for y in (longer, shorter):
        np.testing.assert_allclose(y[[0, -1]], x[[0, -1]], atol=1e-5)
    bands = np.tile(np.arange(10, dtype=np.float32), (3, 1))
    np.testing.assert_allclose(stretched(bands, 0.5, 1.0)[0], np.minimum(np.arange(10) * 1.15, 9), atol=1e-5)


def test_noise_only_adds_and_silence_surrounds() -> None:
    x = features()[0].astype(np.float32)
    assert noisy(x, 0.9, 0.5, 0.5) is x
    assert (noisy(x, 0.1, 0.0, 0.5) >= x).all() and noisy(x, 0.1, 0.0, 0.5).min() > x.max() - 2.1
    around = surrounded(x, 0.5, 0.999)
    assert len(around) == 13 + len(x) + 25
    np.testing.assert_array_equal(around[13:-25], x)
    assert (around[:13] == x.min()).all()


def test_no_strength_changes_nothing_and_half_of_it_half_as_much() -> None:
    x = features()[1].astype(np.float32)
    np.testing.assert_allclose(stretched(x, 1.0, 1.0, strength=0.0), x, atol=1e-6)
    assert len(surrounded(x, 1.0, 1.0, strength=0.0)) == len(x) + 2
    assert len(stretched(x, 1.0, 0.5, strength=0.5)) == 13
    assert noisy(x, 0.1, 0.0, 0.5, strength=0.5).min() < x.max() - 6


def test_masks_hide_at_most_their_share_and_put_the_mean() -> None:
    x = np.ones((100, 40), dtype=np.float32)
    hidden = masked(x.copy(), np.full(8, 0.999)) == 0
    assert hidden.all(axis=1).sum() == 15 and hidden.all(axis=0).sum() == 6
    assert (masked(x.copy(), np.zeros(8)) == 1).all()


def test_an_ear_goes_to_json_and_back() -> None:
    data = json.loads(json.dumps(ear().to_data()))
    again = Ear.of_data(data)
    assert again[:4] == ear()[:4] and again.to_data() == ear().to_data()

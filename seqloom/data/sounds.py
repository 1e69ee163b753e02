"""Sounds: a split of log-mel features, standardised when they are collated, and varied anew in each epoch of training.

Variations are of the features, so that no sound is kept: time and pitch are stretched by interpolation, noise is added
as energy, and stretches of time and bands of pitch are masked. Sources: masks: Park et al. 2019, SpecAugment, arXiv
1904.08779; pitch: Jaitly and Hinton 2013, Vocal Tract Length Perturbation; time: Ko et al. 2015, Audio Augmentation for
Speech Recognition.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch, Examples, stream
from seqloom.data.mel import LogMel

_DEPTH = 8.0  # nats below the loudest that are heard: 35 dB
_DRAWS = 16  # random numbers of a row: more than any variation takes
# at full strength
_STRETCH = 0.2  # longer or shorter by up to this share
_WARP = 0.15  # pitch higher or lower by up to this share of the bands
_SILENCE = 25  # steps before and behind, at most
_NOISE = (2.0, 14.0)  # nats below the loudest band at which noise lies; weaker noise ends lower
_NOISY = 0.5  # share of the recordings that get noise
_MASKS = 2  # masks of time, and as many of pitch
_MASKED_TIME, _MASKED_BANDS = 0.15, 0.15  # of the steps, and of the bands, that a mask hides at most


class Scale(NamedTuple):
    """How features are standardised: `levelled`, then to mean 0 and deviation 1 over the training split, each band."""

    mean: np.ndarray  # (M,) float32
    deviation: np.ndarray  # (M,) float32

    @classmethod
    def of(cls, features: Sequence[np.ndarray]) -> Self:
        """Return the scale of a training split's features, (T, M) each. Work O(their size)."""
        total, squares, count = 0.0, 0.0, 0
        for x in features:
            x = levelled(x.astype(np.float64))
            total, squares, count = total + x.sum(axis=0), squares + (x * x).sum(axis=0), count + len(x)
        mean = np.asarray(total) / count
        deviation = np.sqrt(np.maximum(np.asarray(squares) / count - mean**2, 1e-4))
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return standardised features (T, M) float32."""
        return (levelled(x) - self.mean) / self.deviation


def levelled(x: np.ndarray) -> np.ndarray:
    """Return log energies (T, M) less those of the recording's loudest tenth of steps, and not below 35 dB less.

    So neither how near the microphone was nor how quiet the room tells anything.
    """
    loudest = np.sort(x.max(axis=1))[-max(1, len(x) // 10) :].mean()
    return np.maximum(x - loudest, -_DEPTH)


class Sounds(Examples):
    """Recordings as features, with a class each or a transcript each.

    Args:
        features: (N, M) log energies, all recordings in a row; kept in their type, such as float16.
        offsets: (n + 1,); recording i is features[offsets[i] : offsets[i + 1]], at least one step.
        target: (n,) classes, or a list of n arrays of labels, which are padded with IGNORED.
        scale: how features are standardised.
        patch: batches are padded to a multiple of so many steps.
        strength: of the variations, from 0 to 1; 0: there are none.
        seed: of the variations.
        epoch: whose variations; None: the recordings as they are.
    """

    def __init__(
        self,
        features: np.ndarray,
        offsets: np.ndarray,
        target: np.ndarray | Sequence[np.ndarray],
        scale: Scale,
        patch: int = 1,
        strength: float = 0.0,
        seed: int = 0,
        epoch: int | None = None,
    ) -> None:
        assert len(target) == len(offsets) - 1
        self.lengths = np.diff(offsets)
        self._features, self._offsets, self._target = features, offsets, target
        self._scale, self._patch, self._strength, self._seed, self._epoch = scale, patch, strength, seed, epoch

    def of_epoch(self, epoch: int) -> "Sounds":
        """Return the recordings as training hears them in an epoch: varied, each a function of (seed, epoch, row)."""
        if not self._strength:
            return self
        of_all = (self._features, self._offsets, self._target, self._scale, self._patch, self._strength, self._seed)
        return Sounds(*of_all, epoch)

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows, padded to a multiple of the patch. Work O(B T M)."""
        found = [self._row(int(row)) for row in rows]
        lengths = np.array([len(x) for x in found])
        longest = -(-int(lengths.max()) // self._patch) * self._patch
        inputs = np.zeros((len(rows), longest, self._features.shape[1]), dtype=np.float32)
        for x, into in zip(found, inputs, strict=True):
            into[: len(x)] = x
        real = np.arange(longest) < lengths[:, None]
        segment = None if real.all() else torch.from_numpy(real.astype(np.int64))
        numbers = torch.from_numpy(np.array(rows, dtype=np.int64))
        return Batch(torch.from_numpy(inputs), segment, torch.from_numpy(self._targets(rows)), numbers)

    def _targets(self, rows: np.ndarray) -> np.ndarray:
        if isinstance(self._target, np.ndarray):
            return self._target[rows].astype(np.int64)
        found = [self._target[row] for row in rows]
        target = np.full((len(rows), max(map(len, found))), IGNORED, dtype=np.int64)
        for labels, into in zip(found, target, strict=True):
            into[: len(labels)] = labels
        return target

    def _row(self, row: int) -> np.ndarray:
        x = self._features[self._offsets[row] : self._offsets[row + 1]].astype(np.float32)
        if self._epoch is None:
            return self._scale(x)
        # part 0 orders the rows
        draws = stream(self._seed, self._epoch, part=row + 1).random_raw(_DRAWS) / 2.0**64
        least = 1 if isinstance(self._target, np.ndarray) else self._patch * (2 * len(self._target[row]) + 1)
        much = self._strength
        x = surrounded(stretched(x, draws[0], draws[1], least, much), draws[2], draws[3], much)
        return masked(self._scale(noisy(x, draws[4], draws[5], draws[6], much)), draws[7:], much)


class Ear(NamedTuple):
    """How a model hears: what makes a sound file the inputs of a model, as JSON values that a run keeps."""

    rate: int  # samples a second
    mels: int  # bands
    frames: int  # that the frontend takes as one step
    max_seconds: float
    scale: Scale

    @classmethod
    def learnt(cls, mel: LogMel, frames: int, max_seconds: float, features: Sequence[np.ndarray]) -> Self:
        """Return the ear of a task from its training recordings' features (T, M) each."""
        return cls(mel.rate, mel.mels, frames, max_seconds, Scale.of(features))

    def examples(
        self,
        features: Sequence[np.ndarray],
        target: np.ndarray | Sequence[np.ndarray],
        strength: float = 0.0,
        seed: int = 0,
    ) -> Sounds:
        """Return recordings of features (T, M) each with their targets; with a strength training hears them varied."""
        offsets = np.cumsum([0, *map(len, features)])
        return Sounds(np.concatenate(features), offsets, target, self.scale, self.frames, strength, seed)

    def to_data(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**self._asdict(), "scale": {name: part.tolist() for name, part in self.scale._asdict().items()}}

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> Self:
        """Return what `to_data` wrote."""
        scale = Scale(**{name: np.array(part, dtype=np.float32) for name, part in data["scale"].items()})
        return cls(**{**{name: data[name] for name in cls._fields}, "scale": scale})


def stretched(x: np.ndarray, time: float, pitch: float, least: int = 1, strength: float = 1.0) -> np.ndarray:
    """Return features (T', M) whose time and pitch are stretched, by two numbers from 0 to 1; 1/2 changes nothing.

    Time becomes longer or shorter by at most a fifth, not shorter than `least` steps unless it was; pitch moves by at
    most 15 %, as from a shorter or longer vocal tract. What lies beyond the bands is their outermost.
    """
    length, mels = x.shape
    wanted = max(round(length * (1 + strength * _STRETCH * (2 * time - 1))), min(length, least), 1)
    x = _interpolated(x, np.arange(wanted) * (max(length - 1, 0) / max(wanted - 1, 1)))
    return _interpolated(x.T, np.arange(mels) * (1 + strength * _WARP * (2 * pitch - 1))).T


def _interpolated(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the rows of x (n, m) at places between them, (k, m), on straight lines; beyond the last it is the last."""
    low = np.minimum(at.astype(np.int64), len(x) - 1)
    high = np.minimum(low + 1, len(x) - 1)
    share = np.clip(at - low, 0.0, 1.0).astype(x.dtype)[:, None]
    return x[low] + share * (x[high] - x[low])


def surrounded(x: np.ndarray, before: float, behind: float, strength: float = 1.0) -> np.ndarray:
    """Return log energies (T', M) with silence before and behind, each up to a quarter of a second."""
    ends = [np.full((int(share * (strength * _SILENCE + 1)), x.shape[1]), x.min()) for share in (before, behind)]
    return np.concatenate([ends[0], x, ends[1]]).astype(np.float32)


def noisy(x: np.ndarray, chance: float, level: float, colour: float, strength: float = 1.0) -> np.ndarray:
    """Return log energies (T, M) with the energy of steady noise added, or as they are, by three numbers from 0 to 1.

    The noise lies 9 to 60 dB below the loudest band, and rises or falls with pitch by up to 13 dB.
    """
    if chance > _NOISY:
        return x
    low, high = _NOISE[1] - strength * (_NOISE[1] - _NOISE[0]), _NOISE[1]
    slope = (2 * colour - 1) * 1.5 * np.linspace(-1, 1, x.shape[1], dtype=np.float32)
    return np.logaddexp(x, x.max() - low - (high - low) * level + slope).astype(np.float32)


def masked(x: np.ndarray, draws: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Return standardised features (T, M) with masks of time and of bands, which put the mean there: in place.

    Args:
        x: the features.
        draws: numbers from 0 to 1, four a pair of masks.
        strength: from 0 to 1.
    """
    length, mels = x.shape
    for a, b, c, d in draws[: 4 * _MASKS].reshape(_MASKS, 4):
        steps, bands = int(a * (strength * _MASKED_TIME * length + 1)), int(b * (strength * _MASKED_BANDS * mels + 1))
        start, first = int(c * (length - steps + 1)), int(d * (mels - bands + 1))
        x[start : start + steps] = 0.0
        x[:, first : first + bands] = 0.0
    return x

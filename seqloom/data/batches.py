"""Batches: examples in memory, how rows become tensors, and in which order.

A split is map-style: `examples.batch(rows)` collates any rows, so that the position of a training run is two integers,
(epoch, index). Padding stands right, with segment 0; where no row is padded the segment is None.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqloom.core.types import IGNORED

_POOL = 64  # batches sorted by length together: long enough that rows of a batch are alike, short enough to stay random


class Batch(NamedTuple):
    """Some rows of a split, collated."""

    inputs: Tensor  # (B, T) int64 tokens or (B, T, C) float32 values
    segment: Tensor | None  # (B, T) int64, 0 at padding; None: nothing is padded
    target: Tensor  # (B,) or (B, T), as the head wants it; IGNORED where not scored
    rows: Tensor  # (B,) int64, example numbers in the split
    source: Tensor | None = None  # (B, S) int64 tokens or (B, S, C) values that the inputs are an answer to
    source_segment: Tensor | None = None  # (B, S) int64, 0 at padding; None: nothing is padded

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch with its tensors on a device; the rows' numbers stay."""
        moved = {name: part.to(device) for name, part in self._asdict().items() if part is not None and name != "rows"}
        return self._replace(**moved)


class Examples(ABC):
    """A split: examples in memory by number."""

    lengths: np.ndarray  # (n,) int64, steps of each example

    def __len__(self) -> int:
        return len(self.lengths)

    @abstractmethod
    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows, in the order given."""

    def select(self, rows: np.ndarray) -> "Examples":
        """Return the split of some of the rows, numbered anew; nothing is copied."""
        return Selected(self, rows)

    def of_epoch(self, epoch: int) -> "Examples":
        """Return the split as training reads it in an epoch: itself, unless its examples are drawn anew each time."""
        return self


class Packed(Examples):
    """Sequences of different lengths, stored one behind the other.

    Args:
        steps: (N,) integer tokens, or (N, C) values; all sequences in a row. Kept in its dtype until collated.
        offsets: (n + 1,) integers; example i is steps[offsets[i] : offsets[i + 1]], at least one step.
        target: (n,), one of each example, or (N,), one of each step if `per_step` (padded with IGNORED).
        per_step: whether the target is per step.
    """

    def __init__(self, steps: np.ndarray, offsets: np.ndarray, target: np.ndarray, per_step: bool = False) -> None:
        offsets = np.asarray(offsets, dtype=np.int64)
        lengths = np.diff(offsets)
        if len(lengths) and lengths.min() < 1:
            raise ValueError(f"example {int(lengths.argmin())} has no steps; leave empty sequences out")
        expected = len(steps) if per_step else len(lengths)
        if len(target) != expected or (len(offsets) and offsets[-1] != len(steps)):
            raise ValueError(f"{len(target)} targets for {expected} {'steps' if per_step else 'examples'}")
        self.lengths = lengths
        self._steps, self._starts, self._target, self._per_step = steps, offsets[:-1], target, per_step

    @classmethod
    def of(cls, sequences: list[np.ndarray], target: np.ndarray | list[np.ndarray]) -> "Packed":
        """Pack a list of sequences; the target is an array of one a sequence, or a list of one array a sequence."""
        offsets = np.cumsum([0, *map(len, sequences)])
        per_step = isinstance(target, list)
        flat = np.concatenate(target) if isinstance(target, list) else target
        return cls(np.concatenate(sequences), offsets, flat, per_step)

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows, padded to the longest of them. Work O(B T)."""
        lengths, starts = self.lengths[rows], self._starts[rows]
        time = np.arange(lengths.max())
        real = time < lengths[:, None]
        even = bool(real.all())
        index = starts[:, None] + time
        if not even:
            index[~real] = 0
        inputs = _wide(self._steps[index])
        target = _wide(self._target[index] if self._per_step else self._target[rows])
        if not even:
            inputs[~real] = 0
            if self._per_step:
                target[~real] = IGNORED
        segment = None if even else torch.from_numpy(real.astype(np.int64))
        return Batch(torch.from_numpy(inputs), segment, torch.from_numpy(target), _numbers(rows))


class Arrays(Examples):
    """Sequences of one length.

    Args:
        inputs: (n, T) integer tokens or (n, T, C) values.
        target: (n,) or (n, T).
    """

    def __init__(self, inputs: np.ndarray, target: np.ndarray) -> None:
        if len(inputs) != len(target):
            raise ValueError(f"{len(target)} targets for {len(inputs)} examples")
        self.lengths = np.full(len(inputs), inputs.shape[1], dtype=np.int64)
        self._inputs, self._target = inputs, target

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows. Work O(B T)."""
        inputs, target = _wide(self._inputs[rows]), _wide(self._target[rows])
        return Batch(torch.from_numpy(inputs), None, torch.from_numpy(target), _numbers(rows))


class Windows(Examples):
    """Windows of one stream of tokens; the target of a step is the next token.

    The targets of windows do not overlap, and each token but the first is a target exactly once.

    Args:
        stream: (N,) integer tokens, N >= 2.
        length: targets of a window; the last may have fewer.
        context: tokens in front of these that are read and not asked for, as far as there are any: they give the first
            targets of a window something to be told from.
        shifts: seed of where windows begin in each epoch of training: other places each time, and up to two windows'
            tokens left out; None: at the stream's begin.
    """

    def __init__(self, stream: np.ndarray, length: int, context: int = 0, shifts: int | None = None) -> None:
        if len(stream) < 2 or length < 1:
            raise ValueError(f"no window of {length} steps in {len(stream)} tokens; need at least 2 tokens and 1 step")
        if shifts is not None and len(stream) > 2 * length:
            stream_used = stream[: (len(stream) - 1) // length * length + 1 - length]
        else:
            stream_used, shifts = stream, None
        asked = np.arange(0, len(stream_used) - 1, length)
        self._starts = np.maximum(asked - context, 0)
        self._unasked = asked - self._starts
        self.lengths = np.minimum(asked + length, len(stream_used) - 1) - self._starts
        self._stream, self._used, self._length, self._context, self._shifts = (
            stream, stream_used, length, context, shifts,
        )  # fmt: skip

    def of_epoch(self, epoch: int) -> "Windows":
        """Return the windows as they begin in an epoch."""
        if self._shifts is None:
            return self
        offset = int(stream(self._shifts, epoch).random_raw(1)[0] % self._length)
        return Windows(self._stream[offset : offset + len(self._used)], self._length, self._context)

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows, padded to the longest of them. Work O(B T)."""
        lengths = self.lengths[rows]
        time = np.arange(lengths.max() + 1)
        index = self._starts[rows][:, None] + time
        real = time[:-1] < lengths[:, None]
        window = _wide(self._stream[np.minimum(index, len(self._stream) - 1)])
        inputs, target = np.ascontiguousarray(window[:, :-1]), np.ascontiguousarray(window[:, 1:])
        if self._context:
            target[time[:-1] < self._unasked[rows][:, None]] = IGNORED
        if real.all():
            return Batch(torch.from_numpy(inputs), None, torch.from_numpy(target), _numbers(rows))
        inputs, target = np.where(real, inputs, 0), np.where(real, target, IGNORED)
        segment = torch.from_numpy(real.astype(np.int64))
        return Batch(torch.from_numpy(inputs), segment, torch.from_numpy(target), _numbers(rows))


class Selected(Examples):
    """Some rows of another split, numbered anew."""

    def __init__(self, source: Examples, rows: np.ndarray) -> None:
        self.lengths = source.lengths[rows]
        self._source, self._rows = source, np.asarray(rows)

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows of the source."""
        return self._source.batch(self._rows[rows])._replace(rows=_numbers(rows))

    def of_epoch(self, epoch: int) -> "Selected":
        """Return the same rows of the source as training reads it in an epoch."""
        return Selected(self._source.of_epoch(epoch), self._rows)


class Order:
    """The order of training: which rows make batch `index` of an epoch, a pure function of (seed, epoch, index).

    Nothing is dropped: every row comes once an epoch, in ceil(n / batch_size) batches of which one may be smaller.
    With `bucket` and sequences of different lengths, rows are shuffled, cut into pools of 64 batches, sorted by length
    within a pool and cut into batches, which are shuffled: little padding, and still random.

    Args:
        lengths: (n,) steps of each example.
        batch_size: rows of a batch.
        seed: any integer >= 0.
        bucket: whether batches hold rows of like length.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, bucket: bool = True) -> None:
        if len(lengths) == 0 or batch_size < 1:
            raise ValueError(f"cannot order {len(lengths)} rows in batches of {batch_size}; both must be at least 1")
        self.batch_size, self.seed = batch_size, seed
        self.steps_per_epoch = -(-len(lengths) // batch_size)
        self._lengths = lengths
        self._bucket = bucket and bool(np.any(lengths != lengths[0]))
        self._cached: tuple[int, np.ndarray, np.ndarray] | None = None

    def rows(self, epoch: int, index: int) -> np.ndarray:
        """Return the rows of a batch. An epoch's first call costs O(n log n), the others O(batch_size)."""
        if self._cached is None or self._cached[0] != epoch:
            self._cached = (epoch, *self._arrange(epoch))
        _, rows, batches = self._cached
        start = batches[index] * self.batch_size
        return rows[start : start + self.batch_size]

    def _arrange(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        words = stream(self.seed, epoch)
        rows = shuffled(words, len(self._lengths))
        if not self._bucket:
            return rows, np.arange(self.steps_per_epoch)
        pool = np.arange(len(rows)) // (self.batch_size * _POOL)
        rows = rows[np.lexsort((self._lengths[rows], pool))]
        return rows, shuffled(words, self.steps_per_epoch)


def stream(seed: int, number: int = 0, part: int = 0) -> np.random.Philox:
    """Return a source of random words, counter-based, that is a function of (seed, number, part) alone.

    Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3.

    Raises:
        ValueError: the seed is not in [0, 2**64).
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed = {seed}; must be an integer from 0 to 2**64 - 1")
    counter = np.array([0, 0, 0, part], dtype=np.uint64)  # parts are 2**192 words apart
    return np.random.Philox(counter=counter, key=np.array([seed, number], dtype=np.uint64))


def shuffled(words: np.random.Philox, n: int) -> np.ndarray:
    """Return a permutation of n from raw words alone, so that no change of NumPy's samplers can change an order."""
    return np.argsort(words.random_raw(n), kind="stable")


def _wide(array: np.ndarray) -> np.ndarray:
    # what torch computes with: int64 tokens and float32 values
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64, copy=False)


def _numbers(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(rows, dtype=np.int64))

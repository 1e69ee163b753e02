"""Pixels as sequences: a split of pictures or clips kept in bytes, which become steps of values when collated."""

from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch

from seqloom.data.batches import Batch, Examples, stream

_DRAWN = 1  # part of the random stream that shifts are of; the order of training is part 0


class View(NamedTuple):
    """What a step is, and how pixels are standardised.

    Of pictures (H, W, C): "rows" are H steps of W C values, "pixels" H W steps of C, and "patches" of P x P pixels, row
    by row, H W / P^2 steps of P P C (Dosovitskiy et al. 2021, arXiv 2010.11929). Of clips (F, H, W, C): "frames" are F
    steps of H W C values.
    """

    kind: Literal["rows", "pixels", "patches", "frames"]
    mean: np.ndarray  # (C,) of the training pixels, from 0 to 255
    deviation: np.ndarray  # (C,)
    patch: int = 1  # pixels a side

    @classmethod
    def learnt(cls, kind: Any, pixels: np.ndarray, rows: np.ndarray, patch: int = 1) -> Self:
        """Return the view standardised by the training rows of pixels (n, ..., C); in float64, a part at a time."""
        total, squares, count = np.zeros(pixels.shape[-1]), np.zeros(pixels.shape[-1]), 0
        for start in range(0, len(rows), 1024):
            part = pixels[rows[start : start + 1024]].reshape(-1, pixels.shape[-1]).astype(np.float64)
            total, squares, count = total + part.sum(axis=0), squares + (part * part).sum(axis=0), count + len(part)
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        return cls(kind, mean, np.where(deviation > 1e-3, deviation, 1.0), patch)

    def steps(self, pixels: np.ndarray) -> np.ndarray:
        """Return values (B, T, C') of pixels (B, H, W, C), or (B, F, H, W, C) for frames, float32."""
        x = (pixels.astype(np.float32) - self.mean.astype(np.float32)) / self.deviation.astype(np.float32)
        b, h, w, c = x.shape[0], *x.shape[-3:]
        if self.kind == "frames":
            return x.reshape(b, x.shape[1], h * w * c)
        if self.kind == "rows":
            return x.reshape(b, h, w * c)
        p = self.patch if self.kind == "patches" else 1
        tiles = x.reshape(b, h // p, p, w // p, p, c).transpose(0, 1, 3, 2, 4, 5)
        return np.ascontiguousarray(tiles.reshape(b, (h // p) * (w // p), p * p * c))


class Pixels(Examples):
    """Pictures (n, H, W, C) or clips (n, F, H, W, C) in bytes.

    Args:
        pixels: the bytes; nothing is copied.
        target: (n,) classes.
        view: makes steps of them.
        shift: pixels by which each is moved in training, up, down, left or right at most, drawn anew each epoch; the
            border is repeated. A clip is moved whole.
        seed: of the shifts.
    """

    def __init__(self, pixels: np.ndarray, target: np.ndarray, view: View, shift: int = 0, seed: int = 0) -> None:
        self._pixels, self._target, self._view, self._shift, self._seed = pixels, target, view, shift, seed
        self._moves: np.ndarray | None = None  # (n, 2) of an epoch, from 0 to 2 * shift
        self.lengths = np.full(len(pixels), view.steps(pixels[:1]).shape[1], dtype=np.int64)

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows. Work O(pixels of them)."""
        pixels = self._pixels[rows]
        if self._moves is not None:
            pixels = moved(pixels, self._moves[rows], self._shift)
        steps = torch.from_numpy(self._view.steps(pixels))
        target = torch.from_numpy(self._target[rows].astype(np.int64))
        return Batch(steps, None, target, torch.from_numpy(np.array(rows, dtype=np.int64)))

    def of_epoch(self, epoch: int) -> "Pixels":
        """Return the pictures moved as training sees them in an epoch, a function of (seed, epoch) alone."""
        if not self._shift:
            return self
        found = Pixels(self._pixels, self._target, self._view, self._shift, self._seed)
        words = stream(self._seed, epoch, _DRAWN).random_raw(2 * len(self._pixels))
        found._moves = (words % (2 * self._shift + 1)).astype(np.int64).reshape(-1, 2)
        return found


def moved(pixels: np.ndarray, moves: np.ndarray, shift: int) -> np.ndarray:
    """Return pixels (B, ..., H, W, C) moved by `shift` less moves (B, 2) down and right; the border is repeated."""
    h, w = pixels.shape[-3:-1]
    rows = (moves[:, :1] - shift + np.arange(h)).clip(0, h - 1)
    columns = (moves[:, 1:] - shift + np.arange(w)).clip(0, w - 1)
    lead = np.arange(len(pixels))[:, None, None]
    at = np.moveaxis(pixels, (-3, -2), (1, 2))  # height and width behind the batch
    return np.moveaxis(at[lead, rows[:, :, None], columns[:, None, :]], (1, 2), (-3, -2))

"""Moving pictures: a picture moves over a canvas in one of several directions; made as needed, never kept."""

import numpy as np
import torch

from seqloom.data.batches import Batch, Examples, stream

# by number: (down, right); the first four are along the sides
DIRECTIONS = {
    "up": (-1, 0),
    "down": (1, 0),
    "left": (0, -1),
    "right": (0, 1),
    "up-left": (-1, -1),
    "up-right": (-1, 1),
    "down-left": (1, -1),
    "down-right": (1, 1),
}
_DRAWN = 2  # first part of the random stream that clips are of; the order of training is part 0, shifts part 1
_DRAWS = 5  # random words of an example: picture, direction, speed, and where it begins


class Moving(Examples):
    """Clips of a picture that moves at an even speed; what leaves the canvas comes back at the other side.

    So no single frame tells the direction. After Moving MNIST (Srivastava et al. 2015, arXiv 1502.04681), where digits
    bounce instead.

    Args:
        pictures: (n, h, w) uint8, dark where nothing is.
        count: clips.
        frames: steps of each, at least 2.
        side: pixels a side of the canvas, at least h and w.
        directions: how many of DIRECTIONS, which are the classes.
        speed: pixels a frame, at most; at least 1.
        scale: (mean, deviation) of pixels, to standardise by.
        seed: of everything drawn, together with `part`, which tells splits apart.
        part: number of the split.
        anew: whether each epoch of training draws clips of its own.
    """

    def __init__(
        self,
        pictures: np.ndarray,
        count: int,
        frames: int,
        side: int,
        directions: int,
        speed: int,
        scale: tuple[float, float],
        seed: int,
        part: int,
        anew: bool = False,
        epoch: int = 0,
    ) -> None:
        self._settings = (pictures, count, frames, side, directions, speed, scale, seed, part, anew)
        self._pictures, self._frames, self._side, self._scale, self._anew = pictures, frames, side, scale, anew
        self.lengths = np.full(count, frames, dtype=np.int64)
        words = stream(seed, epoch, _DRAWN + part).random_raw(_DRAWS * count).reshape(count, _DRAWS) >> np.uint64(11)
        bounds = np.array([len(pictures), directions, speed, side, side], dtype=np.uint64)
        drawn = (words % bounds).astype(np.int64)  # a bias of 2^-40: far below what could be seen
        self.target = drawn[:, 1]  # (count,) numbers of directions
        self._picture, self._speed, self._start = drawn[:, 0], drawn[:, 2] + 1, drawn[:, 3:]

    def batch(self, rows: np.ndarray) -> Batch:
        """Draw clips (B, frames, side side) of rows. Work O(B frames side^2)."""
        pixels = self.pixels(rows).reshape(len(rows), self._frames, self._side**2)
        mean, deviation = self._scale
        inputs = torch.from_numpy((pixels.astype(np.float32) - np.float32(mean)) / np.float32(deviation))
        numbers = torch.from_numpy(np.array(rows, dtype=np.int64))
        return Batch(inputs, None, torch.from_numpy(self.target[rows]), numbers)

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """Return clips (B, frames, side, side) uint8."""
        pictures = self._pictures[self._picture[rows]]
        height, width = pictures.shape[1:]
        turns = np.array(list(DIRECTIONS.values()))[self.target[rows]] * self._speed[rows, None]
        corner = self._start[rows, None] + turns[:, None] * np.arange(self._frames)[:, None]  # (B, frames, 2)
        down = (corner[..., :1] + np.arange(height)) % self._side
        right = (corner[..., 1:] + np.arange(width)) % self._side
        canvas = np.zeros((len(rows), self._frames, self._side, self._side), dtype=np.uint8)
        clip, frame = np.ogrid[: len(rows), : self._frames]
        canvas[clip[..., None, None], frame[..., None, None], down[..., None], right[:, :, None]] = pictures[:, None]
        return canvas

    def of_epoch(self, epoch: int) -> "Moving":
        """Return the clips of an epoch: the same pictures, drawn anew, if that was asked for."""
        return Moving(*self._settings, epoch=epoch) if self._anew and epoch else self

"""Moving: in which direction does a handwritten digit move? Clips for models of video, made of pictures."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pydantic

from seqloom.data.idx import pictures_of_idx
from seqloom.data.images import coloured
from seqloom.data.moving import DIRECTIONS, Moving
from seqloom.data.pixels import View
from seqloom.data.source import handwritten_digits
from seqloom.data.splits import stratified
from seqloom.model.frontend_frames import Frames
from seqloom.model.head import Labels
from seqloom.tasks._classes import class_scorer
from seqloom.tasks._clips import clips_coding, clips_coding_of
from seqloom.tasks._labelled import without_copies
from seqloom.tasks._pixels import Encoding
from seqloom.tasks.task import Coding, Opened, Task

_ROOM = 1.5  # side of the canvas / side of the pictures
_HELD = 0.1  # share of the pictures that is held out, for validation and, unless given, for test


class MovingDigits(Task):
    """Clips of a digit that moves over a dark canvas at an even speed: up, down, left, right or, of 8, between?

    One example of frames=3 on a canvas of 4 x 4 pixels, of a "digit" of one pixel; its target is 3, "right":

        . . . .     . . . .     . . . .
        # . . .     . # . .     . . # .
        . . . .     . . . .     . . . .
        . . . .     . . . .     . . . .

    What leaves at one side comes back at the other, so that no single frame tells the direction. Digits are those of
    an idx file, such as MNIST's, or scikit-learn's. A digit of training is in no clip of validation or test; training
    draws clips of its digits anew each epoch.
    """

    metric: ClassVar[str] = "accuracy"
    better: ClassVar[str] = "higher"
    models: ClassVar[tuple[str, ...]] = ("cnn_lstm", "cnn_transformer", "gru", "transformer")
    source: ClassVar[tuple[str, ...]] = (
        "srivastava2015",
        "Srivastava, N. and Mansimov, E. and Salakhutdinov, R.",
        "Unsupervised Learning of Video Representations using LSTMs",
        "2015",
        "arXiv:1502.04681",
    )
    data: str | None = None  # idx file of pictures, also .gz; None: scikit-learn's digits
    test: str | None = None  # idx file of the pictures to test on; None: a tenth of the pictures
    directions: int = pydantic.Field(default=8, ge=4, le=8, multiple_of=4)  # 4: along the sides; 8: between them too
    frames: int = pydantic.Field(default=16, ge=2)  # steps
    side: int | None = pydantic.Field(default=None, gt=0)  # pixels of the canvas; None: half more than a picture
    speed: int = pydantic.Field(default=2, gt=0)  # pixels a frame, at most
    examples: int = pydantic.Field(default=10_000, ge=10)  # clips of an epoch; a tenth for validation, a fifth for test

    def open(self, seed: int = 0) -> Opened:
        """Read the pictures, split them, and draw what moves where.

        Raises:
            ValueError: files that are no pictures of one size, too few of them, a test file without data, a canvas that
                is too small, or a speed at which one direction looks like its opposite.
        """
        parts, copies = self._pictures(seed)
        height, width = parts[0].shape[1:]
        side = self.side if self.side is not None else round(_ROOM * max(height, width))
        if side < max(height, width):
            raise ValueError(
                f"side = {side} is too small for pictures of {height} x {width}: take {max(height, width)}"
            )
        if 2 * self.speed >= side:
            raise ValueError(f"speed = {self.speed} goes half around a canvas of {side} pixels: take {(side - 1) // 2}")
        scale = _scale(parts[0], side)
        train, validation, test = self._splits(parts, side, scale, seed)
        majority = int(np.bincount(train.target).argmax())
        labels = tuple(DIRECTIONS)[: self.directions]
        view = View("frames", np.array(scale[:1]), np.array(scale[1:]))
        encoding = Encoding("clips", labels, (self.frames, side, side, 1), view)
        return Opened(
            task=self,
            title=f"Direction of moving digits, {self.frames} frames of {side} x {side} pixels",
            train=train,
            validation=validation,
            test=test,
            frontend=Frames.of(side, side, 1),
            head=Labels(classes=self.directions, pool="mean"),
            causal=False,
            floor=float(np.mean(test.target == majority)),
            floor_of=f"always answering '{labels[majority]}', the most frequent in training",
            facts={
                "source": self.data or "scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits)",
                "test_source": self.test or "a tenth of the same pictures",
                "train": len(train),
                "validation": len(validation),
                "test": len(test),
                "pictures": [len(part) for part in parts],
                "duplicates_dropped": copies,
                "classes": self.directions,
                "frames": self.frames,
                "side": side,
            },
            labels=labels,
            defaults={"batch_size": 32, "learning_rate": 2e-3},
            parameters=250_000,
            coding=clips_coding_of(encoding),
            encoding=encoding.to_data(),
            scorer=class_scorer(self.directions),
        )

    def coding(self, encoding: Any) -> Coding:
        """Return the coding of clips of this shape."""
        return clips_coding(encoding)

    def _splits(self, parts: list[np.ndarray], side: int, scale: tuple[float, float], seed: int) -> list[Moving]:
        counts = (self.examples, max(self.examples // 10, 1), max(self.examples // 5, 1))
        return [
            Moving(
                pictures, count, self.frames, side, self.directions, self.speed, scale, seed, number, anew=number == 0
            )
            for number, (pictures, count) in enumerate(zip(parts, counts, strict=True))
        ]

    def _pictures(self, seed: int) -> tuple[list[np.ndarray], int]:
        """Return the pictures (n, H, W) of training, validation and test, and how many copies were left out."""
        if self.data is None and self.test is not None:
            raise ValueError(f"test = '{self.test}' without data: name the pictures to learn from too")
        if self.data is None:
            found = [(handwritten_digits()[0] * 15).astype(np.uint8)]  # of 0 to 16
        else:
            found = [_grey(path) for path in (self.data, self.test) if path is not None]
        if len({part.shape[1:] for part in found}) > 1:
            shapes = " and ".join(f"{part.shape[1]} x {part.shape[2]}" for part in found)
            raise ValueError(f"'{self.data}' and '{self.test}' hold pictures of {shapes}; they must be of one size")
        pictures = np.concatenate(found)
        kept, copies = without_copies([picture.tobytes() for picture in pictures], len(found[0]))
        learnt, given = kept[kept < len(found[0])], kept[kept >= len(found[0])]
        shares = (1 - _HELD, _HELD) if len(given) else (1 - 2 * _HELD, _HELD, _HELD)
        if len(learnt) < 2 * len(shares):
            raise ValueError(f"{len(learnt)} different pictures are too few to share out; give more")
        parts = [learnt[rows] for rows in stratified(np.zeros(len(learnt), dtype=np.int64), shares, seed)]
        return [pictures[rows] for rows in (*parts, *([given] if len(given) else []))], copies


def _scale(pictures: np.ndarray, side: int) -> tuple[float, float]:
    """Return mean and deviation of the pixels of a canvas with one of the pictures somewhere."""
    share = pictures[0].size / side**2  # of the canvas that a picture covers
    mean = float(pictures.mean()) * share
    chunks = (pictures[start : start + 1024].astype(np.int64) for start in range(0, len(pictures), 1024))
    square = sum(int((chunk * chunk).sum()) for chunk in chunks) / pictures.size * share
    return mean, (square - mean**2) ** 0.5


def _grey(path: str) -> np.ndarray:
    """Return pictures (n, H, W) of an idx file."""
    return coloured(pictures_of_idx(Path(path)), "grey")[..., 0]

"""Digits: scikit-learn's handwritten digits, read as sequences."""

from typing import ClassVar, Literal

import numpy as np

from seqloom.data.batches import Arrays
from seqloom.data.source import handwritten_digits
from seqloom.data.splits import stratified
from seqloom.model.frontend import Frontend, Patches, Values
from seqloom.model.head import Labels
from seqloom.tasks.task import Coding, Opened, Task

_PATCH = 2  # pixels a side


class Digits(Task):
    """Handwritten digits of 8 x 8 pixels, row by row, pixel by pixel or patch by patch: which digit is it?

    One example of view="rows", 8 steps of 8 values, before they are standardised; its target is 0:

        0  0  5 13  9  1  0  0
        0  0 13 15 10 15  5  0
        0  3 15  2  0 11  8  0
        0  4 12  0  0  8  8  0
        0  5  8  0  0  9  8  0
        0  4 11  0  1 12  7  0
        0  2 14  5 10 12  0  0
        0  0  6 13 10  0  0  0

    view="pixels" has 64 steps of one value; view="patches" also, in the order of 2 x 2 patches, which the frontend
    takes together: 16 steps for the backbone.
    """

    metric: ClassVar[str] = "accuracy"
    better: ClassVar[str] = "higher"
    share: ClassVar[float] = 0.75
    source: ClassVar[tuple[str, ...]] = (
        "alpaydin1998",
        "Alpaydin, E. and Kaynak, C.",
        "Optical Recognition of Handwritten Digits",
        "1998",
        "doi:10.24432/C50P49",
    )
    view: Literal["rows", "pixels", "patches"] = "rows"  # what a step is

    def open(self, seed: int = 0) -> Opened:
        """Read the digits, and split them 70 / 10 / 20 in each class."""
        images, labels = handwritten_digits()
        parts = stratified(labels, (0.7, 0.1, 0.2), seed)
        known = images[parts[0]]
        mean, deviation = known.mean(), known.std()
        inputs, frontend = _view((images - mean) / deviation, self.view)
        train, validation, test = (Arrays(inputs[rows], labels[rows]) for rows in parts)
        majority = np.bincount(labels[parts[0]]).argmax()
        return Opened(
            task=self,
            title=f"Handwritten digits by {self.view}",
            train=train,
            validation=validation,
            test=test,
            frontend=frontend,
            head=Labels(classes=10, pool="max", smoothing=0.1),
            causal=False,
            floor=float(np.mean(labels[parts[2]] == majority)),
            floor_of=f"always answering {majority}, the most frequent digit in training",
            facts={
                "source": "scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits)",
                "rows_in": len(labels),
                "rows_used": len(labels),
                "rows_rejected": 0,
                "train": len(train),
                "validation": len(validation),
                "test": len(test),
                "classes": 10,
                "length": int(inputs.shape[1]),
            },
            labels=tuple(str(digit) for digit in range(10)),
            defaults={"batch_size": 32, "learning_rate": 3e-3},
            coding=Coding(encode=lambda line: _view((_image(line) - mean) / deviation, self.view)[0][0]),
        )


def _image(line: str) -> np.ndarray:
    """Return (1, 8, 8) of a line of 64 grey values."""
    numbers = np.array([float(word) for word in line.replace(",", " ").split()], dtype=np.float32)
    if len(numbers) != 64 or not np.isfinite(numbers).all():
        raise ValueError(f"a digit is 64 numbers from 0 to 16, row by row; got {len(numbers)}")
    return numbers.reshape(1, 8, 8)


def _view(images: np.ndarray, view: str) -> tuple[np.ndarray, Frontend]:
    n, side = images.shape[:2]
    if view == "rows":
        return images, Values(channels=side)
    if view == "pixels":
        return images.reshape(n, -1, 1), Values(channels=1)
    tiles = images.reshape(n, side // _PATCH, _PATCH, side // _PATCH, _PATCH).transpose(0, 1, 3, 2, 4)
    return tiles.reshape(n, -1, 1), Patches(channels=1, size=_PATCH * _PATCH)

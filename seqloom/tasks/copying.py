"""Copying: say a string again, which a state of fixed size can hold up to some length only."""

from itertools import pairwise
from typing import ClassVar

import numpy as np
import pydantic

from seqloom.core.types import IGNORED
from seqloom.data.batches import Examples, Packed, stream
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.tasks.task import Opened, Task

_SEPARATOR = 0
_EVALUATED = 1_000  # examples of validation, and of test


class Copying(Task):
    """Copy a string: symbols, a separator, then the same symbols again, each given once it was to be said.

    Tokens: 0 separator, symbols 1 ... V - 1. Strings of training and validation have length / 2 to `length` symbols,
    those of test `test_length`, and no two begin with the same length / 2 symbols. Only the copy is scored. One example
    of a string of 4 symbols:

        inputs    5  2  2  7  0  5  2  2
        target    .  .  .  .  5  2  2  7

    Source: Jelassi et al. 2024, arXiv 2402.01032. `recall` has the older form, variant="copy", in which a string of one
    length is held over blanks.
    """

    source: ClassVar[tuple[str, ...]] = (
        "jelassi2024",
        "Jelassi, S. and others",
        "Repeat After Me: Transformers are Better than State Space Models at Copying",
        "2024",
        "arXiv:2402.01032",
    )
    length: int = pydantic.Field(default=16, gt=1)  # symbols of the longest string of training
    test_length: int | None = pydantic.Field(default=None, gt=0)  # symbols of a test string; None: 2 length
    vocabulary: int = pydantic.Field(default=32, gt=2)  # tokens in all
    examples: int = pydantic.Field(default=20_000, gt=0)  # of training

    def open(self, seed: int = 0) -> Opened:
        """Generate the examples.

        Raises:
            ValueError: `test_length` is below `length`, or there are fewer different strings than are asked for.
        """
        longest = 2 * self.length if self.test_length is None else self.test_length
        if longest < self.length:
            raise ValueError(f"test_length = {longest} is below length = {self.length}; set it to at least that")
        n = self.examples + 2 * _EVALUATED
        strings = self._strings(longest, n, seed)
        shortest = self.length // 2
        sizes = shortest + (stream(seed, 1).random_raw(n) % np.uint64(self.length - shortest + 1)).astype(np.int64)
        # those of training come last, so that validation and test stay the same whatever their number
        (a, b), (c, d), (e, f) = pairwise((0, _EVALUATED, 2 * _EVALUATED, n))
        sizes[c:d] = longest
        return Opened(
            task=self,
            title=f"Copying up to {self.length} symbols, tested on {longest}",
            train=_examples(strings[e:f], sizes[e:f]),
            validation=_examples(strings[a:b], sizes[a:b]),
            test=_examples(strings[c:d], sizes[c:d]),
            frontend=Tokens(vocabulary=self.vocabulary),
            head=NextToken(vocabulary=self.vocabulary),
            causal=True,
            floor=1 / (self.vocabulary - 1),
            floor_of="naming any one symbol",
            facts={
                "source": f"generated from seed {seed}",
                "train": self.examples,
                "validation": _EVALUATED,
                "test": _EVALUATED,
                "length": self.length,
                "test_length": longest,
                "vocabulary": self.vocabulary,
            },
            defaults={"batch_size": 32, "learning_rate": 3e-3},
            architecture={"expand": 1.0},  # mixing along time is what is learned: there the parameters belong
        )

    def _strings(self, symbols: int, n: int, seed: int) -> np.ndarray:
        """Return (n, symbols); strings whose shortest cut is that of an earlier one are left out."""
        drawn = 2 * n
        words = stream(seed).random_raw(drawn * symbols)
        strings = 1 + (words % np.uint64(self.vocabulary - 1)).astype(np.int32).reshape(drawn, symbols)
        first = np.sort(np.unique(strings[:, : self.length // 2], axis=0, return_index=True)[1])
        if len(first) < n:
            raise ValueError(
                f"length = {self.length} and vocabulary = {self.vocabulary} gave {len(first)} different strings of the "
                f"{n} that are needed; set a larger length or vocabulary, or ask for fewer examples"
            )
        return strings[first[:n]]


def _examples(strings: np.ndarray, sizes: np.ndarray) -> Examples:
    """Return strings, cut to their sizes, with their copies behind them."""
    inputs: list[np.ndarray] = []
    target: list[np.ndarray] = []
    for row, size in zip(strings, sizes, strict=True):
        string = row[:size]
        inputs.append(np.concatenate([string, [_SEPARATOR], string[:-1]]))
        target.append(np.concatenate([np.full(size, IGNORED), string]))
    return Packed.of(inputs, target)

"""Recall: generated problems where recurrence and attention differ, by how much a state must hold and for how long."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pydantic

from seqloom.core.types import IGNORED
from seqloom.data.batches import Arrays, stream
from seqloom.model.frontend import Frontend, Tokens, Values
from seqloom.model.head import Head, NextToken, Number
from seqloom.tasks.task import Opened, Task

_SIGNAL = 1  # copy: now say the symbols; 0 is the blank
_EVALUATED = 1_000  # examples of validation, and of test
_BLOCK = 4_000  # examples generated at a time


class Recall(Task):
    """Multi-query associative recall, and the copying and the adding problem: generated, the same for a seed.

    recall: `pairs` keys with a value each, then every key once more, in any order; the answer to a key is its value.
    The keys of a row differ, and so do its values. Tokens: 0 blank, keys 1 ... V/2 - 1, values V/2 ... V - 1. With
    length > 3 pairs, blanks stand between the queries. One example of pairs=3, vocabulary=16, length=10:

        inputs    5  11   2   8   7  14   2   0   7   5
        target    .   .   .   .   .   .   8   .  14  11

    copy: `pairs` symbols 2 ... V - 1, blanks, a signal 1, then the symbols are to be said again in order. One example
    of pairs=3, length=10:

        inputs    4   9   2   0   0   0   1   0   0   0
        target    .   .   .   .   .   .   .   4   9   2

    adding: a number in [0, 1) at each step and a mark on two of them, one in each half; the target is the sum of the
    two. One example of length=4:

        inputs    (0.31, 0)  (0.70, 1)  (0.05, 1)  (0.94, 0)
        target    0.75

    Sources: Arora et al. 2023, arXiv 2312.04927 (recall; there the distances of the queries follow a power law);
    Hochreiter and Schmidhuber 1997, Neural Computation 9(8) (adding; copying in the form of arXiv 1511.06464).
    """

    share: ClassVar[float] = 1.25
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "arora2023",
            "Arora, S. and others",
            "Zoology: Measuring and Improving Recall in Efficient Language Models",
            "2023",
            "arXiv:2312.04927",
        ),
        (
            "hochreiter1997",
            "Hochreiter, S. and Schmidhuber, J.",
            "Long Short-Term Memory",
            "1997",
            "doi:10.1162/neco.1997.9.8.1735",
        ),
    )
    variant: Literal["recall", "copy", "adding"] = "recall"  # which problem
    pairs: int | None = pydantic.Field(default=None, gt=0)  # key-value pairs, or symbols; None: 7, or 10 for copy
    length: int | None = pydantic.Field(default=None, gt=1)  # steps of an example; None: 3 pairs, or 100
    vocabulary: int | None = pydantic.Field(default=None, gt=3)  # tokens in all; None: 4 pairs, or 10 for copy
    examples: int = pydantic.Field(default=40_000, gt=0)  # of training

    @property
    def metric(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the deciding score: accuracy over the queries; of adding, the mean squared error."""
        return "mse" if self.variant == "adding" else "accuracy"

    @property
    def better(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return "higher" or "lower"."""
        return "lower" if self.variant == "adding" else "higher"

    def open(self, seed: int = 0) -> Opened:
        """Generate the examples; those of validation and test are none of the training's.

        Raises:
            ValueError: a setting that the variant does not have, that does not fit the others, or that leaves fewer
                different examples than are asked for.
        """
        problem = {"recall": self._recall, "copy": self._copy, "adding": self._adding}[self.variant]()
        n = self.examples + 2 * _EVALUATED
        inputs, target = _distinct(problem, n, seed)
        # those of training come last, so that validation and test stay the same whatever their number
        bounds = (0, _EVALUATED, 2 * _EVALUATED, n)
        validation, test, train = (Arrays(inputs[a:b], target[a:b]) for a, b in pairwise(bounds))
        return Opened(
            task=self,
            title=problem.title,
            train=train,
            validation=validation,
            test=test,
            frontend=problem.frontend,
            head=problem.head,
            causal=True,
            floor=problem.floor,
            floor_of=problem.floor_of,
            facts={
                "source": f"generated from seed {seed}",
                "train": self.examples,
                "validation": _EVALUATED,
                "test": _EVALUATED,
                "length": inputs.shape[1],
                **problem.facts,
            },
            defaults={"batch_size": 32, "learning_rate": 3e-3},
            architecture={"expand": 1.0},  # mixing along time is what is learned: there the parameters belong
        )

    def _recall(self) -> "_Problem":
        pairs = self.pairs or 7
        vocabulary = self.vocabulary or 4 * pairs
        length = self.length or 3 * pairs
        n_keys, n_values = vocabulary // 2 - 1, vocabulary - vocabulary // 2
        if n_keys < pairs:
            raise ValueError(
                f"vocabulary = {vocabulary} gives {n_keys} keys, too few for {pairs} pairs of different keys; "
                f"set vocabulary to at least {2 * pairs + 2}"
            )
        if length < 3 * pairs:
            raise ValueError(
                f"length = {length} is too short for {pairs} pairs and their {pairs} queries; "
                f"set length to at least {3 * pairs}, or take fewer pairs"
            )

        def generate(words: np.random.Philox, n: int) -> tuple[np.ndarray, np.ndarray]:
            inputs = np.zeros((n, length), dtype=np.int32)
            target = np.full((n, length), IGNORED, dtype=np.int32)
            keys = inputs[:, 0 : 2 * pairs : 2] = 1 + _some(words, n, n_keys, pairs)
            values = inputs[:, 1 : 2 * pairs : 2] = vocabulary // 2 + _some(words, n, n_values, pairs)
            places = 2 * pairs + np.sort(_some(words, n, length - 2 * pairs, pairs), axis=1)
            asked = _some(words, n, pairs, pairs)
            np.put_along_axis(inputs, places, np.take_along_axis(keys, asked, axis=1), axis=1)
            np.put_along_axis(target, places, np.take_along_axis(values, asked, axis=1), axis=1)
            return inputs, target

        return _Problem(
            generate=generate,
            title=f"Associative recall, {pairs} pairs",
            frontend=Tokens(vocabulary=vocabulary),
            head=NextToken(vocabulary=vocabulary),
            floor=1 / pairs,
            floor_of="naming any one of the row's own values",
            facts={"pairs": pairs, "vocabulary": vocabulary, "queries": pairs, "chance": 1 / n_values},
        )

    def _copy(self) -> "_Problem":
        pairs = self.pairs or 10
        vocabulary = self.vocabulary or 10
        length = self.length or 100
        if length < 2 * pairs + 1:
            raise ValueError(
                f"length = {length} is too short to hold {pairs} symbols, a signal and {pairs} answers; "
                f"set length to at least {2 * pairs + 1}"
            )

        def generate(words: np.random.Philox, n: int) -> tuple[np.ndarray, np.ndarray]:
            inputs = np.zeros((n, length), dtype=np.int32)
            target = np.full((n, length), IGNORED, dtype=np.int32)
            inputs[:, :pairs] = 2 + np.floor(_uniform(words, n, pairs) * (vocabulary - 2)).astype(np.int32)
            inputs[:, -pairs - 1] = _SIGNAL
            target[:, -pairs:] = inputs[:, :pairs]
            return inputs, target

        return _Problem(
            generate=generate,
            title=f"Copying, {pairs} symbols over {length - 2 * pairs} steps",
            frontend=Tokens(vocabulary=vocabulary),
            head=NextToken(vocabulary=vocabulary),
            floor=1 / (vocabulary - 2),
            floor_of="naming any one symbol",
            facts={"symbols": pairs, "vocabulary": vocabulary, "steps_to_hold": length - pairs},
        )

    def _adding(self) -> "_Problem":
        for name in ("pairs", "vocabulary"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} = {getattr(self, name)}: variant 'adding' has no {name}; leave it out")
        length = self.length or 100

        def generate(words: np.random.Philox, n: int) -> tuple[np.ndarray, np.ndarray]:
            inputs = np.zeros((n, length, 2), dtype=np.float32)
            inputs[:, :, 0] = numbers = _uniform(words, n, length).astype(np.float32)
            rows, half = np.arange(n), length // 2
            first = np.floor(_uniform(words, n) * half).astype(np.int64)
            second = half + np.floor(_uniform(words, n) * (length - half)).astype(np.int64)
            inputs[rows, first, 1] = inputs[rows, second, 1] = 1
            return inputs, numbers[rows, first] + numbers[rows, second]

        return _Problem(
            generate=generate,
            title=f"Adding, two numbers of {length}",
            frontend=Values(channels=2),
            head=Number(),
            floor=1 / 6,  # the variance of the sum of two uniform numbers
            floor_of="always answering 1",
            facts={"channels": 2},
        )


class _Problem(NamedTuple):
    """One variant with its sizes settled."""

    generate: Callable[[np.random.Philox, int], tuple[np.ndarray, np.ndarray]]  # n examples: inputs and targets
    title: str
    frontend: Frontend
    head: Head
    floor: float  # expected, not measured: the test examples' own score differs by chance
    floor_of: str
    facts: dict[str, Any]


def _distinct(problem: _Problem, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first n examples with different inputs; how many are asked for changes none of them."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    first = np.empty(0, dtype=np.int64)
    for times in (1, 2, 4):
        while len(parts) < times * -(-n // _BLOCK):
            parts.append(problem.generate(stream(seed, len(parts)), _BLOCK))
        inputs, target = (np.concatenate(part) for part in zip(*parts, strict=True))
        # rows are told apart by a 64-bit hash: quick to sort, and a collision would but cost one example
        rows = inputs.reshape(len(inputs), -1).view(np.uint32)
        hashes = rows.astype(np.uint64) @ (stream(0).random_raw(rows.shape[1]) | np.uint64(1))
        first = np.sort(np.unique(hashes, return_index=True)[1])
        if len(first) >= n:
            return inputs[first[:n]], target[first[:n]]
    raise ValueError(
        f"found {len(first)} different examples, too few for {n - 2 * _EVALUATED} of training and "
        f"{2 * _EVALUATED} others; ask for fewer examples, or for more pairs or a larger vocabulary"
    )


def _uniform(words: np.random.Philox, *shape: int) -> np.ndarray:
    # from raw words alone, so that no change of NumPy's samplers can change an example
    return (words.random_raw(int(np.prod(shape))) >> np.uint64(11)).reshape(shape) * 2.0**-53


def _some(words: np.random.Philox, n: int, many: int, k: int) -> np.ndarray:
    """Return k different numbers below `many`, in any order, for each of n rows."""
    return np.argsort(_uniform(words, n, many), axis=1, kind="stable")[:, :k].astype(np.int32)

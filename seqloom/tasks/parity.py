"""Parity: follow a state that every symbol changes; trained on short rows, tested on longer ones."""

from itertools import pairwise, permutations
from typing import ClassVar, Literal

import numpy as np
import pydantic

from seqloom.data.batches import Arrays, stream
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.tasks.task import Opened, Task

_EVALUATED = 1_000  # examples of validation, and of test


class Parity(Task):
    """State tracking: the parity of the bits so far, or the product of the permutations so far, at every step.

    Tokens are the elements of a group, of which 0 changes nothing; the target is their running product. z2: a bit and
    the running parity; s3: the six permutations of three things; a5: the sixty even permutations of five, whose word
    problem is complete for NC1. Training and validation rows have `length` steps, test rows `test_length`, and no two
    rows begin with the same `length` steps. One example of group="z2", length=8:

        inputs    1  0  1  1  0  0  1  0
        target    1  1  0  1  1  1  0  0

    Sources: Merrill, Petty and Sabharwal 2024, arXiv 2404.08819 (who tracks states); Hahn 2020, arXiv 1906.06755
    (parity and attention).
    """

    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "merrill2024",
            "Merrill, W. and Petty, J. and Sabharwal, A.",
            "The Illusion of State in State-Space Models",
            "2024",
            "arXiv:2404.08819",
        ),
        (
            "hahn2020",
            "Hahn, M.",
            "Theoretical Limitations of Self-Attention in Neural Sequence Models",
            "2020",
            "arXiv:1906.06755",
        ),
    )
    group: Literal["z2", "s3", "a5"] = "z2"  # bits, permutations of three, even permutations of five
    length: int = pydantic.Field(default=32, gt=0)  # steps of a row in training and validation
    test_length: int | None = pydantic.Field(default=None, gt=0)  # steps of a test row; None: 4 length
    examples: int = pydantic.Field(default=20_000, gt=0)  # of training

    def open(self, seed: int = 0) -> Opened:
        """Generate the examples.

        Raises:
            ValueError: `test_length` is below `length`, or there are fewer different rows than are asked for.
        """
        products = _products(self.group)
        longest = 4 * self.length if self.test_length is None else self.test_length
        if longest < self.length:
            raise ValueError(f"test_length = {longest} is below length = {self.length}; set it to at least that")
        inputs = self._inputs(len(products), longest, self.examples + 2 * _EVALUATED, seed)
        target = np.zeros_like(inputs)
        state = np.zeros(len(inputs), dtype=inputs.dtype)
        for step in range(longest):
            state = target[:, step] = products[state, inputs[:, step]]
        # those of training come last, so that validation and test stay the same whatever their number
        (a, b), (c, d), (e, f) = pairwise((0, _EVALUATED, 2 * _EVALUATED, len(inputs)))
        short = slice(self.length)
        return Opened(
            task=self,
            title=f"State tracking in {self.group.upper()}, {self.length} steps, tested on {longest}",
            train=Arrays(inputs[e:f, short], target[e:f, short]),
            validation=Arrays(inputs[a:b, short], target[a:b, short]),
            test=Arrays(inputs[c:d], target[c:d]),
            frontend=Tokens(vocabulary=len(products)),
            head=NextToken(vocabulary=len(products)),
            causal=True,
            floor=1 / len(products),
            floor_of="naming any one state",
            facts={
                "source": f"generated from seed {seed}",
                "train": self.examples,
                "validation": _EVALUATED,
                "test": _EVALUATED,
                "length": self.length,
                "test_length": longest,
                "states": len(products),
            },
            defaults={"batch_size": 32, "learning_rate": 3e-3},
            architecture={"expand": 1.0},
        )

    def _inputs(self, elements: int, steps: int, n: int, seed: int) -> np.ndarray:
        """Return (n, steps) elements; rows that begin like an earlier one are left out."""
        drawn = 2 * n
        words = stream(seed).random_raw(drawn * steps)
        rows = (words % np.uint64(elements)).astype(np.uint8).reshape(drawn, steps)
        first = np.sort(np.unique(rows[:, : self.length], axis=0, return_index=True)[1])
        if len(first) < n:
            raise ValueError(
                f"length = {self.length} gave {len(first)} different rows of the {n} that are needed; "
                "set a larger length, or ask for fewer examples"
            )
        return rows[first[:n]]


def _products(group: str) -> np.ndarray:
    """Return the group's table: products[a, b] is a followed by b; the identity is 0."""
    elements = list(permutations(range({"z2": 2, "s3": 3, "a5": 5}[group])))
    if group == "a5":
        elements = [p for p in elements if sum(x > y for i, x in enumerate(p) for y in p[i + 1 :]) % 2 == 0]
    number = {p: i for i, p in enumerate(elements)}
    return np.array([[number[tuple(b[i] for i in a)] for b in elements] for a in elements], dtype=np.uint8)

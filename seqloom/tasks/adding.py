"""Adding: two numbers of a long row are to be added, which takes a memory that is written twice and kept."""

from itertools import pairwise
from typing import ClassVar

import numpy as np
import pydantic

from seqloom.data.batches import Arrays, stream
from seqloom.model.frontend import Values
from seqloom.model.head import Number
from seqloom.tasks.task import Opened, Task

_EVALUATED = 1_000  # examples of validation, and of test


class Adding(Task):
    """The adding problem: a number in [0, 1) at each step, two of them marked, and their sum is the target.

    One marked step lies in each half of the row. One example of length=4:

        inputs    (0.31, 0)  (0.70, 1)  (0.05, 1)  (0.94, 0)
        target    0.75

    Sources: Hochreiter and Schmidhuber 1997, Neural Computation 9(8); with this range of numbers and a single target at
    the end, Le, Jaitly and Hinton 2015, arXiv 1504.00941.
    """

    metric: ClassVar[str] = "mse"
    better: ClassVar[str] = "lower"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "hochreiter1997",
            "Hochreiter, S. and Schmidhuber, J.",
            "Long Short-Term Memory",
            "1997",
            "doi:10.1162/neco.1997.9.8.1735",
        ),
        (
            "le2015",
            "Le, Q. V. and Jaitly, N. and Hinton, G. E.",
            "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units",
            "2015",
            "arXiv:1504.00941",
        ),
    )
    length: int = pydantic.Field(default=200, gt=1)  # steps of a row
    examples: int = pydantic.Field(default=10_000, gt=0)  # of training

    def open(self, seed: int = 0) -> Opened:
        """Generate the examples.

        Raises:
            ValueError: the seed is out of range.
        """
        n, rows, half = self.examples + 2 * _EVALUATED, np.arange(self.examples + 2 * _EVALUATED), self.length // 2
        inputs = np.zeros((n, self.length, 2), dtype=np.float32)
        inputs[:, :, 0] = (stream(seed).random_raw(n * self.length) >> np.uint64(40)).reshape(n, -1) * 2.0**-24
        first, second = stream(seed, 1).random_raw(2 * n).reshape(n, 2).T
        marked = first % np.uint64(half), half + second % np.uint64(self.length - half)
        target = np.zeros(n, dtype=np.float32)
        for step in marked:
            inputs[rows, step.astype(np.int64), 1] = 1
            target += inputs[rows, step.astype(np.int64), 0]
        # those of training come last, so that validation and test stay the same whatever their number
        bounds = pairwise((0, _EVALUATED, 2 * _EVALUATED, n))
        validation, test, train = (Arrays(inputs[a:b], target[a:b]) for a, b in bounds)
        return Opened(
            task=self,
            title=f"Adding two numbers of {self.length}",
            train=train,
            validation=validation,
            test=test,
            frontend=Values(channels=2),
            head=Number(),
            causal=True,
            floor=1 / 6,  # the variance of the sum of two uniform numbers
            floor_of="always answering 1",
            facts={
                "source": f"generated from seed {seed}",
                "train": self.examples,
                "validation": _EVALUATED,
                "test": _EVALUATED,
                "length": self.length,
                "channels": 2,
            },
            defaults={"batch_size": 32, "learning_rate": 3e-3},
            architecture={"expand": 1.0},  # mixing along time is what is learned: there the parameters belong
        )

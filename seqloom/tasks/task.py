"""Task: source, encoding, head, metric and floor; what opening one gives; and how a model is scored on it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pydantic
import torch

from seqloom.core.spec import Spec, to_data
from seqloom.data.batches import Examples
from seqloom.model.frontend import Frontend
from seqloom.model.head import Head

Encode = Callable[[str], np.ndarray]  # one line of a user's -> inputs (T,) or (T, C)
Decode = Callable[[list[int]], str]  # tokens that were generated -> text


class Task(Spec, ABC):
    """What is to be learned, as a value; `open` reads or generates the examples."""

    folder: ClassVar[str | None] = "tasks"
    metric: ClassVar[str] = "accuracy"  # the score that decides
    better: ClassVar[str] = "higher"  # or "lower"
    share: ClassVar[float] = 1.0  # of the time when several tasks share a budget, relative to the others

    @abstractmethod
    def open(self, seed: int = 0) -> "Opened":
        """Read or generate the examples and split them; the same seed gives the same splits.

        Raises:
            ValueError: the input breaks a rule; the message names the value, the rule and the fix.
        """

    def coding(self, encoding: Any) -> tuple[Encode | None, Decode | None]:
        """Return encode and decode again from the `encoding` that `open` gave, without reading the examples.

        Raises:
            ValueError: the encoding is not one of this task's.
        """
        return None, None

    def like(self, encoding: Any) -> Self:
        """Return the task set to read its inputs by another's `encoding`; as it is where it has no such settings."""
        return self


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What of an opened task a trained model needs to be asked: all but the examples."""

    frontend: Frontend
    head: Head
    causal: bool
    labels: tuple[str, ...] = ()  # names of the classes
    encode: Encode | None = None  # None: numbers
    decode: Decode | None = None  # None: numbers
    encoding: Any = None  # JSON values of which `Task.coding` makes encode and decode; None: they need the examples

    def interface(self) -> dict[str, Any] | None:
        """Return JSON values for `restored`; None if encode and decode need the examples."""
        if self.encoding is None and (self.encode or self.decode):
            return None
        return {
            "frontend": to_data(self.frontend),
            "head": to_data(self.head),
            "causal": self.causal,
            "labels": list(self.labels),
            "encoding": self.encoding,
        }

    @classmethod
    def restored(cls, task: Task, data: dict[str, Any]) -> Self:
        """Return what `interface` wrote of a task.

        Raises:
            ValueError: these are not such values.
        """
        try:
            encoding = data["encoding"]
            encode, decode = task.coding(encoding) if encoding is not None else (None, None)
            return cls(
                frontend=pydantic.TypeAdapter(Frontend).validate_python(data["frontend"]),
                head=pydantic.TypeAdapter(Head).validate_python(data["head"]),
                causal=bool(data["causal"]),
                labels=tuple(data["labels"]),
                encode=encode,
                decode=decode,
                encoding=encoding,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no interface of a task: {error!r}") from None


@dataclass(frozen=True, kw_only=True)
class Opened(Interface):
    """A task with its examples at hand, and how to put a model to it."""

    task: Task
    title: str
    train: Examples
    validation: Examples
    test: Examples
    floor: float  # the trivial score on test, in the task's metric
    floor_of: str  # what reaches the floor, in words
    facts: dict[str, Any] = field(default_factory=dict)  # JSON values, for the report
    rejects: list[dict[str, Any]] = field(default_factory=list)  # {"line", "reason"} of each row not used
    defaults: dict[str, Any] = field(default_factory=dict)  # settings of the Optimizer that suit the task
    architecture: dict[str, Any] = field(default_factory=dict)  # settings of the Architecture that suit the task
    parameters: int = 100_000  # of a model that suits the task, token table aside

    @property
    def metric(self) -> str:
        """Return the name of the score that decides."""
        return self.task.metric

    @property
    def better(self) -> str:
        """Return "higher" or "lower"."""
        return self.task.better

    def account(self) -> dict[str, Any]:
        """Return what became of the rows of the user's tables; nothing for other sources. JSON values."""
        counts = {name: self.facts[name] for name in ("rows_in", "rows_used", "rows_rejected") if name in self.facts}
        return {**counts, "rejects": self.rejects} if counts else {}


@dataclass(frozen=True)
class Scores:
    """Metrics as ratios of sums, kept by example: they merge exactly, in any order, and can be bootstrapped."""

    numerators: dict[str, np.ndarray]  # metric -> (n,) float64
    denominators: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.numerators.values()))) if self.numerators else 0

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the names of the metrics."""
        return tuple(self.numerators)

    def value(self, metric: str) -> float:
        """Return sum of numerators / sum of denominators, each summed exactly.

        Raises:
            ValueError: no such metric, or nothing was scored.
        """
        if metric not in self.numerators:
            raise ValueError(f"no metric '{metric}' among {', '.join(self.numerators) or 'none'}")
        denominator = math.fsum(self.denominators[metric])
        if denominator == 0:
            raise ValueError(f"'{metric}' is of nothing: no target was scored")
        return _sum(self.numerators[metric]) / denominator

    def values(self) -> dict[str, float]:
        """Return every metric's value."""
        return {metric: self.value(metric) for metric in self.numerators}

    def merge(self, other: "Scores") -> "Scores":
        """Return the scores of both sets of examples."""
        if set(self.numerators) != set(other.numerators):
            raise ValueError(f"cannot merge scores of {sorted(self.numerators)} with {sorted(other.numerators)}")
        return Scores(
            {name: np.concatenate([part, other.numerators[name]]) for name, part in self.numerators.items()},
            {name: np.concatenate([part, other.denominators[name]]) for name, part in self.denominators.items()},
        )


def _sum(values: np.ndarray) -> float:
    # fsum refuses inf - inf, where the honest answer is NaN
    if np.isfinite(values).all():
        return math.fsum(values)
    with np.errstate(invalid="ignore"):
        return float(np.sum(values))


def evaluate(model: Any, examples: Examples, batch_size: int = 64, limit: int | None = None) -> Scores:
    """Score a model on a split, without gradients and in evaluation mode, which is undone afterwards.

    Rows are batched by length, and the scores stand in the examples' order, so that two models' scores are paired.

    Args:
        model: a Model; called as model(inputs, segment=segment), its head scores each row.
        examples: n of them.
        batch_size: rows at a time; changes the clock and the memory, not the scores.
        limit: score this many, the same ones each time, spread over the split; None: all.

    Returns:
        Scores of min(n, limit) examples.
    """
    rows = sample_rows(len(examples), limit)
    order = np.argsort(examples.lengths[rows], kind="stable")
    kept: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(rows), batch_size):
                at = order[start : start + batch_size]
                batch = examples.batch(rows[at]).to(device)
                output, _ = model(batch.inputs, segment=batch.segment)
                for name, parts in model.head.scores(output, batch.target).items():
                    into = kept.setdefault(name, (np.zeros(len(rows)), np.zeros(len(rows))))
                    for column, part in zip(into, parts, strict=True):
                        column[at] = part.double().cpu().numpy()
    finally:
        for module, mode in modes:
            module.training = mode
    return Scores(
        {name: above for name, (above, _) in kept.items()}, {name: below for name, (_, below) in kept.items()}
    )


def sample_rows(n: int, limit: int | None) -> np.ndarray:
    """Return `limit` of n rows, ascending, evenly spread; all of them if there are no more."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; score at least 1 example")
    if limit is None or limit >= n:
        return np.arange(n)
    return np.arange(limit) * n // limit

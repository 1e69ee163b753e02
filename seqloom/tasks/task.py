"""Task: source, encoding, head, metric and floor; what opening one gives; and how a model is scored on it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import pydantic
import torch
from torch import Tensor

from seqloom.core.spec import Spec, to_data
from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch, Examples
from seqloom.data.records import Reject
from seqloom.measure.scores import Scores
from seqloom.measure.statistics import Formula
from seqloom.model.frontend import Frontend
from seqloom.model.head import Head

Encode = Callable[[str], np.ndarray]  # one line of a user's -> inputs (T,) or (T, C)
Decode = Callable[[list[int]], str]  # tokens that were generated -> text
Answers = Callable[[Any, Sequence[Any]], list[dict[str, Any]]]  # model, inputs of a user's -> JSON values of each
Items = Callable[[Path], Iterable[Any | Reject]]  # a user's file or folder -> inputs for `answers`, or why not
Judge = Callable[[Any, Batch, Tensor], Mapping[str, Tensor | np.ndarray]]  # model, batch, output -> metric: (B, k)


class Coding(NamedTuple):
    """How a user's inputs become a model's and its outputs become answers; None: as the head says, on numbers."""

    encode: Encode | None = None  # a line of text to inputs
    decode: Decode | None = None  # generated tokens to text
    answers: Answers | None = None  # instead of what the head says
    items: Items | None = None  # reads a file of inputs; None: one input a line


class Scorer(Protocol):
    """Scores a model on a split; `evaluate` is one."""

    def __call__(self, model: Any, examples: Examples, *, limit: int | None = None) -> Scores:
        """Return the scores of all examples, or of `limit` of them."""
        ...


class Watch(NamedTuple):
    """What training looks at on the validation split, to keep the best weights."""

    metric: str
    better: str  # "higher" or "lower"
    scorer: Scorer


class Task(Spec, ABC):
    """What is to be learned, as a value; `open` reads or generates the examples."""

    folder: ClassVar[str | None] = "tasks"
    metric: ClassVar[str] = "accuracy"  # the score that decides
    better: ClassVar[str] = "higher"  # or "lower"
    share: ClassVar[float] = 1.0  # of the time when several tasks share a budget, relative to the others
    models: ClassVar[tuple[str, ...]] = ()  # candidates of a comparison; (): those of any task

    @abstractmethod
    def open(self, seed: int = 0) -> "Opened":
        """Read or generate the examples and split them; the same seed gives the same splits.

        Raises:
            ValueError: the input breaks a rule; the message names the value, the rule and the fix.
        """

    def coding(self, encoding: Any) -> Coding:
        """Return the coding again from the `encoding` that `open` gave, without reading the examples.

        Raises:
            ValueError: the encoding is not one of this task's.
        """
        return Coding()

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
    source: Frontend | None = None  # of what the inputs are answers to, e.g. the text to translate; None: nothing
    coding: Coding = Coding()
    encoding: Any = None  # JSON values of which `Task.coding` makes the coding; None: it needs the examples

    def interface(self) -> dict[str, Any] | None:
        """Return JSON values for `restored`; None if the coding needs the examples."""
        if self.encoding is None and self.coding != Coding():
            return None
        return {
            "frontend": to_data(self.frontend),
            "source": to_data(self.source),
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
            return cls(
                frontend=pydantic.TypeAdapter(Frontend).validate_python(data["frontend"]),
                head=pydantic.TypeAdapter(Head).validate_python(data["head"]),
                causal=bool(data["causal"]),
                labels=tuple(data["labels"]),
                source=pydantic.TypeAdapter(Frontend | None).validate_python(data.get("source")),
                coding=task.coding(encoding) if encoding is not None else Coding(),
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
    decides: str | None = None  # the score that decides, where it depends on the task's settings
    scorer: Scorer | None = None  # None: the head's own scores
    detail: Callable[[Any, Examples], dict[str, Any]] | None = None  # of a model on a split, JSON; None: scores say all
    watch: Watch | None = None  # on the validation split; None: the metric that decides, by `scorer`

    def score(self, model: Any, examples: Examples, limit: int | None = None) -> Scores:
        """Score a model on a split of this task."""
        return (self.scorer or evaluate)(model, examples, limit=limit)

    @property
    def watching(self) -> Watch:
        """Return what training looks at on the validation split."""
        return self.watch or Watch(self.metric, self.better, self.scorer or evaluate)

    @property
    def metric(self) -> str:
        """Return the name of the score that decides."""
        return self.decides or self.task.metric

    @property
    def better(self) -> str:
        """Return "higher" or "lower"."""
        return self.task.better

    def account(self) -> dict[str, Any]:
        """Return what became of the rows of the user's tables; nothing for other sources. JSON values."""
        counts = {name: self.facts[name] for name in ("rows_in", "rows_used", "rows_rejected") if name in self.facts}
        return {**counts, "rejects": self.rejects} if counts else {}


def respond(model: Any, batch: Batch) -> Tensor:
    """Return a model's output for a batch, (B, ...) as its head gives it.

    A source is read by the model's encoder; a model without one reads source and inputs as one document.
    """
    if batch.source is None:
        return model(batch.inputs, segment=batch.segment)[0]
    if model.encoder is not None:
        memory = model.encode(batch.source, batch.source_segment)
        return model(batch.inputs, segment=batch.segment, memory=memory)[0]
    whole, segment, at = joined(batch)
    x = model.hidden(whole, segment=segment)[0]
    # the head answers at the inputs alone: over a large vocabulary it costs more than the rest
    return model.head(x.gather(1, at[..., None].expand(-1, -1, x.shape[2])), batch.segment, model.table)


def as_one(batch: Batch) -> Batch:
    """Return a batch whose inputs hold the source in front, as one document, with targets as they were."""
    if batch.source is None:
        return batch
    whole, segment, at = joined(batch)
    target = torch.full_like(whole, IGNORED)
    real = batch.target != IGNORED
    rows = torch.arange(len(whole), device=whole.device)[:, None].expand_as(at)
    target[rows[real], at[real]] = batch.target[real]
    return Batch(whole, segment, target, batch.rows)


def joined(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return source and inputs as one document a row, padded right: (tokens (B, <= S + T), segment, where inputs went).

    The last is (B, T): the step of each input, any step for padding.
    """
    assert batch.source is not None
    whole = torch.cat([batch.source, batch.inputs], dim=1)
    read, written = (
        segment != 0 if segment is not None else torch.ones_like(tokens, dtype=torch.bool)
        for tokens, segment in ((batch.source, batch.source_segment), (batch.inputs, batch.segment))
    )
    real = torch.cat([read, written], dim=1)
    order = (~real).to(torch.int8).argsort(dim=1, stable=True)[:, : int(real.sum(dim=1).max())]
    real = real.gather(1, order)
    whole = whole.gather(1, order).masked_fill(~real, 0)
    at = read.sum(dim=1, keepdim=True) + written.cumsum(dim=1) - 1
    return whole, real.long(), at.clamp(min=0)


def evaluate(
    model: Any,
    examples: Examples,
    batch_size: int = 64,
    limit: int | None = None,
    judge: Judge | None = None,
    formulas: Mapping[str, Formula] | None = None,
) -> Scores:
    """Score a model on a split, without gradients and in evaluation mode, which is undone afterwards.

    Rows are batched by length, and the scores stand in the examples' order, so that two models' scores are paired.

    Args:
        model: a Model; its head scores each row.
        examples: n of them.
        batch_size: rows at a time; changes the clock and the memory, not the scores.
        limit: score this many, the same ones each time, spread over the split; None: all.
        judge: scores each row instead of the head.
        formulas: of the judge's metrics that are no ratio of two sums.

    Returns:
        Scores of min(n, limit) examples.
    """
    rows = sample_rows(len(examples), limit)
    order = np.argsort(examples.lengths[rows], kind="stable")
    kept: dict[str, np.ndarray] = {}
    judge = judge or _by_head
    device = next(model.parameters()).device
    with judging(model):
        for start in range(0, len(rows), batch_size):
            at = order[start : start + batch_size]
            batch = examples.batch(rows[at]).to(device)
            for name, parts in judge(model, batch, respond(model, batch)).items():
                found = parts.double().cpu().numpy() if isinstance(parts, Tensor) else parts
                kept.setdefault(name, np.zeros((len(rows), found.shape[1])))[at] = found
    return Scores(kept, formulas or {})


def _by_head(model: Any, batch: Batch, output: Tensor) -> dict[str, Tensor]:
    return {name: torch.stack(parts, dim=-1) for name, parts in model.head.scores(output, batch.target).items()}


@contextmanager
def judging(model: Any) -> Iterator[None]:
    """Put a model in evaluation mode without gradients; each module's mode is put back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def sample_rows(n: int, limit: int | None) -> np.ndarray:
    """Return `limit` of n rows, ascending, evenly spread; all of them if there are no more."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; score at least 1 example")
    if limit is None or limit >= n:
        return np.arange(n)
    return np.arange(limit) * n // limit

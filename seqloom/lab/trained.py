"""A trained run, opened again: its experiment and its best weights; to be asked, and to be scored on its examples."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqloom.core import runtime
from seqloom.core.spec import resolve
from seqloom.data.inputs import read_lines
from seqloom.data.records import Reject
from seqloom.lab.decoding import Decoding, continued, possible
from seqloom.model.model import Model
from seqloom.tasks.task import Interface, Opened, judging
from seqloom.train.begin import best, put
from seqloom.train.directory import ENCODING, RUN, differences, read_encoding, read_record
from seqloom.train.experiment import Experiment
from seqloom.train.record import fingerprints

ANSWERS = 5  # likeliest classes shown of a prediction
_CHUNK = 32  # inputs answered at a time
_ALIKE = ("task", "model", "split", "metric", "better")  # scores of runs that differ in one have no mean
_SHOWN = 12  # trainings that a message names


@dataclass(frozen=True)
class Trained:
    """A model with its best weights, and what it was trained on."""

    experiment: Experiment
    interface: Interface
    model: Model
    step: int  # of the checkpoint
    notices: list[str]  # for the user: damage that was passed over
    data: dict[str, Any]  # fingerprints of the splits it was trained, validated and tested on

    def scores(self, split: str = "test") -> dict[str, Any]:
        """Score the model on "train", "validation" or "test"; JSON values.

        Raises:
            ValueError: the data are gone, or are not those of the run.
        """
        if split not in ("train", "validation", "test"):
            raise ValueError(f"unknown split '{split}'; take train, validation or test")
        opened = open_same(self.experiment, self.data)
        examples = getattr(opened, split)
        return {
            "task": self.experiment.task.name(),
            "model": self.experiment.model.name(),
            "split": split,
            "examples": len(examples),
            "step": self.step,
            "metric": opened.metric,
            "better": opened.better,
            "floor": opened.floor,
            "metrics": opened.score(self.model, examples).values(),
            **({"detail": opened.detail(self.model, examples)} if opened.detail is not None else {}),
        }

    @property
    def generates(self) -> bool:
        """Return whether an answer is what follows the input, and not a class or a number, or what the task makes."""
        return self.interface.head.kind == "next_token" and self.interface.coding.answers is None

    def items(self, path: Path) -> Iterable[Any]:
        """Return the inputs in a file or folder of a user's: as the task reads them, else one a line.

        Raises:
            ValueError: it cannot be read, or holds no input.
        """
        return (self.interface.coding.items or read_lines)(path)

    def told(self, path: Path, decoding: Decoding | None = None) -> Iterator[dict[str, Any]]:
        """Yield the answer to each input in a file or folder, in their order, as `answers` does.

        One that cannot be answered is told as {"error": why} in its place, with its "line" where the file has lines,
        and the others are answered.

        Raises:
            ValueError: the file cannot be read, or holds no input; or no input at all can be continued so.
        """
        if self.generates:
            possible(self.model, self.interface, decoding or Decoding())
        rest = iter(self.items(path))
        together = 1 if self.interface.coding.answers is None else _CHUNK  # one by one is told as it comes
        while chunk := list(islice(rest, together)):
            items = [item for item in chunk if not isinstance(item, Reject)]
            try:
                found = iter(list(self.answers(items, decoding)))
            except ValueError:
                found = map(partial(self._told, decoding), items)  # each by itself
            for item in chunk:
                yield _error(item, item.reason) if isinstance(item, Reject) else next(found)

    def _told(self, decoding: Decoding | None, item: Any) -> dict[str, Any]:
        try:
            (answer,) = self.answers([item], decoding)
        except ValueError as error:
            return _error(item, str(error))
        return answer

    def answers(self, items: Iterable[Any], decoding: Decoding | None = None) -> Iterator[dict[str, Any]]:
        """Yield the answer to each input, with the input where it is text or a file's name; JSON values.

        Raises:
            ValueError: an input is not what the task takes.
        """
        several = self.interface.coding.answers
        rest = iter(items)
        while chunk := list(islice(rest, 1 if several is None else _CHUNK)):
            if several is None:
                found = [self.answer(str(chunk[0]), decoding)]
            else:
                with judging(self.model):
                    found = several(self.model, chunk)
            for item, answer in zip(chunk, found, strict=True):
                yield {**_named(item), **answer}

    def answer(self, line: str, decoding: Decoding | None = None) -> dict[str, Any]:
        """Answer one line of input: the likeliest classes, a number, or what follows; JSON values.

        Raises:
            ValueError: the line is not what the task takes; or it cannot be continued, as `continued` says.
        """
        inputs = self._inputs(line)
        if self.generates:
            tokens, continuation = continued(self.model, self.interface, inputs, decoding or Decoding())
            return {"continuation": continuation, "tokens": tokens}
        with torch.no_grad():
            output = self.model(inputs)[0][0].float()
        if self.interface.head.kind == "number":
            return {"value": float(output)}
        chances = output.softmax(dim=-1)
        top = chances.topk(min(ANSWERS, len(chances)))
        labels = self.interface.labels
        names = [labels[i] if labels else str(i) for i in top.indices.tolist()]
        return {"label": names[0], "probabilities": dict(zip(names, top.values.tolist(), strict=True))}

    def _inputs(self, line: str) -> torch.Tensor:
        array = (self.interface.coding.encode or self._numbers)(line)
        if len(array) == 0:
            raise ValueError("the input is empty; give at least one step")
        dtype = torch.int64 if self.interface.frontend.kind == "tokens" else torch.float32
        return torch.tensor(array, dtype=dtype)[None].to(runtime.device())

    def _numbers(self, line: str) -> np.ndarray:
        words = line.replace(",", " ").split()
        frontend = self.interface.frontend
        try:
            if frontend.kind == "tokens":
                tokens = np.array([int(word) for word in words], dtype=np.int64)
                if ((tokens < 0) | (tokens >= frontend.vocabulary)).any():
                    raise ValueError(f"tokens are whole numbers from 0 to {frontend.vocabulary - 1}")
                return tokens
            if frontend.kind == "words":
                raise ValueError("its inputs are made by the task alone")
            return np.array([float(word) for word in words], dtype=np.float32).reshape(-1, frontend.channels)
        except ValueError as error:
            raise ValueError(f"'{line[:80]}' is not an input of {self.experiment.task.name()}: {error}") from None


def _named(item: Any) -> dict[str, str]:
    """Return what an input is called, if it is text or a file's name."""
    return {"input": str(item)} if isinstance(item, str | Path) else {}


def _error(item: Any, reason: str) -> dict[str, Any]:
    line = getattr(item, "line", 0)
    return {**_named(item), **({"line": line} if line else {}), "error": reason}


def runs_of(run: Path) -> list[Path]:
    """Return the runs in a directory: itself, or those that a recipe of several experiments numbered."""
    numbered = [path.parent for path in run.glob(f"[0-9]*/{RUN}") if path.parent.name.isdecimal()]
    return [run] if (run / RUN).exists() or not numbered else sorted(numbered, key=lambda path: int(path.name))


def mean_scores(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the scores of several runs have in common, and the means of their metrics and floors; JSON values.

    Runs of several tasks, models or metrics have no mean: {} and None. "examples" is how many were scored in all.
    """
    alike = {key: runs[0][key] for key in _ALIKE if all(each[key] == runs[0][key] for each in runs)}
    names = list(runs[0]["metrics"])
    fit = len(alike) == len(_ALIKE) and all(list(each["metrics"]) == names for each in runs)
    return {
        **alike,
        "examples": sum(each["examples"] for each in runs),
        "floor": float(np.mean([each["floor"] for each in runs])) if fit else None,
        "metrics": {name: float(np.mean([each["metrics"][name] for each in runs])) for name in names} if fit else {},
        "notices": [f"{each['run']}: {notice}" for each in runs for notice in each["notices"]],
    }


def load(run: Path) -> Trained:
    """Return the run in a directory, with the weights that were best on validation so far. The data are not read.

    Raises:
        ValueError: no run of `train` is there, or none of its checkpoints is whole; or it is of a task that keeps no
            encoding, and its data are gone or changed.
    """
    record = read_record(run)
    if "experiment" not in record:
        raise ValueError(f"'{run}' is a run of {record.get('verb', 'another verb')}, {_instead(run)}")
    experiment = resolve(Experiment, record["experiment"])
    weights, found = best(run)
    data = record.get("data", {})
    encoding = read_encoding(run)
    if encoding is None:
        interface = open_same(experiment, data)
    else:
        try:
            interface = Interface.restored(experiment.task, encoding)
        except ValueError as error:
            raise ValueError(f"'{run / ENCODING}' is not what a run writes: {error}") from None
    model = experiment.model_spec(interface).build(experiment.seed)
    put(model, weights, run)
    return Trained(experiment, interface, model.to(runtime.device()).eval(), found.step, found.notices, data)


def open_same(experiment: Experiment, data: dict[str, Any]) -> Opened:
    """Return an experiment's task, opened, if its splits have the fingerprints that a run wrote down.

    Raises:
        ValueError: the data are gone, or are not those of the run; the message names the splits that differ.
    """
    opened = experiment.task.open(experiment.data_seed)
    changed = differences(data, fingerprints(opened))
    if changed:
        raise ValueError(
            f"the data are not those that the run was trained on: {'; '.join(changed)}. Put them back as they were, "
            "or train on these"
        )
    return opened


def _instead(run: Path) -> str:
    trainings = [str(path.parent) for path in sorted(run.glob(f"*/*/{RUN}"))]
    if not trainings:
        return "which keeps no weights; name one of train"
    more = f" and {len(trainings) - _SHOWN} more" if len(trainings) > _SHOWN else ""
    return f"whose trainings are runs of their own; name one of these: {', '.join(trainings[:_SHOWN])}{more}"

"""What a run writes down: run.json, and rows of the ledger."""

import hashlib
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from seqloom.core import runtime
from seqloom.core.spec import to_data
from seqloom.data.batches import Examples
from seqloom.measure import machine
from seqloom.measure.ledger import Label, Ledger, Measurement, now
from seqloom.tasks.task import Opened
from seqloom.train.checkpoint import CheckpointError
from seqloom.train.experiment import Experiment
from seqloom.train.result import Course, Point, Result

SAME = ("experiment", "data")  # what must be equal for a run to be gone on with
_HASHED = 256  # examples collated at a time for a fingerprint, to bound memory
_UNITS = {"accuracy": "1", "loss": "nat", "mse": "1"}


def describe(experiment: Experiment, opened: Opened) -> dict[str, Any]:
    """Return the content of run.json."""
    return {
        "verb": "train",
        "command": shlex.join(["seqloom", *sys.argv[1:]]),
        "created": now(),
        "digest": experiment.digest(),
        "experiment": {name: value for name, value in to_data(experiment).items() if name != "plan"},
        "plan": to_data(experiment.plan),  # another one may go on with the run
        "launch": runtime.worker().launch,
        "data": fingerprints(opened),
        **opened.account(),
        "machine": {name: value for name, value in machine.describe(runtime.device()).facts().items() if value},
        "versions": machine.versions(),
    }


def fingerprints(opened: Opened) -> dict[str, dict[str, Any]]:
    """Return what tells the data of a run from others: the number and the fingerprint of each split's examples."""
    splits = {"train": opened.train, "validation": opened.validation, "test": opened.test}
    return {name: {"examples": len(split), "digest": fingerprint(split)} for name, split in splits.items()}


def fingerprint(examples: Examples) -> str:
    """Return 12 hexadecimal digits that change when any length, step or target of a split changes.

    Work O(steps): 25,000 texts of some 200 tokens take a tenth of a second.
    """
    words = hashlib.sha256(np.ascontiguousarray(examples.lengths, dtype="<i8").tobytes())
    rows = np.argsort(examples.lengths, kind="stable")  # rows of like length: little padding to hash
    for start in range(0, len(rows), _HASHED):
        batch = examples.batch(rows[start : start + _HASHED])
        for tensor in (batch.source, batch.inputs, batch.target):
            if tensor is not None:
                words.update(np.ascontiguousarray(tensor.numpy()).data)
    return words.hexdigest()[:12]


class Record:
    """Writes a run's rows to its ledger, each once however often the run is resumed; nothing without a ledger."""

    def __init__(self, experiment: Experiment, opened: Opened, labels: dict[str, Label]) -> None:
        self.labels: dict[str, Label] = {
            "task": experiment.task.name(),
            "model": experiment.model.name(),
            "family": experiment.model.family,
            "seed": experiment.seed,
            **({"plan": str(experiment.plan)} if experiment.plan.processes > 1 else {}),
            **labels,
        }
        self._digest = experiment.digest()
        self._machine = ""
        self._watched = opened.watching.metric
        self._ledger: Ledger | None = None

    def open(self, path: Path) -> list[str]:
        """Write to a ledger from now on; return notices of its damage."""
        self._machine = machine.describe(runtime.device()).digest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the damage becomes notices
            self._ledger = Ledger(path)
        return [f"'{path}', line {line}: {reason}; left out" for line, reason in self._ledger.damaged]

    def planned(self, course: Course) -> None:
        """Write how many steps a budget in seconds came to."""
        if course.planned is not None:
            self._write(
                [
                    self._row(
                        "planned_steps", course.planned, "count", probe_s=course.probe_s, threads=course.threads or 0
                    )
                ]
            )

    def point(self, point: Point) -> None:
        """Write a point of the learning curve."""
        at: dict[str, Label] = {"step": point.step, "train_s": point.train_s}
        self._write(
            [
                self._row("train_loss", point.train_loss, "nat", **at),
                self._row("validation", point.validation, unit_of(self._watched), **at),
            ]
        )

    def result(self, result: Result) -> None:
        """Write the result."""
        rows = [self._row(name, value, unit_of(name), split="test") for name, value in result.metrics.items()]
        rows += [
            self._row("parameters", result.parameters, "count"),
            self._row("steps", result.steps, "count"),
            self._row("train_s", result.train_s, "s"),
            self._row("time_to_quality_s", result.time_to_quality_s, "s"),
            self._row("peak_bytes", result.peak_bytes, "B"),
        ]
        self._write(rows)

    def _row(self, what: str, value: float | None, unit: str, **labels: Label) -> Measurement | None:
        if value is None or not np.isfinite(value):
            return None  # a ledger holds numbers alone
        about = {**self.labels, **labels}
        return Measurement(what=what, value=value, unit=unit, labels=about, spec=self._digest, machine=self._machine)

    def _write(self, rows: list[Measurement | None]) -> None:
        ledger = self._ledger
        if ledger is None:
            return
        new = [row for row in rows if row is not None and not ledger.select(row.what, **_identity(row))]
        try:
            ledger.extend(new)
        except OSError as error:
            raise CheckpointError(
                f"cannot write to the ledger '{ledger.path}': {error.strerror}; the checkpoints are as they were. "
                "Make room there, then go on with --resume"
            ) from error


def unit_of(metric: str) -> str:
    """Return the unit of a metric."""
    return "bit" if metric.startswith("bits_per_") else _UNITS.get(metric, "1")


def _identity(row: Measurement) -> dict[str, Label]:
    # a step done again after a kill takes another time, and is the same step
    return {key: label for key, label in row.labels.items() if key not in ("train_s", "probe_s")}

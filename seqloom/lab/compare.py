"""Compare: train every candidate on every task under one budget, measure growth with length, give the verdict."""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seqloom.core import runtime
from seqloom.lab.bench import bench
from seqloom.lab.comparison import BENCH_SHARE, Comparison, describe
from seqloom.lab.evidence import results
from seqloom.lab.gradient import gradient_flow
from seqloom.lab.report import write_report
from seqloom.lab.verdict import verdict
from seqloom.measure.ledger import Label, Ledger, Measurement
from seqloom.measure.machine import Machine, probe
from seqloom.measure.statistics import of_sums
from seqloom.tasks.task import Opened
from seqloom.train.directory import REPORT, RunDirectory, refuse
from seqloom.train.experiment import Experiment
from seqloom.train.loop import Training
from seqloom.train.progress import Board
from seqloom.train.record import unit_of
from seqloom.train.result import Result
from seqloom.train.update import NonFiniteError

VALIDATION_EXAMPLES = 256  # scored for each point of a learning curve: curves must not cost what training costs
FLOW_ROWS = 8  # rows whose gradients are followed back in time
BENCH_S = 30.0  # for speed over length where the budget is not in seconds
SAVE_EVERY_S = 20.0  # between checkpoints of trainings that take turns
_NEVER = 2**62  # steps
SLICE_S = 0.5  # trainings take turns of this length, so that a slow spell of the machine hits all alike


def compare(
    comparison: Comparison,
    out: Path,
    *,
    command: str = "",
    resume: bool = False,
    overwrite: bool = False,
    board: Board | None = None,
) -> dict[str, Any]:
    """Run a comparison and write its report.

    Args:
        comparison: what to compare.
        out: run directory; each training stands in `out/<task>/<model>-<seed>`, ready to evaluate, predict and export.
        command: what reproduces it, for the report.
        resume: keep the trainings that `out` holds, and go on.
        overwrite: replace the run in `out`.
        board: shows progress.

    Returns:
        {"verdict", "table", "rows", "report", "notices"}, JSON values.

    Raises:
        ValueError: the directory is refused, or a task's input breaks a rule.
    """
    refuse(out, resume, overwrite)  # before data are read
    opened = {name: task.open(comparison.seed) for name, task in comparison.named().items()}
    machine = probe(runtime.device())
    record = describe(comparison, opened, machine, command)
    directory = RunDirectory(out, record, tuple(comparison.to_data()), resume, overwrite, owns=tuple(opened))
    try:
        ledger = Ledger(directory.ledger)
        lab = _Lab(comparison, out, ledger, machine, directory.record, resume, board or Board())
        for name, task in opened.items():
            lab.train_all(name, task)
        if comparison.with_bench:
            lab.measure_speed()
        run, rows = directory.record, ledger.rows()
        report = out / REPORT
        write_report(run, rows, report)
        if not lab.finished:
            raise RuntimeError(f"no training came to its end; {'; '.join(lab.notices)}. The report: {report}")
        found = verdict(run, rows)
        return {
            "verdict": found.sentence,
            "confidence": found.confidence,
            "table": found.table,
            "rows": results(run, rows),
            "data": {name: task.account() for name, task in opened.items()},
            "report": str(report),
            "notices": directory.notices + lab.notices,
        }
    finally:
        directory.close()


class _Lab:
    """The work of one comparison, and the ledger that it fills."""

    def __init__(
        self,
        comparison: Comparison,
        out: Path,
        ledger: Ledger,
        machine: Machine,
        run: dict[str, Any],
        resume: bool,
        board: Board,
    ) -> None:
        self.comparison, self.out, self.ledger, self.machine, self.run = comparison, out, ledger, machine, run
        self.resume, self.board = resume, board
        self.notices: list[str] = []
        self.finished = 0  # trainings

    def train_all(self, name: str, opened: Opened) -> None:
        """Train every model from every seed on one task, the models taking turns, and put the outcome down."""
        kept: dict[str, list[Result]] = {model: [] for model in self.comparison.models}
        for seed in range(self.comparison.seed, self.comparison.seed + self.comparison.seeds):
            trainings = {model: self._training(name, opened, model, seed) for model in self.comparison.models}
            flows = seed == self.comparison.seed
            if flows:  # of those that begin now: a training that goes on has left its initial weights behind
                self._gradients(name, {m: t for m, t in trainings.items() if t.course.step == 0}, "initial")
            failed = take_turns(trainings)
            for model, error in failed.items():
                self._add("failed", 1, "count", name, model, seed=seed, why=str(error))
                self.notices.append(f"{model} on {name}, seed {seed}: {error}")
            done = {model: training for model, training in trainings.items() if model not in failed}
            for model, training in done.items():
                result = training.finish()
                kept[model].append(result)
                self._put_down(name, model, seed, training, result)
            if flows:
                self._gradients(name, done, "trained")
            self.finished += len(done)
        for model, found in kept.items():
            if found:
                self._sum_up(name, model, found)

    def measure_speed(self) -> None:
        """Measure speed and memory over length at equal parameters."""
        if self.ledger.select("bench_s"):
            return  # done before this run was interrupted
        able = {name: model for name, model in self.comparison.candidates().items() if model.needs != "future"}
        unable = [name for name in self.comparison.models if name not in able]
        if unable:
            self.notices.append(f"no speed of {', '.join(unable)}: told of next tokens, and they see the future")
        if not able:
            return
        seconds = self.comparison.budget.seconds
        started = time.monotonic()
        rows = bench(
            able,
            machine=self.machine,
            budget_s=BENCH_SHARE * seconds if seconds is not None else BENCH_S,
            progress=self.board.say,
        )
        # in one piece, so that a comparison that is gone on with holds all of it or none
        took = Measurement(what="bench_s", value=time.monotonic() - started, unit="s", machine=self.machine.digest())
        self.ledger.extend([*rows, took])

    def _training(self, name: str, opened: Opened, model: str, seed: int) -> Training:
        experiment = Experiment.suited(
            opened,
            model,
            self.comparison.training_budget(opened.task),
            seed=seed,
            parameters=self.comparison.parameters or opened.parameters,
            settings=self.comparison.settings,
            architecture=self.comparison.architecture,
            validation_examples=VALIDATION_EXAMPLES,
            data_seed=self.comparison.seed,
        )
        return Training(
            experiment,
            opened,
            self.out / name / f"{model}-{seed}",
            resume=self.resume,
            checkpoint_every=_NEVER,  # `take_turns` saves by the clock
            keep=1,
            progress=self.board.add(f"{name} {model} {seed}"),
        )

    def _gradients(self, name: str, trainings: dict[str, Training], when: str) -> None:
        for model, training in trainings.items():
            if training.model.head.scope == "whole":
                continue  # no step has a loss of its own
            family = self.run["models"][model]["family"]
            examples = training.opened.validation
            batch = examples.batch(np.arange(min(len(examples), FLOW_ROWS)))
            labels = {"task": name, "model": model, "family": family, "when": when}
            self._extend(gradient_flow(training.model, batch, labels, machine=self.machine.digest()))

    def _put_down(self, name: str, model: str, seed: int, training: Training, result: Result) -> None:
        assert training.directory is not None
        rows = Ledger(training.directory.ledger).rows()
        self._extend([replace(row, labels={**row.labels, "task": name}, machine=self.machine.digest()) for row in rows])
        self.notices += [f"{model} on {name}, seed {seed}: {notice}" for notice in result.notices]

    def _sum_up(self, name: str, model: str, found: list[Result]) -> None:
        for metric in found[0].metrics:
            parts = np.stack([result.scores.parts[metric] for result in found])
            value, low, high = of_sums(parts, found[0].scores.formula(metric), seed=self.comparison.seed)
            self._add(metric, value, unit_of(metric), name, model, split="test", low=low, high=high, n=len(found))

    def _add(
        self,
        what: str,
        value: float,
        unit: str,
        task: str,
        model: str,
        *,
        low: float | None = None,
        high: float | None = None,
        n: int = 1,
        **labels: Label,
    ) -> None:
        if not math.isfinite(value):
            self.notices.append(f"{model} on {task}: {what} is {value} and is left out")
            return
        about = self.run["models"][model]
        row = Measurement(
            what=what,
            value=value,
            unit=unit,
            low=low,
            high=high,
            n=n,
            labels={"task": task, "model": model, "family": about["family"], **labels},
            spec=about["digest"],
            machine=self.machine.digest(),
        )
        self._extend([row])

    def _extend(self, rows: list[Measurement]) -> None:
        """Add the rows that the ledger does not hold yet: a comparison that is gone on with tells nothing twice."""
        held = {identity(row) for row in self.ledger.rows()}
        self.ledger.extend(row for row in rows if identity(row) not in held)


def identity(row: Measurement) -> tuple[Any, ...]:
    """Return what a row is of: the same for a measurement made again, whatever time it took."""
    return row.what, row.unit, tuple(sorted((k, v) for k, v in row.labels.items() if k not in ("train_s", "probe_s")))


def take_turns(trainings: dict[str, Training], slice_s: float = SLICE_S) -> dict[str, NonFiniteError]:
    """Advance trainings in turns until all are done; return those that met a loss or gradient that is not finite.

    Each is saved every SAVE_EVERY_S, and all of them when the user stops the work.
    """
    failed: dict[str, NonFiniteError] = {}
    saved_s = time.monotonic()
    try:
        while running := {n: t for n, t in trainings.items() if not t.done and n not in failed}:
            for name, training in running.items():
                try:
                    training.advance(seconds=slice_s)
                except NonFiniteError as error:
                    failed[name] = error
            if time.monotonic() - saved_s > SAVE_EVERY_S:
                _save(trainings)
                saved_s = time.monotonic()
    except KeyboardInterrupt:
        _save(trainings)
        raise
    return failed


def _save(trainings: dict[str, Training]) -> None:
    for training in trainings.values():
        training.save()

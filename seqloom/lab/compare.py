"""Compare: train every candidate on every task under one budget, measure growth with length, give the verdict."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from seqloom.core import registry
from seqloom.core.spec import resolve, to_data
from seqloom.lab.bench import bench
from seqloom.lab.evidence import results
from seqloom.lab.gradient import gradient_flow
from seqloom.lab.report import write_report
from seqloom.lab.verdict import verdict
from seqloom.measure.ledger import Label, Ledger, Measurement, now
from seqloom.measure.machine import Machine, probe, versions
from seqloom.measure.statistics import ratio_of_sums
from seqloom.tasks.task import Opened, Task
from seqloom.train.directory import RunDirectory
from seqloom.train.experiment import Budget, Experiment
from seqloom.train.loop import Training
from seqloom.train.progress import Board
from seqloom.train.record import unit_of
from seqloom.train.result import Result
from seqloom.train.update import NonFiniteError
from seqloom.zoo.architecture import Architecture

TASKS = ("digits", "recall", "language")
MODELS = ("gru", "lstm", "mingru", "transformer", "hybrid")
BENCH_SHARE = 0.15  # of a budget in seconds goes to speed over length
VALIDATION_EXAMPLES = 256  # scored for each point of a learning curve: curves must not cost what training costs
FLOW_ROWS = 8  # rows whose gradients are followed back in time
SLICE_S = 0.5  # trainings take turns of this length, so that a slow spell of the machine hits all alike


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared, and under which terms."""

    tasks: tuple[Task, ...]
    models: tuple[str, ...]  # registered names
    budget: Budget  # seconds: of the whole comparison; steps or epochs: of each training
    seeds: int = 2  # trainings of each model on each task
    seed: int = 0  # the first of them; splits and generated data are of this one
    parameters: int | None = None  # of each model, token table aside; None: what suits the task
    settings: dict[str, Any] = field(default_factory=dict)  # of the Optimizer, before the task's own
    architecture: dict[str, Any] = field(default_factory=dict)  # settings of every Architecture, likewise
    with_bench: bool = True  # whether to measure speed over length

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds = {self.seeds} must be at least 1")
        if len(set(self.models)) != len(self.models):
            raise ValueError(f"a model is named twice: {', '.join(self.models)}")
        if not self.tasks or not self.models:
            raise ValueError("name at least one task and one model")

    def training_budget(self, task: Task) -> Budget:
        """Return the budget of one training on a task: equal for its models and seeds."""
        if self.budget.seconds is None:
            return self.budget
        for_training_s = self.budget.seconds * (1 - BENCH_SHARE if self.with_bench else 1)
        shares = sum(each.share for each in self.tasks)
        return Budget(seconds=for_training_s * task.share / shares / len(self.models) / self.seeds)

    def to_data(self) -> dict[str, Any]:
        """Return JSON values that say what is compared."""
        return {
            "budget": str(self.budget),
            "seeds": self.seeds,
            "seed": self.seed,
            "parameters": self.parameters,
            "settings": to_data(self.settings),
            "architecture": to_data(self.architecture),
            "candidates": list(self.models),
            "on": [to_data(task) for task in self.tasks],
        }


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
    opened = {task.name(): task.open(comparison.seed) for task in comparison.tasks}
    machine = probe()
    record = describe(comparison, opened, machine, command)
    same = ("on", "candidates", "budget", "seeds", "seed")
    directory = RunDirectory(out, record, same, resume, overwrite, owns=tuple(opened))
    try:
        ledger = Ledger(directory.ledger)
        lab = _Lab(comparison, out, ledger, machine, directory.record, resume, board or Board())
        for name, task in opened.items():
            lab.train_all(name, task)
        if comparison.with_bench:
            lab.measure_speed()
        run, rows = directory.record, ledger.rows()
        report = out / "report.html"
        write_report(run, rows, report)
        found = verdict(run, rows)
        return {
            "verdict": found.sentence,
            "confidence": found.confidence,
            "table": found.table,
            "rows": results(run, rows),
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

    def train_all(self, name: str, opened: Opened) -> None:
        """Train every model from every seed on one task, the models taking turns, and put the outcome down."""
        kept: dict[str, list[Result]] = {model: [] for model in self.comparison.models}
        for seed in range(self.comparison.seed, self.comparison.seed + self.comparison.seeds):
            trainings = {model: self._training(name, opened, model, seed) for model in self.comparison.models}
            flows = seed == self.comparison.seed and opened.causal
            if flows:
                self._gradients(name, trainings, "initial")
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
        for model, found in kept.items():
            if found:
                self._sum_up(name, model, found)

    def measure_speed(self) -> None:
        """Measure speed and memory over length at equal parameters."""
        seconds = self.comparison.budget.seconds
        bench(
            self.comparison.models,
            machine=self.machine,
            budget_s=BENCH_SHARE * seconds if seconds is not None else 30.0,
            ledger=self.ledger,
            progress=self.board.say,
        )

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
            checkpoint_every=1_000_000,  # the last one is enough: a slice that is lost is short
            keep=1,
            progress=self.board.add(f"{name} {model} {seed}"),
        )

    def _gradients(self, name: str, trainings: dict[str, Training], when: str) -> None:
        for model, training in trainings.items():
            family = self.run["models"][model]["family"]
            examples = training.opened.validation
            batch = examples.batch(np.arange(min(len(examples), FLOW_ROWS)))
            labels = {"task": name, "model": model, "family": family, "when": when}
            self.ledger.extend(gradient_flow(training.model, batch, labels, machine=self.machine.digest()))

    def _put_down(self, name: str, model: str, seed: int, training: Training, result: Result) -> None:
        assert training.directory is not None
        self.ledger.extend(
            replace(row, machine=self.machine.digest()) for row in Ledger(training.directory.ledger).rows()
        )
        self.notices += [f"{model} on {name}, seed {seed}: {notice}" for notice in result.notices]

    def _sum_up(self, name: str, model: str, found: list[Result]) -> None:
        for metric in found[0].metrics:
            above = [result.scores.numerators[metric] for result in found]
            below = [result.scores.denominators[metric] for result in found]
            value, low, high = ratio_of_sums(above, below, seed=self.comparison.seed)
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
        self.ledger.append(
            Measurement(
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
        )


def describe(comparison: Comparison, opened: dict[str, Opened], machine: Machine, command: str) -> dict[str, Any]:
    """Return the content of run.json: what is compared, on what data, by which versions, on which machine."""
    models: dict[str, Any] = {}
    for name in comparison.models:
        architecture = resolve(Architecture, {**comparison.architecture, "name": name})
        family = registry.look_up("zoo", name).attributes["family"]
        models[name] = {"family": family, "spec": to_data(architecture), "digest": architecture.digest()}
    return {
        "verb": "compare",
        "command": command,
        "created": now(),
        **comparison.to_data(),
        "machine": machine.facts(),
        "versions": versions(),
        "tasks": {
            name: {
                "title": task.title,
                "metric": task.metric,
                "better": task.better,
                "floor": task.floor,
                "floor_of": task.floor_of,
                "facts": task.facts,
                "labels": list(task.labels),
                "rejects": task.rejects,
                "parameters": comparison.parameters or task.parameters,
                "seconds": comparison.training_budget(task.task).seconds,
                "spec": to_data(task.task),
            }
            for name, task in opened.items()
        },
        "models": models,
    }


def take_turns(trainings: dict[str, Training], slice_s: float = SLICE_S) -> dict[str, NonFiniteError]:
    """Advance trainings in turns until all are done; return those that met a loss or gradient that is not finite."""
    failed: dict[str, NonFiniteError] = {}
    while running := {n: t for n, t in trainings.items() if not t.done and n not in failed}:
        for name, training in running.items():
            try:
                training.advance(seconds=slice_s)
            except NonFiniteError as error:
                failed[name] = error
    return failed

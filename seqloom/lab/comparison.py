"""A comparison as a value: which tasks and models, under which terms, and what run.json says of it."""

from dataclasses import dataclass, field
from typing import Any

from seqloom.core.spec import resolve, to_data
from seqloom.measure.ledger import now
from seqloom.measure.machine import Machine, versions
from seqloom.tasks.task import Opened, Task
from seqloom.train.experiment import Budget
from seqloom.zoo.architecture import Architecture

TASKS = ("digits", "recall", "language")
MODELS = ("gru", "lstm", "mingru", "transformer", "hybrid")
BENCH_SHARE = 0.15  # of a budget in seconds goes to speed over length


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

    def named(self) -> dict[str, Task]:
        """Return the tasks by name; several of one task also carry the settings in which they differ."""
        groups: dict[str, list[Task]] = {}
        for task in self.tasks:
            groups.setdefault(task.name().rpartition(".")[2], []).append(task)
        named: dict[str, Task] = {}
        for name, group in groups.items():
            fields = [to_data(task) for task in group]
            differing = [key for key in fields[0] if any(other.get(key) != fields[0][key] for other in fields)]
            for task, values in zip(group, fields, strict=True):
                own = "-".join([name, *(f"{key}{values[key]}" for key in differing)])
                if own in named:
                    raise ValueError(f"the task {own} is named twice")
                named[own] = task
        return named

    def candidates(self) -> dict[str, Architecture]:
        """Return the architectures by name, as far as the tasks have no say in them."""
        return {name: resolve(Architecture, {**self.architecture, "name": name}) for name in self.models}

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
            "with_bench": self.with_bench,
            "candidates": list(self.models),
            "on": [to_data(task) for task in self.tasks],
        }


def describe(comparison: Comparison, opened: dict[str, Opened], machine: Machine, command: str) -> dict[str, Any]:
    """Return the content of run.json: what is compared, on what data, by which versions, on which machine."""
    models: dict[str, Any] = {}
    for name, architecture in comparison.candidates().items():
        models[name] = {"family": architecture.family, "spec": to_data(architecture), "digest": architecture.digest()}
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

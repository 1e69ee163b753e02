"""What the report shows of a sweep: the score of each model over the one number in which tasks of a name differ."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from seqloom.lab import wording, words
from seqloom.lab.evidence import Entry
from seqloom.lab.figures import Style
from seqloom.lab.report_figures import Axis, Figure, Line, Point, Table, lines
from seqloom.lab.verdict import TaskVerdict, Verdict

Run = Mapping[str, Any]
Number = int | float


@dataclass(frozen=True)
class Sweep:
    """Tasks of one name, in order of the one number in which they differ."""

    task: str  # registered name
    field: str  # of the task's Spec
    values: tuple[Number, ...]
    tasks: tuple[str, ...]  # names in the run, in order of the values
    at: Mapping[str, Any]  # fields that are equal here, but differ over the run's tasks of this name

    @property
    def title(self) -> str:
        """Return the task's name and what is held, e.g. `recall, length 24`."""
        return ", ".join([self.task, *(f"{words.metric(key)} {value}" for key, value in self.at.items())])


def sweeps(run: Run) -> list[Sweep]:
    """Return every sweep among a run's tasks: two or more whose specs differ in one number and nothing else."""
    specs = {name: dict(task.get("spec", {})) for name, task in run["tasks"].items()}
    found: list[Sweep] = []
    for task in dict.fromkeys(_registered(spec) for spec in specs.values() if "name" in spec):
        alike = {name: spec for name, spec in specs.items() if "name" in spec and _registered(spec) == task}
        differing = [key for key in dict.fromkeys(k for s in alike.values() for k in s) if _differs(alike, key)]
        for field in differing:
            groups: dict[str, dict[Number, str]] = {}
            for name, spec in alike.items():
                value = spec.get(field)
                if isinstance(value, int | float) and not isinstance(value, bool):
                    rest = json.dumps({k: v for k, v in spec.items() if k != field}, sort_keys=True, default=str)
                    groups.setdefault(rest, {})[value] = name
            for group in groups.values():
                if len(group) > 1:
                    values = tuple(sorted(group))
                    names = tuple(group[value] for value in values)
                    at = {key: alike[names[0]].get(key) for key in differing if key != field}
                    found.append(Sweep(task, field, values, names, at))
    return found


def _registered(spec: Mapping[str, Any]) -> str:
    return str(spec["name"]).rpartition(".")[2]


def _differs(specs: Mapping[str, Mapping[str, Any]], key: str) -> bool:
    return len({json.dumps(spec.get(key), sort_keys=True, default=str) for spec in specs.values()}) > 1


def figures(run: Run, verdict: Verdict, styles: Mapping[str, Style]) -> dict[str, list[Figure]]:
    """Return the figures of the run's sweeps by the task's registered name; empty where nothing was swept."""
    judged = {task.name: task for task in verdict.tasks}
    found: dict[str, list[Figure]] = {}
    for n, sweep in enumerate(sweeps(run)):
        tasks = [judged[name] for name in sweep.tasks]
        if len({task.metric for task in tasks}) == 1:
            found.setdefault(sweep.task, []).append(_figure(f"sweep-{n}", sweep, tasks, styles))
    return found


def _figure(name: str, sweep: Sweep, tasks: list[TaskVerdict], styles: Mapping[str, Style]) -> Figure:
    metric, over = words.metric(tasks[0].metric), words.metric(sweep.field)
    entries = [{entry.model: entry for entry in task.entries} for task in tasks]
    drawn = [Line(words.title(m), style, _points(sweep, entries, m)) for m, style in styles.items()]
    drawn = [line for line in drawn if line.points]
    table = Table(
        [over, *(words.title(m) for m in styles), "floor"],
        [
            [
                _read(value),
                *(_cell(found.get(m)) for m in styles),
                "not known" if task.floor is None else words.scored(task.metric, task.floor),
            ]
            for value, found, task in zip(sweep.values, entries, tasks, strict=True)
        ],
    )
    return lines(
        name,
        f"{sweep.title}: {metric} over {over}",
        f"Test scores with 95 % intervals, trained anew at each number; {tasks[0].better} is better.",
        Axis(over, _read, marks=sweep.values),
        Axis(metric, partial(words.scored, tasks[0].metric)),
        drawn,
        table,
    )


def _points(sweep: Sweep, entries: list[dict[str, Entry]], model: str) -> list[Point]:
    qualities = [found[model].quality if model in found else None for found in entries]
    return [
        Point(float(value), q.value, q.low, q.high, q.kind)
        for value, q in zip(sweep.values, qualities, strict=True)
        if q is not None
    ]


def _cell(entry: Entry | None) -> str:
    if entry is None or entry.quality is None:
        return f"not measured: {entry.missing}" if entry and entry.missing else "not measured"
    return wording.score(entry)


def _read(value: Number) -> str:
    return words.length(value) if float(value).is_integer() else words.significant(value, 3)

"""What the ledger says of each model on each task: estimates with intervals, and when two are told apart.

Pure functions of the ledger's rows. The latest row wins where a run was resumed. A row without the label `seed` sums up
the seeds; without such a row, the median over the seeds stands with their range.
"""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seqloom.lab import words
from seqloom.measure.ledger import Measurement

FAMILIES = ("recurrent", "attention", "hybrid")
ABSENT = ("missing", "failed", "skipped")  # rows that say, by the label `why` or `reason`, what was not measured


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval (or range over seeds), where there is one."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 1
    kind: str = "measured"

    @property
    def known(self) -> bool:
        """Tell whether there is an interval, without which nothing is shown."""
        return self.low is not None and self.high is not None


@dataclass(frozen=True)
class Entry:
    """One model on one task."""

    task: str
    model: str
    family: str
    metric: str
    quality: Estimate | None = None
    time_s: Estimate | None = None  # to within 1 % of its own best validation score
    train_s: Estimate | None = None
    steps: Estimate | None = None
    parameters: Estimate | None = None
    peak_bytes: Estimate | None = None
    decode_s: Estimate | None = None
    above_floor: bool | None = None  # None: no interval, so not known
    missing: str = ""  # why there is no score

    @property
    def title(self) -> str:
        """Return the model's name as the field writes it."""
        return words.title(self.model)


def pick(rows: Iterable[Measurement], what: str, **labels: object) -> list[Measurement]:
    """Return the rows of one quantity whose labels have these values."""
    return [row for row in rows if row.what == what and all(row.labels.get(k) == v for k, v in labels.items())]


def estimate(rows: Iterable[Measurement], what: str, **labels: object) -> Estimate | None:
    """Return the row over all seeds, else the median over seeds with their range, else None."""
    found = pick(rows, what, **labels)
    whole = [row for row in found if "seed" not in row.labels]
    if whole:
        row = whole[-1]
        return Estimate(row.value, row.low, row.high, row.n, row.kind)
    seeds = {row.labels["seed"]: row for row in found}
    if not seeds:
        return None
    values = [row.value for row in seeds.values()]
    if len(values) == 1:
        (row,) = seeds.values()
        return Estimate(row.value, row.low, row.high, row.n, row.kind)
    return Estimate(statistics.median(values), min(values), max(values), len(values), found[-1].kind)


def apart(a: Estimate | None, b: Estimate | None) -> bool:
    """Tell whether two intervals do not overlap; without two intervals nothing is told apart."""
    if a is None or b is None or a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    return a.high < b.low or b.high < a.low


def better(a: Estimate, b: Estimate, direction: str) -> bool:
    """Tell whether a is the better score; `direction` is "higher" or "lower"."""
    return a.value > b.value if direction == "higher" else a.value < b.value


def shown_better(a: Estimate, b: Estimate, direction: str) -> bool:
    """Tell whether a is better than b by disjoint intervals."""
    return apart(a, b) and better(a, b, direction)


def entries(name: str, run: Mapping[str, Any], rows: list[Measurement]) -> tuple[Entry, ...]:
    """Return what was measured of every model on one task, in the run's order of models."""
    task = run["tasks"][name]
    return tuple(_entry(name, task, model, about, rows) for model, about in run["models"].items())


def _entry(name: str, task: Mapping[str, Any], model: str, about: Mapping[str, Any], rows: list[Measurement]) -> Entry:
    mine = [row for row in rows if row.labels.get("model") == model]
    here = [row for row in mine if row.labels.get("task") == name]
    quality = estimate(here, task["metric"], split="test")
    return Entry(
        task=name,
        model=model,
        family=str(about.get("family", "")),
        metric=task["metric"],
        quality=quality,
        time_s=estimate(here, "time_to_quality_s"),
        train_s=estimate(here, "train_s"),
        steps=estimate(here, "steps"),
        parameters=estimate(here, "parameters"),
        peak_bytes=estimate(here, "peak_bytes"),
        decode_s=_nearest_length(mine, "decode_token_s", typical_length(task)),
        above_floor=_above_floor(quality, task),
        missing="" if quality else _why_missing(here),
    )


def typical_length(task: Mapping[str, Any]) -> float | None:
    """Return a task's usual number of steps from its facts, or None where they do not say."""
    facts = {**task.get("spec", {}), **task.get("facts", {})}
    for key in ("median_length", "length", "length_median", "max_length"):
        if isinstance(facts.get(key), int | float):
            return float(facts[key])
    return None


def _nearest_length(rows: list[Measurement], what: str, length: float | None) -> Estimate | None:
    found = [row for row in pick(rows, what) if isinstance(row.labels.get("length"), int | float)]
    if not found:
        return None
    target = 0.0 if length is None else length
    row = min(found, key=lambda row: abs(float(row.labels["length"]) - target))
    return Estimate(row.value, row.low, row.high, row.n, row.kind)


def _above_floor(quality: Estimate | None, task: Mapping[str, Any]) -> bool | None:
    floor = task.get("floor")
    if quality is None or quality.low is None or quality.high is None or floor is None:
        return None
    return quality.low > floor if task["better"] == "higher" else quality.high < floor


def _why_missing(rows: list[Measurement]) -> str:
    for row in rows:
        if row.what in ABSENT:
            return str(row.labels.get("why") or row.labels.get("reason") or row.what)
    if rows:
        return "it was trained, but the run ended before its test"
    return "the run ended before it was trained"


def results(run: Mapping[str, Any], rows: list[Measurement]) -> list[dict[str, Any]]:
    """Return one plain mapping a task and model: every test metric with its interval, time, parameters, memory.

    A model without a test score is left out of nothing: its `metrics` are empty and `missing` says why.
    """
    found: list[dict[str, Any]] = []
    for name in run["tasks"]:
        for entry in entries(name, run, rows):
            here = [r for r in rows if r.labels.get("model") == entry.model and r.labels.get("task") == name]
            metrics = {
                what: estimate(here, what, split="test")
                for what in dict.fromkeys(r.what for r in here if r.labels.get("split") == "test")
            }
            found.append(
                {
                    "task": name,
                    "model": entry.model,
                    "family": entry.family,
                    "metric": entry.metric,
                    "parameters": int(entry.parameters.value) if entry.parameters else None,
                    "metrics": {
                        what: {"value": e.value, "low": e.low, "high": e.high} for what, e in metrics.items() if e
                    },
                    "train_s": entry.train_s.value if entry.train_s else None,
                    "time_to_quality_s": entry.time_s.value if entry.time_s else None,
                    "peak_bytes": entry.peak_bytes.value if entry.peak_bytes else None,
                    "missing": entry.missing or None,
                }
            )
    return found

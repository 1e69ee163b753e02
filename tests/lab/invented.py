"""Small runs and ledgers for the tests of the verdict and the report; every number in them is invented."""

import json
from pathlib import Path
from typing import Any

from seqloom.measure.ledger import Ledger, Measurement

GOLDEN = Path(__file__).parent.parent / "golden"
FAMILY = {"gru": "recurrent", "lstm": "recurrent", "transformer": "attention", "hybrid": "hybrid"}


def row(
    what: str, value: float, *, low: float | None = None, high: float | None = None, n: int = 1, **more: Any
) -> Measurement:
    """Return a row; `kind` aside, what is left over are labels."""
    kind = more.pop("kind", "measured")
    return Measurement(
        what=what,
        value=value,
        unit="1",
        low=low,
        high=high,
        n=n,
        kind=kind,
        labels=more,
        machine="m",
        time="2026-01-05",
    )


def make_run(
    tasks: dict[str, dict[str, Any]] | None = None, models: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """Return a `run.json` with tasks by accuracy unless told otherwise."""
    plain = {"title": "A task", "metric": "accuracy", "better": "higher", "floor": 0.1, "floor_of": "the majority"}
    models = models or {"gru": "recurrent", "transformer": "attention"}
    return {
        "verb": "compare",
        "command": "seqloom compare digits",
        "machine": {"cpu": "invented", "cores": 2, "memory_bytes": 8_000_000_000},
        "budget": "60s",
        "seeds": 3,
        "seed": 0,
        "tasks": {
            name: {**plain, "facts": {}, "labels": [], "spec": {}, **task}
            for name, task in (tasks or {"digits": {}}).items()
        },
        "models": {name: {"family": family, "spec": {"name": name}} for name, family in models.items()},
        **more,
    }


def scored(
    task: str,
    model: str,
    value: float,
    half: float | None,
    *,
    time: float | None = None,
    spread: float = 0.05,
    n: int = 3,
    metric: str = "accuracy",
    peak: float = 1e8,
    family: str = "",
) -> list[Measurement]:
    """Return the rows of one model on one task: its score, and times of n seeds around one value."""
    labels = {"task": task, "model": model, "family": family or FAMILY.get(model, "other")}
    bounds = {} if half is None else {"low": value - half, "high": value + half}
    rows = [row(metric, value, n=n, split="test", **bounds, **labels), row("peak_bytes", peak, **labels)]
    if time is not None:
        for seed in range(n):
            rows.append(row("time_to_quality_s", time * (1 + spread * (seed - (n - 1) / 2)), seed=seed, **labels))
            rows.append(row("train_s", 60.0, seed=seed, **labels))
    return rows


def golden() -> tuple[dict[str, Any], list[Measurement]]:
    """Return the frozen run: three tasks, five models, every kind of row."""
    run = json.loads((GOLDEN / "report_run.json").read_text(encoding="utf-8"))
    return run, Ledger(GOLDEN / "report_ledger.jsonl").rows()

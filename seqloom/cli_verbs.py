"""The verbs of the command line: compare and report here, the others from their files."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqloom.cli_inform import cite, doctor, list_
from seqloom.cli_options import Given, split_names
from seqloom.cli_output import Answer, number, table
from seqloom.cli_train import architecture, evaluate, inferred_task, predict, train


def compare(
    task: str | None = None,
    *,
    models: str | None = None,
    budget: str = "5m",
    seeds: int = 2,
    seed: int = 0,
    parameters: int | None = None,
    bench: bool = True,
    out: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    given: Given,
) -> Answer:
    """Answer "RNN or Transformer?": train candidates under one budget, measure them, write a report with a verdict.

    Parameters
    ----------
    task
        one task (seqloom list tasks); without it digits, recall and language, or classify with --data
    models
        candidates, separated by commas (seqloom list models); without it a choice of all families
    budget
        of the whole comparison, e.g. 60s, 5m, 2h; or of each training, e.g. "200 steps", "3 epochs"
    seeds
        trainings of each model on each task; several give the intervals
    seed
        the first seed
    parameters
        size of each model, token table aside; without it what suits the task
    bench
        also measure speed and memory over length
    out
        run directory; without it runs/compare or runs/compare-TASK
    resume
        keep what the run directory holds, and go on
    overwrite
        replace the run in the run directory
    """
    from seqloom.core.spec import resolve
    from seqloom.lab.compare import MODELS, TASKS, Comparison
    from seqloom.lab.compare import compare as run
    from seqloom.tasks.task import Task
    from seqloom.train.experiment import Budget
    from seqloom.train.progress import Board

    if "width" in given.model:
        raise ValueError(f"--width {given.model['width']}: compare brings models to equal size; give --parameters N")
    task = task or inferred_task(given)
    names = split_names(models) if models is not None else list(MODELS)
    tasks = [{"name": task, **given.task}] if task else [{"name": name} for name in TASKS]
    comparison = Comparison(
        tasks=tuple(resolve(Task, item) for item in tasks),
        models=tuple(architecture(name, given.model) for name in names),
        budget=Budget.parse(budget),
        seeds=seeds,
        seed=seed,
        parameters=parameters,
        settings=given.optimizer,
        with_bench=bench,
    )
    where = out or Path("runs") / (f"compare-{task}" if task else "compare")
    with Board() as board:
        found = run(comparison, where, command=_command(), resume=resume, overwrite=overwrite, board=board)
    return Answer(found, "\n\n".join([_results(found), found["verdict"], f"Report: {found['report']}"]))


def _results(found: dict[str, Any]) -> str:
    rows: list[list[str]] = []
    for row in found["rows"]:
        for metric, value in list(row["metrics"].items())[:1]:
            low, high = value.get("low"), value.get("high")
            interval = f"{number(low)} – {number(high)}" if low is not None and high is not None else ""
            figures = [number(row.get("train_s"), "s"), number(row.get("peak_bytes"), "bytes")]
            rows.append([row["task"], row["model"], metric, number(value["value"]), interval, *figures])
    return table(["task", "model", "metric", "value", "95 % interval", "training", "peak memory"], rows)


def report(run: Path) -> Answer:
    """Rebuild the report of a comparison from its ledger.

    Parameters
    ----------
    run
        a run directory of compare
    """
    from seqloom.lab.evidence import results
    from seqloom.lab.report import write_report
    from seqloom.lab.verdict import verdict
    from seqloom.measure.ledger import Ledger
    from seqloom.train.directory import LEDGER, REPORT, read_record

    record = read_record(run)
    if record.get("verb") != "compare":
        raise ValueError(
            f"'{run}' is a run of {record.get('verb', 'another verb')}; a report is made of one of compare"
        )
    rows = Ledger(run / LEDGER).rows()
    write_report(record, rows, run / REPORT)
    found = verdict(record, rows)
    data = {"verdict": found.sentence, "rows": results(record, rows), "report": str(run / REPORT)}
    return Answer(data, "\n\n".join([_results(data), data["verdict"], f"Report: {data['report']}"]))


def _command() -> str:
    return shlex.join(["seqloom", *sys.argv[1:]])


# verb -> (function, whose fields are its options too)
VERBS: dict[str, tuple[Callable[..., Answer], tuple[str, ...]]] = {
    "compare": (compare, ("task", "model", "optimizer")),
    "train": (train, ("task", "model", "optimizer")),
    "evaluate": (evaluate, ()),
    "predict": (predict, ()),
    "report": (report, ()),
    "list": (list_, ()),
    "doctor": (doctor, ()),
    "cite": (cite, ()),
}

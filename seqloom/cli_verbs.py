"""The verbs of the command line: compare and report here, the others from their files."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqloom.cli_inform import cite, doctor, list_
from seqloom.cli_monitor import monitor
from seqloom.cli_options import SWEEP, Given, OnFlag, TimeText, each_of, split_names, whole_numbers
from seqloom.cli_output import Answer, Stream, Workers, number, table
from seqloom.cli_parallel import plan, scale
from seqloom.cli_predict import evaluate, predict
from seqloom.cli_train import architecture, inferred_task, train
from seqloom.core import registry


def compare(
    task: str | None = None,
    *,
    models: str | None = None,
    budget: TimeText = "4m",
    seeds: int = 2,
    seed: int = 0,
    parameters: int | None = None,
    bench: OnFlag = True,
    out: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    given: Given,
) -> Answer:
    """Answer "RNN or Transformer?": train candidates under one budget, measure them, write a report with a verdict.

    Parameters
    ----------
    task
        one task (seqloom list tasks); without it digits, recall and language, or classify with --data; whole numbers
        of its options may be several, e.g. recall --pairs 4,6,8: each is a task of its own
    models
        candidates, separated by commas (seqloom list models); without it those that suit the task, of all families
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
    from seqloom.data.named import with_source
    from seqloom.lab.compare import compare as run
    from seqloom.lab.comparison import MODELS, TASKS, Comparison
    from seqloom.tasks.task import Task
    from seqloom.train.experiment import Budget
    from seqloom.train.progress import Board

    if "width" in given.model:
        raise ValueError(f"--width {given.model['width']}: compare brings models to equal size; give --parameters N")
    task = task or inferred_task(given)
    each = [with_source(task, settings) for settings in each_of(given.task)] if task else []
    tasks = [{"name": task, **settings} for settings in each] if task else [{"name": name} for name in TASKS]
    values = tuple(resolve(Task, item) for item in tasks)
    suited = values[0].models if task else ()
    names = split_names(models) if models is not None else list(suited or MODELS)
    for name in names:
        architecture(name, given.model)  # wrong values are told before any data are read
        for option in set(given.model) - {field.name for field in registry.look_up("zoo", name).fields}:
            raise ValueError(f"--{option.replace('_', '-')}: '{name}' has no {option}; leave one of them out")
    comparison = Comparison(
        tasks=values,
        models=tuple(names),
        budget=Budget.parse(budget),
        seeds=seeds,
        seed=seed,
        parameters=parameters,
        settings=given.optimizer,
        architecture=given.model,
        with_bench=bench,
    )
    where = out or Path("runs") / (f"compare-{task}" if task else "compare")
    with Board() as board:
        found = run(comparison, where, command=_command(), resume=resume, overwrite=overwrite, board=board)
        for notice in found["notices"]:
            board.say(notice)
    return Answer(found, "\n\n".join([_results(found), found["verdict"], f"Report: {found['report']}"]))


def _results(found: dict[str, Any]) -> str:
    rows: list[list[str]] = []
    for row in found["rows"]:
        value = row["metrics"].get(row["metric"], {})
        low, high = value.get("low"), value.get("high")
        interval = f"{number(low)} – {number(high)}" if low is not None and high is not None else ""
        figures = [number(row.get("train_s"), "s"), number(row.get("peak_bytes"), "bytes")]
        score = number(value["value"]) if value else row["missing"]
        rows.append([row["task"], row["model"], row["metric"], score, interval, *figures])
    return table(["task", "model", "metric", "value", "95 % interval", "training", "peak memory"], rows)


def bench(
    *,
    models: str = "gru,lstm,mingru,transformer,hybrid",
    lengths: str | None = None,
    batch: int = 4,
    parameters: int = 200_000,
    budget: TimeText | None = None,
    out: Path | None = None,
    seed: int = 0,
    given: Given,
) -> Answer:
    """Time training, prefill and decoding over length, at equal size; name the length where the faster one changes.

    Parameters
    ----------
    models
        separated by commas (seqloom list models)
    lengths
        steps, separated by commas; without it 256, 512, ... as far as budget and memory go
    batch
        rows
    parameters
        of each model, token table aside
    budget
        wall time, e.g. 60s, 5m; without it 45s, or 10m where lengths are named
    out
        a folder that is not there yet, for the ledger of the rows
    seed
        of weights, tokens and orders
    """
    from dataclasses import asdict

    from seqloom.lab.bench import bench as run
    from seqloom.measure.ledger import Ledger
    from seqloom.measure.machine import probe
    from seqloom.train.directory import LEDGER
    from seqloom.train.experiment import Budget
    from seqloom.train.progress import Board

    budget = budget or ("10m" if lengths is not None else "45s")
    budget_s = Budget.parse(budget).seconds
    if budget_s is None:
        raise ValueError(f"budget '{budget}': bench takes a time, such as 45s or 5m")
    if "width" in given.model:
        raise ValueError(f"--width {given.model['width']}: bench brings models to equal size; give --parameters N")
    architectures = [architecture(name, given.model) for name in split_names(models)]
    wanted = whole_numbers("--lengths", lengths) if lengths is not None else None
    if out is not None and out.exists():
        raise ValueError(f"'{out}' exists; name a folder that does not, so that no evidence is mixed")
    with Board() as board:
        board.say("measuring this machine's own limits")
        machine = probe()
        rows = run(
            architectures,
            lengths=wanted,
            batch=batch,
            parameters=parameters,
            budget_s=budget_s,
            machine=machine,
            ledger=Ledger(out / LEDGER if out is not None else None),
            progress=board.say,
            seed=seed,
        )
    data = {
        "machine": machine.facts(),
        "rows": [asdict(row) for row in rows],
        "crossovers": [
            {**row.labels, "length": row.value, "low": row.low, "high": row.high, "kind": row.kind}
            for row in rows
            if row.what == "crossover"
        ],
        "ledger": str(out / LEDGER) if out is not None else None,
    }
    return Answer(data, _speeds(rows))


def _speeds(rows: list[Any]) -> str:
    phases = {"train_step_s": "training step", "prefill_s": "prefill", "decode_token_s": "one token"}
    cells: dict[tuple[int, str], dict[str, str]] = {}
    for row in rows:
        if row.what in (*phases, "train_peak_bytes"):
            unit = "bytes" if row.what.endswith("_bytes") else "s"
            place = (int(row.labels["length"]), str(row.labels["model"]))
            cells.setdefault(place, {})[row.what] = number(row.value, unit)
    whats = [*phases, "train_peak_bytes"]
    lines = [[str(length), model, *(found.get(what, "") for what in whats)] for (length, model), found in cells.items()]
    blocks = [table(["length", "model", *phases.values(), "training memory"], lines)]
    for row in rows:
        if row.what == "crossover":
            a, b, phase = row.labels["a"], row.labels["b"], phases[str(row.labels["phase"])]
            between = (
                f" ({number(row.low)} – {number(row.high)})" if row.low is not None and row.high is not None else ""
            )
            blocks.append(f"{phase}: {a} and {b} change places at length {number(row.value)}{between}, {row.kind}")
        elif row.what == "skipped":
            blocks.append(f"length {row.labels['length']}, {row.labels['model']}: skipped, {row.labels['reason']}")
    return "\n".join(blocks)


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
VERBS: dict[str, tuple[Callable[..., Answer | Stream | Workers], tuple[str, ...]]] = {
    "compare": (compare, (SWEEP, "model", "optimizer")),
    "train": (train, ("task", "model", "optimizer")),
    "evaluate": (evaluate, ()),
    "predict": (predict, ()),
    "monitor": (monitor, ()),
    "bench": (bench, ("model",)),
    "scale": (scale, ("model",)),
    "plan": (plan, ("model",)),
    "report": (report, ()),
    "list": (list_, ()),
    "doctor": (doctor, ()),
    "cite": (cite, ()),
}

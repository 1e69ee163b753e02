"""The verbs on plans: scale, plan."""

from pathlib import Path
from typing import Any

from seqloom.cli_options import Given, TimeText, split_names
from seqloom.cli_output import Answer, Workers, number, table
from seqloom.cli_train import architecture
from seqloom.core import runtime


def scale(
    *,
    models: str = "lstm,gru,mingru,transformer",
    plan: list[str] | None = None,
    workers: int = 2,
    batch: int = 16,
    length: int = 256,
    parameters: int = 1_000_000,
    vocabulary: int = 256,
    budget: TimeText = "60s",
    weak: bool = False,
    out: Path | None = None,
    seed: int = 0,
    given: Given,
) -> Answer | Workers:
    """Time training steps under plans, beside one process and what the machine allows as many independent processes.

    Parameters
    ----------
    models
        separated by commas (seqloom list models)
    plan
        such as data=2 or pipeline=2,cuts=time; may be given several times; without it each axis alone
    workers
        how many processes, where no plan says
    batch
        rows of a step
    length
        tokens of a row
    parameters
        of each model, token table aside
    vocabulary
        tokens
    budget
        wall time of all measuring, e.g. 60s, 5m
    weak
        let the batch or the length grow with the plan, instead of sharing it out
    out
        a folder that is not there yet, for the ledger of the rows
    seed
        of weights and tokens
    """
    from seqloom.parallel.plan import AXES, Plan
    from seqloom.train.experiment import Budget

    plans = [Plan.parse(text) for text in plan or [f"{axis}={workers}" for axis in reversed(AXES)]]
    counts = sorted({each.processes for each in plans})
    if len(counts) > 1 or counts[0] < 2:
        raise ValueError(f"plans of {', '.join(map(str, counts))} processes: give plans of one number of them, above 1")
    budget_s = Budget.parse(budget).seconds
    if budget_s is None:
        raise ValueError(f"budget '{budget}': scale takes a time, such as 60s or 5m")
    if out is not None and out.exists() and runtime.worker().first:
        raise ValueError(f"'{out}' exists; name a folder that does not, so that no evidence is mixed")
    if "width" in given.model:
        raise ValueError(f"--width {given.model['width']}: scale brings models to equal size; give --parameters N")
    architectures = {name: architecture(name, given.model) for name in split_names(models)}
    if runtime.worker().workers == 1:
        return Workers(counts[0], restarts=0)
    from seqloom.lab.scale import by_case
    from seqloom.lab.scale import scale as run
    from seqloom.measure.ledger import Ledger
    from seqloom.measure.machine import describe
    from seqloom.parallel.world import joined, naming_the_lost
    from seqloom.train.directory import LEDGER
    from seqloom.train.progress import Board

    first = runtime.worker().first
    with Board() as board, joined(plans[0]), naming_the_lost():
        rows = run(
            architectures,
            plans,
            batch=batch,
            length=length,
            parameters=parameters,
            vocabulary=vocabulary,
            budget_s=budget_s,
            weak=weak,
            ledger=Ledger(out / LEDGER if out is not None else None) if first else None,
            progress=board.say if first else None,
            seed=seed,
        )
    cases = by_case(rows)
    return Answer({"machine": describe(runtime.device()).facts(), "rows": cases}, _table(cases))


def plan(
    *,
    check: str | None = None,
    model: str = "gpt",
    parameters: int = 100_000,
    given: Given,
) -> Answer:
    """Check a plan without its machines: every process of it runs a step here, and all must call alike.

    Parameters
    ----------
    check
        such as data=8,tensor=8: for any number of processes
    model
        which architecture (seqloom list models)
    parameters
        of the model, token table aside; a small one shows the same
    """
    from seqloom.lab.scale import suited
    from seqloom.parallel.check import check as run
    from seqloom.parallel.plan import Plan

    if check is None:
        raise ValueError("name a plan: seqloom plan --check data=8,tensor=8")
    chosen = Plan.parse(check)
    asked = architecture(model, given.model)
    if "layers" not in given.model and getattr(asked, "layers", chosen.pipeline) < chosen.pipeline:
        asked = asked.replace(layers=chosen.pipeline)
    spec, reasons = suited(asked, chosen, parameters, vocabulary=64)
    if reasons:
        raise ValueError("; ".join(reasons))
    found = run(spec, chosen)
    sent = {axis: {name: each._asdict() for name, each in calls.items()} for axis, calls in found.traffic.items()}
    data = {
        "plan": str(chosen),
        "model": model,
        "processes": found.processes,
        "agree": not found.disagreements,
        "disagreements": found.disagreements,
        "traffic": sent,
    }
    verdict = "all call alike" if not found.disagreements else "they would wait for ever"
    rows = [
        [axis, name, number(each["calls"]), number(each["bytes"], "bytes")]
        for axis, calls in sent.items()
        for name, each in calls.items()
    ]
    lines = [f"{chosen}: {found.processes} processes of {model}, {verdict}.", *found.disagreements]
    lines += [
        "",
        "What the process that sends most sends in a step:",
        table(["axis", "operation", "calls", "sent"], rows),
    ]
    return Answer(data, "\n".join(lines))


def _table(cases: list[dict[str, Any]]) -> str:
    told = ("model", "plan", "step", "one process", "speed-up", "ceiling", "of ceiling", "at the door")
    header = [*told, "messages", "sent"]
    lines, skipped = [], []
    for case in cases:
        if "reason" in case:
            skipped.append(f"{case['model']} under {case['plan']}: {case['reason']}")
            continue
        low, high = case["speedup_interval"]
        lines.append(
            [
                str(case["model"]), str(case["plan"]), number(case["step_s"], "s"), number(case["one_process_s"], "s"),
                f"{case['speedup']:.2f} ({low:.2f} – {high:.2f})", f"{case['ceiling']:.2f}",
                f"{case['of_ceiling']:.0%}", f"{case['door_share']:.0%}", number(case["messages"]),
                number(case["sent_bytes"], "bytes"),
            ]
        )  # fmt: skip
    return "\n".join([table(header, lines), *skipped])

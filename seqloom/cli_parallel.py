"""The verbs on plans: scale, plan."""

import shlex
import sys
from pathlib import Path
from typing import Any

from seqloom.cli_options import Given, OnFlag, TimeText, split_names
from seqloom.cli_output import Answer, Workers, number, table
from seqloom.cli_plan_tables import decoded, predictions, scaled
from seqloom.cli_train import architecture
from seqloom.core import runtime

_CHECKED = 100_000  # parameters of the model that a check runs; a small one shows the same


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
    predict: OnFlag = True,
    out: Path | None = None,
    seed: int = 0,
    given: Given,
) -> Answer | Workers:
    """Time training steps under plans, beside one process, a prediction, and what as many independent processes reach.

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
        wall time of all rounds, e.g. 60s, 5m; what predictions are made from takes about as much again
    weak
        let the batch or the length grow with the plan, instead of sharing it out
    predict
        say before the rounds what each plan should reach, from shorter steps here, as seqloom plan does
    out
        a folder that is not there yet, for the ledger of the rows, a report.html and its picture, scale.svg
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
    from seqloom.lab.report_scale import write
    from seqloom.lab.scale import by_case
    from seqloom.lab.scale import scale as run
    from seqloom.lab.scale_figure import figure
    from seqloom.measure.ledger import Ledger, now
    from seqloom.measure.machine import describe, versions
    from seqloom.parallel.world import joined, naming_the_lost
    from seqloom.train.directory import LEDGER, REPORT
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
            predicted=predict,
            ledger=Ledger(out / LEDGER if out is not None else None) if first else None,
            progress=board.say if first else None,
            seed=seed,
        )
    cases, facts = by_case(rows), describe(runtime.device()).facts()
    data, text = {"machine": facts, "rows": cases}, scaled(cases)
    if first and out is not None and any("speedup" in case for case in cases):
        (out / "scale.svg").write_text(figure(cases), encoding="utf-8")
        write(out / REPORT, cases, facts, shlex.join(["seqloom", *sys.argv[1:]]), now(), versions())
        data["report"] = str(out / REPORT)
        text += f"\n\nReport: {out / REPORT}"
    return Answer(data, text)


def plan(
    *,
    model: str = "gpt:1m",
    length: int = 256,
    batch: int = 32,
    devices: int | None = None,
    machine: str = "this",
    vocabulary: int = 256,
    decode: bool = False,
    check: str | None = None,
    given: Given,
) -> Answer | Workers:
    """Predict the step time and memory of every plan for a machine, and name the best; or check one plan's messages.

    Parameters
    ----------
    model
        name, or name:size, e.g. gpt:100m (seqloom list models)
    length
        tokens of a row
    batch
        rows of a step, of all replicas together
    devices
        how many; without it as many as the machine has
    machine
        this, a known one (h200x8), or a JSON file that describes one
    vocabulary
        tokens
    decode
        instead of training steps: a token's time after a context of this length, batch rows at once
    check
        instead: play all processes of this plan here, e.g. data=8,tensor=8, and compare what they send
    """
    name, _, size = model.partition(":")
    asked = architecture(name, given.model if not size else {})
    if size:
        asked = asked.sized(size, **given.model)
    if check is not None:
        return _checked(check, asked, "layers" in given.model)
    for option, value in (("devices", devices), ("batch", batch), ("length", length)):
        if value is not None and value < 1:
            raise ValueError(f"{option} {value}: must be at least 1")
    if decode and asked.needs == "future":
        raise ValueError(f"{name} sees the future and does not decode; take a causal model")
    from seqloom.core.spec import to_data
    from seqloom.lab.planner import candidates, described, predict
    from seqloom.lab.planner_decoding import decoding
    from seqloom.lab.play import counted
    from seqloom.lab.predictions import band, named, read
    from seqloom.lab.prices import Tries, corrected, fitted, kept_bytes, measured, tried
    from seqloom.measure.machine import describe
    from seqloom.parallel._door import Mesh
    from seqloom.parallel.cluster import read_cluster
    from seqloom.parallel.plan import Plan
    from seqloom.parallel.world import joined, naming_the_lost
    from seqloom.zoo.architecture import count_parameters

    spec = asked.standard(vocabulary)
    if spec.frontend.positions == "learned":  # as many as are asked about, and some that are decoded
        positions = max(spec.frontend.max_length, length + 64)
        spec = spec.replace(frontend=spec.frontend.replace(max_length=positions))
    here = machine == "this"
    if here and runtime.worker().workers == 1:
        return Workers(2, restarts=0)  # a pair, to measure what messages cost
    known = None if here else read_cluster(machine)
    count = devices or (known.devices if known else runtime.cores())
    fit: dict[str, Any] = {}
    taken: Tries = {}  # of plans that were tried here
    with runtime.using_threads(max(runtime.cores() // count, 1)):  # as each device will compute
        if known is None:
            pair = Plan(data=2, timeout_s=600)  # one may have to wait for the other's step
            with joined(pair), naming_the_lost():
                world = Mesh(pair).world
                known = measured(spec, world, count)
                taken = {} if decode else tried(spec, world, batch, length)
            if not runtime.worker().first:
                return Answer({}, "")
        cluster = known.replace(devices=count)
        if decode:
            found = decoding(spec, batch, length, cluster, measured=here)
        else:
            prices = fitted(spec, batch, length) if here else described(cluster, *kept_bytes(spec))
            prices = corrected(prices, spec, cluster, taken)
            plans = list(candidates(count, causal=asked.needs != "future"))
            found = counted(spec, predict(spec, plans, batch, length, cluster, prices), batch, length, cluster)
            fit = {"fitted_steps": prices.points, "fit_error": prices.error}
    what = "decoding" if decode else "training"
    cases = [case for case in read() if case.what == what] if here else []
    told = band(cases, named(describe(runtime.device())) if here else cluster.name)
    rows = [each._asdict() for each in found]
    if decode:
        rows = [{**row, "tokens_per_s": batch / row["step_s"]} for row in rows]
    data = {
        "best": next((row for row in rows if not row["why_not"]), None),
        "candidates": rows,
        "model": {"name": model, "parameters": count_parameters(spec)},
        "batch": batch,
        "length": length,
        "machine": {**to_data(cluster), **fit},
        "error_band": told._asdict(),
    }
    basis = "from the rates of a described machine" if not here else "from shorter steps of this model here"
    return Answer(data, f"{(decoded if decode else predictions)(rows, basis)}\n{told.said()}")


def _checked(text: str, asked: Any, said_layers: bool) -> Answer:
    """Return what a check of a plan finds."""
    from seqloom.lab.scale import suited
    from seqloom.parallel.check import ROWS, STEPS, check
    from seqloom.parallel.plan import Plan
    from seqloom.zoo.architecture import count_parameters

    chosen = Plan.parse(text)
    if not said_layers and getattr(asked, "layers", chosen.pipeline) < chosen.pipeline:
        asked = asked.replace(layers=chosen.pipeline)
    spec, reasons = suited(asked, chosen, _CHECKED, vocabulary=64)
    if reasons:
        raise ValueError("; ".join(reasons))
    found = check(spec, chosen)
    sent = {axis: {name: each._asdict() for name, each in calls.items()} for axis, calls in found.traffic.items()}
    data = {
        "plan": str(chosen),
        "model": asked.name(),
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
    header = ["axis", "operation", "calls", "sent"]
    lines = [f"{chosen}: {found.processes} processes of {asked.name()}, {verdict}.", *found.disagreements]
    size = f"{count_parameters(spec):,} parameters, {ROWS} rows of {STEPS} tokens a process"
    lines += ["", f"What the process that sends most sends in a step of a small one ({size}):", table(header, rows)]
    return Answer(data, "\n".join(lines))

"""Predicted against measured: steps, memory, messages and bytes under plans for two processes.

    python -m torch.distributed.run --standalone --nproc-per-node 2 benchmarks/prediction.py [--models lstm,transformer]
        [--keep]

For each model and size of it the links are measured and the prices fitted to smaller steps, at the sizes and with the
rules of `seqloom plan`, whose fit has not seen the size that is predicted. Smaller steps and those that are predicted
are timed in turns, all plans in every round: a shared machine that is slower for a minute is no error of the planner.
The last line of output is one JSON document: the cases, and the mean and the worst relative errors. `--keep` writes
the cases to the ledger from which `seqloom plan` tells how far it is off, in place of what the ledger had of these
models on this machine.
"""

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch

from seqloom.core import runtime
from seqloom.core.spec import resolve
from seqloom.lab.planner import Prediction, Prices, predict
from seqloom.lab.play import count, play
from seqloom.lab.predictions import LEDGER, Case, keep, named
from seqloom.lab.prices import Tries, corrected, fit, measured, near, sizes, smaller
from seqloom.lab.scale import suited
from seqloom.lab.steps import RATE, Step
from seqloom.measure.ledger import now
from seqloom.measure.machine import describe
from seqloom.measure.memory import peak_live_bytes
from seqloom.model.model import ModelSpec
from seqloom.parallel._door import Axis, Mesh
from seqloom.parallel.cluster import Cluster
from seqloom.parallel.plan import Plan
from seqloom.parallel.world import joined
from seqloom.train.experiment import Optimizer
from seqloom.train.learner import Learner, learner
from seqloom.zoo.architecture import Architecture

MODELS = "elman,lstm,gru,mingru,mamba2,transformer,hybrid"
SIZES = ((8, 512), (32, 128))  # rows, tokens of a row
PARAMETERS = (200_000, 1_000_000)
PLANS = tuple(
    Plan.parse(text)
    for text in ("data=1", "data=2", "pipeline=2", "pipeline=2,cuts=time,parts=8", "sequence=2", "tensor=2")
)
PAIR = Plan(data=2, timeout_s=600)
VOCABULARY, ROUNDS = 256, 7


class Timed(NamedTuple):
    """What was measured of one model and size."""

    rows: dict[str, dict[str, float]]  # of each plan: the step, the fullest process's memory, what this one sends
    alone: dict[tuple[int, int], float]  # seconds of smaller steps on one process
    tries: Tries  # and under plans


def timed(spec: ModelSpec, world: Axis, batch: int, length: int) -> Timed:
    """Return what steps took, in turns: those that are predicted, and the smaller ones from which that is done.

    So a machine that is slower for a while is so for both. A step is timed behind another like it, as in training.
    """
    learners: dict[Plan, Learner] = {}
    for plan in PLANS:
        if plan.processes == 1 and world.index > 0:
            continue  # one process computes while the other waits
        settings = Optimizer(learning_rate=RATE)
        learners[plan] = learner(spec.build(0), lambda: spec.build(0), settings, plan)
    known = {plan: smaller(batch, near(length)) for plan in PLANS}
    known[PLANS[0]] = sizes(batch, length)
    taken: dict[tuple[Plan, tuple[int, int]], list[float]] = {}
    sent: dict[Plan, tuple[int, int]] = {}
    steps = {
        (plan, size): Step(learners[plan], spec, *size) if plan in learners else None
        for plan in PLANS
        for size in [*known[plan], (batch, length)]
    }
    for turn in range(ROUNDS + 1):
        for (plan, size), step in steps.items():
            if step is not None:
                step()
            layout = getattr(learners.get(plan), "layout", None)
            if layout is not None:
                layout.mesh.traffic.clear()
            world.meet()
            began = perf_counter()
            if step is not None:
                step()
            if turn >= 1:  # warmed up, and gradients go in the order in which they come
                taken.setdefault((plan, size), []).append(perf_counter() - began)
            if layout is not None:
                sent[plan] = _sent(layout.mesh.traffic.counts())  # of the last size: what is asked about
    medians = {key: float(np.median(seconds)) for key, seconds in taken.items()}
    rows: dict[str, dict[str, float]] = {}
    for plan in PLANS:
        step = steps[plan, (batch, length)]
        held = peak_live_bytes(step).total_bytes if step is not None else 0
        most = world.gather(torch.tensor(float(held), dtype=torch.float64)).max()
        calls, bytes_ = sent.get(plan, (0, 0))
        rows[str(plan)] = {
            "step_s": medians[plan, (batch, length)], "memory_bytes": float(most), "calls": calls, "sent_bytes": bytes_,
        }  # fmt: skip
    alone = {size: medians[PLANS[0], size] for size in known[PLANS[0]]}
    tries = {plan: [(*size, medians[plan, size]) for size in known[plan]] for plan in PLANS[1:]}
    return Timed(rows, alone, tries)


def _sent(counts: dict[str, dict[str, Any]]) -> tuple[int, int]:
    every = [each for calls in counts.values() for each in calls.values()]
    return sum(each.calls for each in every), sum(each.bytes for each in every)


def told(spec: ModelSpec, batch: int, length: int, cluster: Cluster, prices: Prices) -> dict[str, Prediction]:
    """Return the predictions of the plans."""
    return {each.plan: each for each in predict(spec, PLANS, batch, length, cluster, prices)}


def cases(name: str, parameters: int) -> list[dict[str, Any]]:
    """Return the measured and predicted steps of a model at one size of it; empty on all but the first process."""
    architecture = resolve(Architecture, {"name": name})
    spec, reasons = suited(architecture, Plan(tensor=2), parameters, VOCABULARY)
    if reasons:
        raise SystemExit("; ".join(reasons))
    first = runtime.worker().first
    predicted: dict[tuple[int, int], dict[str, Prediction]] = {}
    steps: dict[tuple[int, int], dict[str, dict[str, float]]] = {}
    with joined(PAIR):
        world = Mesh(PAIR).world
        for size in SIZES:
            cluster = measured(spec, world, 2)
            found = timed(spec, world, *size)
            if first:
                prices = corrected(fit(spec, found.alone), spec, cluster, found.tries)
                predicted[size] = told(spec, *size, cluster, prices)
            steps[size] = found.rows
    rows: list[dict[str, Any]] = []
    for size in SIZES if first else ():
        for plan in PLANS:
            one, taken = predicted[size][str(plan)], steps[size][str(plan)]
            mine, held = play(spec, plan, 0, *size), count(spec, plan, *size).memory_bytes
            rows.append(
                {
                    "model": name, "family": architecture.family, "parameters": parameters, "batch": size[0],
                    "length": size[1], "plan": str(plan),
                    "measured_s": taken["step_s"], "predicted_s": one.step_s,
                    "error": (one.step_s or 0.0) / taken["step_s"] - 1,
                    "inside": (one.low or 0.0) <= taken["step_s"] <= (one.high or 0.0),
                    "measured_bytes": taken["memory_bytes"], "predicted_bytes": held,
                    "memory_error": held / taken["memory_bytes"] - 1,
                    "sent_as_told": (mine.messages, mine.sent_bytes) == (taken["calls"], taken["sent_bytes"]),
                }
            )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--parameters", default=",".join(map(str, PARAMETERS)))
    parser.add_argument(
        "--keep", nargs="?", const=LEDGER, type=Path, help="write the cases to the ledger, or to a file"
    )
    given = parser.parse_args()
    runtime.keep_memory()  # as the command line does
    rows: list[dict[str, Any]] = []
    for model in given.models.split(","):
        for parameters in map(int, given.parameters.split(",")):
            rows += (found := cases(model, parameters))
            for row in found:
                print(
                    f"{model} {parameters:,} {row['batch']}x{row['length']} {row['plan']}: {row['measured_s']:.3f} s, "
                    f"{row['error']:+.0%}, memory {row['memory_error']:+.1%}, {row['sent_as_told']}",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
    if not rows:
        return
    errors, memory = (np.abs([row[name] for row in rows]) for name in ("error", "memory_error"))
    summary = {
        "cases": len(rows),
        "mean_error": float(errors.mean()), "median_error": float(np.median(errors)),
        "worst_error": float(errors.max()),
        "inside_the_band": float(np.mean([row["inside"] for row in rows])),
        "memory_mean_error": float(memory.mean()), "memory_worst_error": float(memory.max()),
        "sent_as_told": sum(row["sent_as_told"] for row in rows),
    }  # fmt: skip
    print(json.dumps({**summary, "rows": rows}), flush=True)
    if given.keep is not None:
        about = {"what": "training", "machine": named(describe(runtime.device())), "time": now()}
        fields = Case.__dataclass_fields__.keys() - about.keys()
        keep([resolve(Case, {**{name: row[name] for name in fields}, **about}) for row in rows], given.keep)


if __name__ == "__main__":
    main()

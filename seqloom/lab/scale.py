"""Scale: what plans make of a training step on these processes, beside one process and what the machine allows."""

import math
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqloom.core import runtime
from seqloom.data.batches import Batch, Examples
from seqloom.lab.scale_prediction import Foreteller, Told
from seqloom.lab.steps import RATE, Step
from seqloom.measure.clock import settle
from seqloom.measure.ledger import Label, Ledger, Measurement
from seqloom.measure.machine import describe
from seqloom.measure.statistics import median_ratio
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.model.model import ModelSpec
from seqloom.parallel.layout import why_not
from seqloom.parallel.plan import Plan
from seqloom.train.experiment import Optimizer
from seqloom.train.learner import Learner, Together
from seqloom.zoo.architecture import Architecture, count_parameters, fit_width

ROUNDS = 5  # at least: of fewer samples no interval holds the median with 95 %
MOST_ROUNDS = 40
_PATIENCE_S = 600.0
_WIDER = 64  # how far a width is raised until a plan's degrees divide it

Progress = Callable[[str], None]


class Round(NamedTuple):
    """Seconds of one round."""

    one: float  # a step of the whole batch on the first process, the others idle
    every: float  # the same on each process at once: mean
    plan: float  # a step under the plan
    door: float  # of it, waiting at the door for others and for messages: mean over processes
    data: float  # of it, collating the rows: mean over processes


class _Collated(Examples):
    """Examples, and the seconds that collating some of them took."""

    def __init__(self, examples: Examples) -> None:
        self.lengths, self._examples, self.took_s = examples.lengths, examples, 0.0

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows."""
        began = perf_counter()
        found = self._examples.batch(rows)
        self.took_s += perf_counter() - began
        return found


class _Laid(Together):
    """What is laid out, and the seconds that collating its rows took."""

    data_s = 0.0

    def gradients(self, examples: Examples, rows: np.ndarray) -> Tensor:
        """Add the gradients of this process's part."""
        collated = _Collated(examples)
        loss = super().gradients(collated, rows)
        self.data_s += collated.took_s
        return loss


def scale(
    models: Mapping[str, Architecture],
    plans: Sequence[Plan],
    *,
    batch: int = 16,
    length: int = 256,
    parameters: int = 1_000_000,
    vocabulary: int = 256,
    budget_s: float = 60.0,
    weak: bool = False,
    predicted: bool = True,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> list[Measurement]:
    """Time training steps under plans; called by all processes, which take turns within every round.

    Every round has three things in it, so that what disturbs the machine disturbs all alike: the step on one process,
    the others idle; the same step on all of them at once, which is the most that the machine allows; and the step
    under the plan. Before the rounds the planner says what it expects, from shorter steps here (scale_prediction.py).

    Args:
        models: architectures by name, brought to equal size and to widths that the plans divide.
        plans: each for as many processes as there are.
        batch: rows of a step.
        length: tokens of a row.
        parameters: of each model, token table aside.
        vocabulary: tokens.
        budget_s: wall time of all rounds, shared equally; what predictions are made from takes about as much again.
        weak: the batch (data) or the length (sequence) grows with the plan, instead of being shared out.
        predicted: whether to predict, too.
        ledger: where the first process's rows go.
        progress: told in words what happens.
        seed: draws weights and tokens.

    Returns:
        Rows, labels model, family, plan, processes, batch, length, parameters, width. Measured: `step_s`,
        `one_process_s`; `speedup` over one process, `ceiling`: that of as many independent processes, `of_ceiling`:
        their ratio, `efficiency`: the speed-up by process; `door_share`: the part of a step in calls at the door that
        wait, for messages and for others, mean over processes (gradients that go meanwhile, as along data, are not in
        it), `data_share`: that of collating rows, `compute_share`: the rest; `messages` and `sent_bytes` of the first
        process in a step. Predicted: `ideal`, the number of processes; `predicted_step_s` and `predicted_speedup` with
        their bands, `predicted_bubble_share`: the time that a stage of a pipeline waits for others by the textbook, of
        what is measured a part of that at the door. `not_predicted` and `skipped`, label reason, where the planner does
        not know such a plan, and where the plan does not suit a model.

    Raises:
        ValueError: no plan or model, a plan for another number of processes, or sizes below 1.
    """
    if not plans or not models or min(batch, length) < 1 or not 0 < budget_s < math.inf:
        raise ValueError("give at least one model and one plan, and batch, length and budget above 0")
    rows: list[Measurement] = []
    say = progress or (lambda text: None)
    share_s = budget_s / (len(models) * len(plans))
    foretell = Foreteller(batch, length, share_s) if predicted else None
    for name, architecture in models.items():
        for plan in plans:
            say(f"{name} under {plan}")
            sizes = batch, length, parameters, vocabulary
            rows += _measured(name, architecture, plan, *sizes, share_s, weak, foretell, seed)
    if ledger is not None:
        ledger.extend(rows)
    return rows


def _measured(
    name: str,
    architecture: Architecture,
    plan: Plan,
    batch: int,
    length: int,
    parameters: int,
    vocabulary: int,
    budget_s: float,
    weak: bool,
    foretell: Foreteller | None,
    seed: int,
) -> list[Measurement]:
    spec, reasons = suited(architecture, plan, parameters, vocabulary)
    labels: dict[str, Label] = {
        "model": name, "family": architecture.family, "plan": str(plan), "processes": plan.processes,
        "batch": batch, "length": length, "parameters": count_parameters(spec, embeddings=False),
        "scaling": "weak" if weak else "strong",
        "width": spec.width,
    }  # fmt: skip
    if weak and plan.tensor * plan.pipeline > 1:
        reasons = [*reasons, "a weak scaling is of rows or of time: take data or sequence"]
    if reasons:
        return [Measurement(what="skipped", value=0, unit="1", labels={**labels, "reason": "; ".join(reasons)})]
    settings = Optimizer(batch_size=batch, learning_rate=RATE)
    grown = (batch * plan.data, length * plan.sequence) if weak else (batch, length)
    whole = Step(Learner(spec.build(seed), settings), spec, batch, length, seed)
    patient = plan.replace(timeout_s=max(plan.timeout_s, _PATIENCE_S))  # while one process takes a step of the whole
    laid = _Laid(spec.build(seed), lambda: spec.build(seed), settings, patient)
    told = foretell(spec, patient, laid.layout.mesh.world, *grown) if foretell else None
    rounds, sent = _rounds(laid, whole, Step(laid, spec, *grown, seed), budget_s)
    times = plan.processes if weak else 1  # the work of a step under the plan, in steps of one process
    return _rows(rounds, sent, told, times, plan.processes, labels, spec.digest(), seed)


def suited(architecture: Architecture, plan: Plan, parameters: int, vocabulary: int) -> tuple[ModelSpec, list[str]]:
    """Return the architecture as a model of tokens of about so many parameters, and why a plan does not suit it.

    Where the plan's degrees do not divide its heads and its width, more heads and the next larger width are taken.
    """
    heads = getattr(architecture, "heads", 0)
    if heads % plan.tensor:
        architecture = architecture.replace(heads=math.lcm(heads, plan.tensor))
    frontend, head = Tokens(vocabulary=vocabulary), NextToken(vocabulary=vocabulary)
    source = frontend if architecture.needs == "source" else None
    fitted = fit_width(architecture, frontend, head, True, parameters, source)
    first: tuple[ModelSpec, list[str]] | None = None
    for width in range(fitted.width, fitted.width + _WIDER):
        try:
            spec = fitted.replace(width=width).model(frontend, head, True, source)
            with torch.device("meta"):
                reasons = why_not(plan, spec.build(0))
        except ValueError:
            continue  # a width that the heads do not divide
        if not reasons:
            return spec, []
        first = first or (spec, reasons)
    assert first is not None
    return first


def _rounds(laid: _Laid, whole: Step, plan: Step, budget_s: float) -> tuple[list[Round], tuple[int, int]]:
    """Return the rounds as the first process sees them, and (messages, bytes) that it sent in a step of the plan."""
    world, traffic = laid.layout.mesh.world, laid.layout.mesh.traffic
    whole()  # to warm up, and so that the optimizers' states are there
    plan()
    before = (sum(traffic.calls.values()), sum(traffic.bytes.values()))
    plan()
    sent = (sum(traffic.calls.values()) - before[0], sum(traffic.bytes.values()) - before[1])

    def timed(step: Step, here: bool) -> float:
        world.meet()
        began = perf_counter()
        if here:
            step()
            settle()
        return perf_counter() - began

    found: list[Round] = []
    began = perf_counter()
    while len(found) < MOST_ROUNDS:
        one = timed(whole, laid.first)
        every = float(world.sum(torch.tensor(timed(whole, True), dtype=torch.float64))) / world.size
        waited, collated = traffic.waited_s, laid.data_s
        together = timed(plan, True)
        found.append(Round(one, every, together, traffic.waited_s - waited, laid.data_s - collated))
        if len(found) >= ROUNDS and laid.told(perf_counter() - began) > budget_s:
            break
    own = torch.tensor([(each.door, each.data) for each in found], dtype=torch.float64)
    means = world.gather(own).mean(dim=0).tolist()
    return [each._replace(door=door, data=data) for each, (door, data) in zip(found, means, strict=True)], sent


def _rows(
    rounds: list[Round],
    sent: tuple[int, int],
    told: Told | None,
    times: int,
    n: int,
    labels: dict[str, Label],
    digest: str,
    seed: int,
) -> list[Measurement]:
    one, every, plan, door, data = (np.array(column) for column in zip(*rounds, strict=True))
    machine = describe(runtime.device()).digest()

    def row(
        what: str, unit: str, value: float, low: float | None = None, high: float | None = None, kind: str = "measured"
    ) -> Measurement:
        return Measurement(
            what=what, value=value, unit=unit, low=low, high=high, n=len(rounds) if kind == "measured" else 1,
            kind=kind, labels=labels, spec=digest, machine=machine,
        )  # fmt: skip

    speedup, ceiling = median_ratio(one * times, plan, seed), median_ratio(one * n, every, seed)
    door_share, data_share = float(np.median(door / plan)), float(np.median(data / plan))
    rows = [
        row("step_s", "s", float(np.median(plan))),
        row("one_process_s", "s", float(np.median(one))),
        row("speedup", "1", *speedup),
        row("ceiling", "1", *ceiling),
        row("of_ceiling", "1", *median_ratio(every * times / n, plan, seed)),
        row("efficiency", "1", speedup.value / n, speedup.low / n, speedup.high / n),
        row("door_share", "1", door_share),
        row("data_share", "1", data_share),
        row("compute_share", "1", max(1 - door_share - data_share, 0.0)),
        row("messages", "count", sent[0]),
        row("sent_bytes", "B", sent[1]),
        row("ideal", "1", n, kind="predicted"),
    ]
    if told is None:
        return rows
    if told.plan.step_s is None:
        why = {**labels, "reason": "; ".join(told.plan.why_not)}
        return [*rows, Measurement(what="not_predicted", value=0, unit="1", kind="predicted", labels=why)]
    return [
        *rows,
        row("predicted_step_s", "s", told.plan.step_s, told.plan.low, told.plan.high, "predicted"),
        row("predicted_speedup", "1", *told.speedup(times), "predicted"),
        row("predicted_bubble_share", "1", told.plan.bubble or 0.0, kind="predicted"),
    ]


def by_case(rows: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Return a mapping for each model and plan: its labels, and what -> value; of what is not there, why."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        labels = {name: value for name, value in row.labels.items() if name != "reason"}
        case = found.setdefault(str(sorted(labels.items())), labels)
        case[row.what] = row.labels.get("reason", row.value)
        if row.low is not None:
            case[f"{row.what}_interval"] = [row.low, row.high]
    return list(found.values())

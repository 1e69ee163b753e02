"""Prices: what a training step of a model pays on this machine, fitted at small sizes, and what messages cost."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

import numpy as np
import torch

from seqloom.core import runtime
from seqloom.lab.planner import Curve, Prices, features, kinds, predict
from seqloom.lab.steps import RATE, Step
from seqloom.measure.clock import time
from seqloom.measure.memory import peak_live_bytes, total_bytes
from seqloom.model.model import ModelSpec
from seqloom.parallel._door import Axis
from seqloom.parallel.cluster import Cluster
from seqloom.parallel.layout import why_not
from seqloom.parallel.plan import Plan
from seqloom.train.experiment import Optimizer
from seqloom.train.learner import Learner, learner

LEAST = 4  # sizes, whatever they take: as many as there are prices
_ROWS, _STEPS = (1, 2, 8), (16, 4, 2, 1)  # a batch's rows and a row's steps are divided by these: what is measured
_SMALL = tuple((rows, steps) for steps in (4, 16, 64) for rows in (1, 4))  # where that gives too few sizes
PAIRS = tuple(  # a plan of each kind
    Plan(timeout_s=600, **axes)  # type: ignore[arg-type]
    for axes in (
        {"data": 2},
        {"tensor": 2},
        {"sequence": 2},
        {"pipeline": 2},
        {"pipeline": 2, "cuts": "time", "parts": 8},
    )
)
_SHORT, _LONG_S = 8, 1.0  # steps of a row at least; seconds of a step for which rows are made shorter
_STEEPEST = 1.5  # power of what is told that a step may take
_TRIES_S = 20.0  # after which no other plan is tried
_SLOW_S = 0.25  # a step that is timed three times
_MESSAGE = 2**22  # bytes of a long message
_BLOCKS = 2  # and twice as many: with them is counted what a forward pass keeps

Tries = dict[Plan, list[tuple[int, int, float]]]  # (rows, steps of a row, seconds of a training step)


def fitted(spec: ModelSpec, batch: int, length: int, budget_s: float = 15.0) -> Prices:
    """Return the prices of a model of tokens on this machine, by steps of growing size while the budget lasts.

    The sizes are three quarters of the tokens that are asked about and fewer, in fewer rows or shorter ones.
    """
    learner = Learner(spec.build(0), Optimizer(learning_rate=RATE))
    began = perf_counter()
    taken: dict[tuple[int, int], float] = {}
    last = _token_s(learner, spec)
    asked = sizes(batch, length)
    if 6 * sum(rows * steps for rows, steps in asked[:LEAST]) * last > budget_s:
        asked = sorted(_SMALL, key=math.prod)
    for rows, steps in asked:
        long = rows * steps * last > budget_s / 30
        ahead = (3 if long else 6) * rows * steps * last  # calls of it
        if len(taken) >= LEAST and perf_counter() - began + ahead > budget_s:
            break
        seconds = time(Step(learner, spec, rows, steps), min_rounds=2 if long else 5, max_time_s=budget_s / 12)
        taken[rows, steps] = float(np.median(seconds))
        last = taken[rows, steps] / (rows * steps)
    return fit(spec, taken)


def _token_s(learner: Learner, spec: ModelSpec) -> float:
    """Return about how many seconds a token takes, by one short step behind another."""
    step = Step(learner, spec, *_SMALL[-1])
    step()
    began = perf_counter()
    step()
    return (perf_counter() - began) / math.prod(_SMALL[-1])


def fit(spec: ModelSpec, taken: dict[tuple[int, int], float]) -> Prices:
    """Return the prices of a model by what its steps took: (rows, steps of a row) -> seconds, four of them or more.

    The prices are the non-negative ones whose relative errors have the least squares. Their error is the largest
    relative one among the measured steps, at least a twentieth; what is left at each size is kept, and corrects
    predictions near it.
    """
    with torch.device("meta"):
        model = spec.build(0)
    asked, seconds = np.array([features(model, *size) for size in taken]), np.array(list(taken.values()))
    prices = non_negative(asked, seconds)
    left = seconds / (asked @ prices)
    error = max(float(np.max(np.abs(1 / left - 1))), 0.05)
    return Prices(prices, *kept_bytes(spec), error, len(taken), np.array(list(taken)), left)


def near(size: int) -> int:
    """Return three quarters of a size, in eights where there are enough: parts of a pipeline are then of one size."""
    return _eights(max(3 * size // 4, 1))


def _eights(size: int) -> int:
    return size - size % 8 if size >= 16 else size


def sizes(batch: int, length: int) -> list[tuple[int, int]]:
    """Return (rows, steps) to measure for a batch of rows of a length, the smallest first."""
    found = {(max(batch // r, 1), max(length // s, 1)) for r in _ROWS for s in _STEPS if r * s > 1}
    found = {(rows, steps) for rows, steps in found if 2 * rows * steps <= batch * length}
    found |= {(batch, near(length)), (near(batch), length)} - {(batch, length)}
    found |= set(_SMALL) if len(found) < LEAST else set()
    return sorted(found, key=lambda size: (size[0] * size[1], size))


def kept_bytes(spec: ModelSpec) -> tuple[float, float]:
    """Return the bytes that a token's forward pass keeps for the way back, through (a block, frontend and head).

    Counted with the first blocks alone, of which there are two numbers, so that a large model need not be made.
    """
    pattern = spec.backbone.pattern
    few, more = len(pattern[:_BLOCKS]), len(pattern[: 2 * _BLOCKS])
    found = {n: _token_bytes(spec.replace(backbone=spec.backbone.replace(pattern=pattern[:n]))) for n in {few, more}}
    if few == more:
        return found[few] / few, 0.0  # too few blocks to tell: nothing is left out
    block = (found[more] - found[few]) / (more - few)
    return block, max(found[few] - few * block, 0.0)


def _token_bytes(spec: ModelSpec) -> float:
    learner = Learner(spec.build(0), Optimizer(learning_rate=RATE))
    short, long = (peak_live_bytes(Step(learner, spec, 1, steps).backward).total_bytes for steps in (32, 96))
    return max((long - short) / 64, 0.0)


def non_negative(asked: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return x >= 0 (k,) so that asked (n, k) @ x is near taken (n,) in relative terms: negative ones are left out."""
    scaled = asked / taken[:, None]
    kept = list(range(asked.shape[1]))
    found = np.zeros(asked.shape[1])
    while kept:
        size = np.abs(scaled[:, kept]).max(axis=0) + 1e-300  # columns differ by ten orders of magnitude
        part = np.linalg.lstsq(scaled[:, kept] / size, np.ones(len(taken)), rcond=None)[0] / size
        if (part >= 0).all():
            found[kept] = part
            return found
        del kept[int(np.argmin(part * size))]
    return found


def measured(spec: ModelSpec, world: Axis, devices: int) -> Cluster:
    """Return this machine as a cluster of so many devices, each a process of one thread; called by all of an axis.

    Measured are the links between the processes of the axis, and how much slower a step is when all of them compute.
    """
    step = Step(Learner(spec.build(0), Optimizer(learning_rate=RATE)), spec, 1, 64)
    step()
    seconds = partial(_seconds, world)
    short, long = torch.zeros(2), torch.zeros(_MESSAGE // 4)
    latency_s = seconds(lambda: world.sum(short), 50)
    long_s = seconds(lambda: world.sum(long), 7)
    alone = seconds(step if world.index == 0 else int, 5)
    every = seconds(step, 5)
    rounds = 2 * (world.size - 1)  # of a sum, as a ring does it
    return Cluster(
        name="this",
        devices=devices,
        memory_bytes=(total_bytes() or 2**33) / devices,
        flops_per_s=1.0,  # the prices are fitted, so rates do not count
        bytes_per_s=1.0,
        step_s=1.0,
        link_s=latency_s / rounds,
        link_bytes_per_s=rounds / world.size * _MESSAGE / max(long_s - latency_s, 1e-9),
        overlaps=runtime.device().type == "cuda",
        crowding=max(every / alone, 1.0) if world.index == 0 else 1.0,
    )


def tried(
    spec: ModelSpec, world: Axis, batch: int, length: int, plans: Sequence[Plan] = PAIRS, long_s: float = _LONG_S
) -> Tries:
    """Return, for each plan that suits a model, what steps under it took here.

    Rows are three quarters, half and a quarter as long as is asked about. Called by all processes of the plans. Where a
    step of one process would take longer than `long_s`, all are shorter, by fours. After 20 s no further plan
    is begun.

    Args:
        spec: the model.
        world: the processes.
        batch: rows of a step, of all replicas together.
        length: steps of a row that are asked about.
        plans: to try; one of each kind for two processes, where none are given.
        long_s: seconds of a step, above which rows do not become longer.
    """
    settings, began = Optimizer(learning_rate=RATE), perf_counter()
    alone, most = Learner(spec.build(0), settings), near(length)
    steps = min(_SHORT, most)
    while steps < most and 4 * _told(world, _warm_seconds(world, Step(alone, spec, batch, steps), 1)) < long_s:
        steps = min(4 * steps, most)
    with torch.device("meta"):
        suited = [plan for plan in plans if not why_not(plan, spec.build(0)) and plan.data <= batch]
    found: Tries = {}
    for plan in suited:
        if _told(world, perf_counter() - began) > _TRIES_S:
            break  # what is left is told from prices and links alone
        learns = learner(spec.build(0), lambda: spec.build(0), settings, plan)
        known = smaller(batch, steps) if steps > _SHORT else [(batch, steps)]  # shorter ones tell nothing of long rows
        for rows, each in (size for size in known if size[1] >= plan.sequence):
            seconds = _warm_seconds(world, Step(learns, spec, rows, each), 7)
            found.setdefault(plan, []).append((rows, each, seconds))
    return found


def smaller(batch: int, steps: int) -> list[tuple[int, int]]:
    """Return (rows, steps of a row) at which a plan is tried: all rows, of so many steps, two thirds and a third.

    Kernels take two rows in hardly less time than four; with time all that a plan does grows evenly.
    """
    return sorted({(batch, max(_eights(part * steps // 3), 1)) for part in (1, 2, 3)})


def corrected(prices: Prices, spec: ModelSpec, cluster: Cluster, taken: Tries) -> Prices:
    """Return prices that know what plans took beside what was told of them, each under the first of its kinds."""
    curves: list[tuple[str, Curve]] = []
    for plan, points in taken.items():
        told = [predict(spec, [plan], rows, steps, cluster, prices)[0].step_s for rows, steps, _ in points]
        if None not in told:  # the planner knows such a plan, at such sizes
            curves.append((kinds(plan)[0], curve(np.array(told), np.array([seconds for *_, seconds in points]))))
    return prices._replace(curves=tuple(curves))


def curve(told: np.ndarray, taken: np.ndarray) -> Curve:
    """Return the curve from what was told of some steps (n,) to what they took (n,).

    A part that stays and one that grows with what is told: the line that is nearest in relative terms. Where that would
    begin below zero, since larger steps leave caches and take more than their share, a power of what is told.
    """
    if len(told) > 1:
        asked = np.stack([np.ones_like(told), told], axis=1) / taken[:, None]
        more, times = np.linalg.lstsq(asked, np.ones_like(taken), rcond=None)[0].tolist()
        if more >= 0 and times >= 0:
            return Curve(more, times, 1.0)
    power = float(np.polyfit(np.log(told), np.log(taken), 1)[0]) if len(told) > 1 else 1.0
    power = min(max(power, 1.0), _STEEPEST)
    return Curve(0.0, float(np.exp(np.mean(np.log(taken) - power * np.log(told)))), power)


def _seconds(world: Axis, call: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of a call that all processes begin together."""
    found: list[float] = []
    for _ in range(rounds):
        world.meet()
        began = perf_counter()
        call()
        found.append(perf_counter() - began)
    return float(np.median(found))


def _warm_seconds(world: Axis, step: Step, rounds: int) -> float:
    """Return the median seconds of a step, after two that do not count; of a long one fewer, of a very long one one."""
    step()
    once = _told(world, _seconds(world, step, 1))
    if once > _LONG_S:
        return once
    return _seconds(world, step, min(rounds, 3) if once > _SLOW_S else rounds)


def _told(world: Axis, value: float) -> float:
    return float(world.tell(torch.tensor(value, dtype=torch.float64)))

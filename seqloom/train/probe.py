"""What a step costs, found out by doing it: its time, to plan a budget in seconds; its memory, for the record."""

import time
from collections.abc import Callable

import numpy as np
import torch

from seqloom.core import runtime
from seqloom.data.batches import Examples
from seqloom.measure.memory import peak_live_bytes
from seqloom.parallel._door import local
from seqloom.train.learner import Learner
from seqloom.train.local import beside_bytes, pieces
from seqloom.train.update import moments

_STEPS = 8  # timed, and the share of the budget that they may take, and at most
_SHARE, _MOST_SHARE, _MOST_S = 1 / 20, 1 / 10, 5.0
_LEAST, _UTMOST_SHARE = 3, 1 / 4  # timed in any case, unless they take so much: one may fall on a stall of the machine
_STALL = 1.25  # the mean may be so much above the median: batches differ in length, but stalls are not the steps' own


def steps_within(
    budget_s: float, step: Callable[[int], object], clock: Callable[[], float] = time.perf_counter
) -> tuple[int, float]:
    """Return (how many steps a budget holds besides what it took to find out, seconds spent in finding out).

    The first steps are not counted: one, or two if they are short against the budget. From then on steps are timed for
    a twentieth of the budget, at most 5 s, but for 8 steps; not for more than a tenth, but for 3 steps; never for more
    than a quarter, but for one. What counts is their mean, but for stalls: at most 1.25 times the median.

    Args:
        budget_s: above 0.
        step: does step n, counted from 0; what it changes is for the caller to undo.
        clock: seconds.
    """
    began = clock()
    n, spent_s = 0, 0.0
    timed: list[float] = []
    while True:
        step(n)
        n += 1
        before_s, spent_s = spent_s, clock() - began
        if n == 1 or (n == 2 and spent_s < budget_s * _SHARE):
            continue  # warming up
        timed.append(spent_s - before_s)
        enough = len(timed) >= _STEPS and spent_s >= min(budget_s * _SHARE, _MOST_S)
        dear = spent_s >= budget_s * _MOST_SHARE and len(timed) >= _LEAST
        if enough or dear or spent_s >= budget_s * _UTMOST_SHARE:
            break
    step_s = min(float(np.mean(timed)), _STALL * float(np.median(timed)))
    return max(1, int((budget_s - spent_s) / step_s)), spent_s


def faster_threads(
    counts: list[int], step: Callable[[int], object], clock: Callable[[], float] = time.perf_counter
) -> int:
    """Return the number of CPU threads with which a step is fastest; the fewest of those within a twentieth of it.

    A recurrence's step is thousands of small operations, and handing each to several threads can take longer than
    doing it; a Transformer's step is a few large ones. The counts take turns, once to warm up and three times timed.
    """
    taken: dict[int, list[float]] = {n: [] for n in sorted(set(counts))}
    if len(taken) == 1:
        return counts[0]
    for _ in range(1 + _LEAST):
        for n, seconds in taken.items():
            with runtime.using_threads(n):
                began = clock()
                step(0)
                seconds.append(clock() - began)
    medians = {n: float(np.median(seconds[1:])) for n, seconds in taken.items()}
    return next(n for n, median in medians.items() if median <= 1.05 * min(medians.values()))


def peak_step_bytes(learner: Learner, examples: Examples, devices: list[torch.device]) -> int:
    """Return the peak of live tensors in a step of the longest rows, the optimizer's included; exact. Nothing moves.

    Of several processes it is that of this one. Of local SGD it is that of a replica's largest local step, beside what
    the round holds.
    """
    settings = learner.settings
    batches = range(1, settings.batch_size + 1)  # the last of an epoch may be a small one
    most = max(len(pieces(np.arange(rows), 0, settings)[0]) for rows in batches)
    rows = np.argsort(examples.lengths, kind="stable")[-most:]
    learner.optimizer.zero_grad(set_to_none=True)
    with torch.random.fork_rng(devices=devices):
        peak = peak_live_bytes(lambda: learner.gradients(examples, rows))
    learner.optimizer.zero_grad(set_to_none=True)
    return (
        peak.total_bytes
        + sum(local(t).numel() * t.element_size() for t in moments(learner.model, learner.optimizer).values())
        + beside_bytes(learner)
    )

"""The two iterations of parallel evaluation: states from the equations of all steps, and gradients from their adjoint.

Both are quasi-Newton with one matrix product over all steps, elementwise work and one linear scan an iteration, and
both stop by a residual that is computed from the exact equations, never by the size of a step.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from seqloom.ops._newton_cells import Linear, Problem, States, earlier, later
from seqloom.ops.scan import scan

PATIENCE = 16  # iterations in which the least residual must have halved


class Outcome(NamedTuple):
    """How an iteration ended."""

    iterations: int
    residual: float
    reason: str  # why it did not converge; empty: it did


class Stop:
    """Decides after each residual whether to go on."""

    def __init__(self, tolerance: float, most: int, length: int) -> None:
        self._tolerance, self._length = tolerance, length
        # after k iterations the first k steps are exact, so that no more than T are ever needed
        self._most = min(most, length + 1)
        self._least: list[float] = []

    def __call__(self, residual: float) -> Outcome | None:
        """Return the outcome if this residual, that after `len(self._least)` iterations, is the last; else None."""
        done, least = len(self._least), self._least
        if residual <= self._tolerance:
            return Outcome(done, residual, "")
        if not math.isfinite(residual):
            return Outcome(done, residual, f"After {done} iterations the residual is {residual}.")
        if done >= self._most:
            return Outcome(done, residual, f"After {done} iterations the residual is still {residual:.1e}.")
        least.append(min(residual, least[-1]) if least else residual)
        if self._length > self._most and done >= PATIENCE and least[-1] > 0.5 * least[done - PATIENCE]:
            return Outcome(done, residual, f"After {done} iterations the residual, {residual:.1e}, no longer falls.")
        return None


def solve(problem: Problem, tolerance: float, most: int) -> tuple[States, Outcome]:
    """Return states (B, T, H) with h_t = cell(x_t, h_{t-1}) up to the tolerance, relative to max(1, |h|) of a row.

    h' = h + d, d_t = a_t d_{t-1} + (cell(x_t, h_{t-1}) - h_t), with `decay` of Problem.own, held to [-1, 1], as a.
    """
    batch, length, _ = problem.gates.shape
    states = tuple(first.new_zeros((batch, length, first.shape[1])) for first in problem.first)
    stop = Stop(tolerance, most, length)
    while True:
        linear = problem.linear(problem.before(states))
        residuals = tuple(after - state for after, state in zip(linear.after, states, strict=True))
        outcome = stop(_relative(residuals, states, 1.0))
        if outcome is not None:
            return states, outcome
        states = _forward(problem, linear, states, residuals)


def _forward(problem: Problem, linear: Linear, states: States, residuals: States) -> States:
    own, decay = problem.own(linear)
    decay.clamp_(-1, 1)
    if linear.out is None:
        return (states[0] + scan(decay, residuals[0]),)
    assert linear.gate is not None
    r_h, r_c = residuals
    c = states[1] + scan(decay, torch.addcmul(r_c, own, earlier(r_h - linear.out * r_c, None)))
    return linear.gate * torch.tanh(c), c


def adjoint(
    problem: Problem, linear: Linear, given: States, tolerance: float, most: int
) -> tuple[States, States, Outcome]:
    """Return (g, those of the states before each step): g_t = given_t + J_{t+1}^T g_{t+1}, for all t at once.

    g' = g + d, d_t = a_{t+1} d_{t+1} + (given_t + J_{t+1}^T g_{t+1} - g_t). The tolerance is relative to the largest
    gradient of each row.
    """
    own, decay = problem.own(linear)
    own, decay = later(own), later(decay.clamp_(-1, 1))
    stop = Stop(tolerance, most, problem.gates.shape[1])
    gradients: States = given
    while True:
        before = problem.pull(linear, gradients)
        wanted = tuple(later(b) + d for b, d in zip(before, given, strict=True))
        if linear.out is not None:
            wanted = (wanted[0], torch.addcmul(wanted[1], linear.out, gradients[0]))
        residuals = tuple(w - g for w, g in zip(wanted, gradients, strict=True))
        outcome = stop(_relative(residuals, gradients, 0.0))
        if outcome is not None:
            return gradients, before, outcome
        if linear.out is None:
            gradients = (gradients[0] + _scan_back(decay, residuals[0]),)
            continue
        r_h, r_c = residuals
        d_c = _scan_back(decay, torch.addcmul(r_c, linear.out, r_h))
        steps = (r_h + own * later(d_c), d_c)
        gradients = tuple(g + step for g, step in zip(gradients, steps, strict=True))


def _scan_back(decay: Tensor, b: Tensor) -> Tensor:
    """Compute d_t = decay_t d_{t+1} + b_t."""
    return scan(decay.flip(1), b.flip(1)).flip(1)


def _relative(residuals: States, values: States, floor: float) -> float:
    """Return the largest residual relative to the largest value of its row, no less than the floor; NaN stays NaN."""
    largest = torch.stack([r.abs().amax(dim=(1, 2)) for r in residuals]).amax(dim=0)
    scale = torch.stack([v.abs().amax(dim=(1, 2)) for v in values]).amax(dim=0).clamp(min=floor)
    relative = torch.where(largest == 0, 0.0, largest / scale)  # a row without gradients has none to get wrong
    return float(relative.amax())

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
        residuals = lacking(linear.after, states)
        outcome = stop(relative(*sizes(residuals, states), 1.0))
        if outcome is not None:
            return states, outcome
        states = moved(linear, states, change(linear, problem.own(linear), residuals))


def adjoint(
    problem: Problem, linear: Linear, given: States, tolerance: float, most: int
) -> tuple[States, States, Outcome]:
    """Return (g, u), gradients of the states and of those before each step, from those given to each state directly.

    g_t = given_t + u_{t+1} and u_t = J_t^T g_t for all t at once: u' = u + d, d_t = a_t d_{t+1} + (J_t^T g_t - u_t).
    The tolerance is relative to the largest gradient of each row.
    """
    own = problem.own(linear)
    stop = Stop(tolerance, most, problem.gates.shape[1])
    before = tuple(torch.zeros_like(g) for g in given)
    while True:
        gradients = collected(linear, given, before)
        pulled = problem.pull(linear, gradients)
        residuals = lacking(pulled, before)
        outcome = stop(relative(*sizes(residuals, gradients), 0.0))
        if outcome is not None:
            return gradients, pulled, outcome
        steps = change_back(problem, linear, own, residuals)
        before = tuple(u + step for u, step in zip(before, steps, strict=True))


def lacking(wanted: States, found: States) -> States:
    """Return what is lacking."""
    return tuple(w - f for w, f in zip(wanted, found, strict=True))


def change(linear: Linear, own: tuple[Tensor, Tensor], residuals: States, entering: States = ()) -> Tensor:
    """Return the change (B, T, H) of the carried state in an iteration.

    Args:
        linear, own: the step about the guess, and what Problem.own says of it.
        residuals: of the guess.
        entering: (B, H) each, the change of the states before the first step; empty: none.
    """
    by_h, decay = own
    if linear.out is None:
        return scan(decay, residuals[0], *entering)
    b = torch.addcmul(residuals[1], by_h, earlier(unexplained(linear, residuals), entering[0] if entering else None))
    return scan(decay, b, *entering[1:])


def unexplained(linear: Linear, residuals: States) -> Tensor:
    """Return the LSTM's change of h that does not come by the change of c."""
    assert linear.out is not None
    return residuals[0] - linear.out * residuals[1]


def moved(linear: Linear, states: States, d: Tensor) -> States:
    """Return the states with a change of the one that is carried."""
    if linear.gate is None:
        return (states[0] + d,)
    c = states[1] + d
    return linear.gate * torch.tanh(c), c


def collected(linear: Linear, given: States, before: States) -> States:
    """Return the gradients of the states: those given, from the step after, and the LSTM's of c by h."""
    gradients = tuple(g + later(u) for g, u in zip(given, before, strict=True))
    if linear.out is None:
        return gradients
    return gradients[0], torch.addcmul(gradients[1], linear.out, gradients[0])


def change_back(
    problem: Problem, linear: Linear, own: tuple[Tensor, Tensor], residuals: States, entering: Tensor | None = None
) -> States:
    """Return the change (B, T, H) of the gradients of the states before each step, in an iteration.

    Args:
        problem, linear, own: the equations, the step about the solution, and what Problem.own says of it.
        residuals: of the guess.
        entering: (B, T, H), a change of the carried state's gradients that comes besides; None: none.
    """
    by_h, decay = own
    if linear.out is None:
        b = residuals[0] if entering is None else torch.addcmul(residuals[0], decay, entering)
        return (_scan_back(decay, b),)
    b = torch.addcmul(later(residuals[1]), linear.out, later(residuals[0]))
    c = _scan_back(later(decay), b if entering is None else b + entering)
    return torch.addcmul(residuals[0], by_h, c), torch.addcmul(residuals[1], problem.carried(linear), c)


def _scan_back(decay: Tensor, b: Tensor) -> Tensor:
    """Compute d_t = decay_t d_{t+1} + b_t."""
    return scan(decay.flip(1), b.flip(1)).flip(1)


def sizes(residuals: States, values: States) -> tuple[Tensor, Tensor]:
    """Return the largest residual and the largest value of each row, (B,) each."""
    largest, scale = (
        torch.stack([part.abs().amax(dim=(1, 2)) for part in parts]).amax(dim=0) for parts in (residuals, values)
    )
    return largest, scale


def relative(largest: Tensor, scale: Tensor, floor: float) -> float:
    """Return the largest residual relative to the largest value of its row, no less than the floor; NaN stays NaN."""
    shares = torch.where(largest == 0, 0.0, largest / scale.clamp(min=floor))  # without gradients none is wrong
    return float(shares.amax())

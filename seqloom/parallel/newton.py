"""Newton in time over processes: a nonlinear recurrence is solved on all stretches at once, none waits for another.

The iteration is that of one process (`ops/newton.py`), and its scan goes over the cuts of time by a fold: each process
tells how what leaves its stretch changes with what enters it. That, the states at its end and its residuals are one
gathering, so that an iteration costs one, and all processes stop at the same one.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from seqloom.core.types import Where, reorder
from seqloom.ops import _newton_gradient
from seqloom.ops._newton_cells import Linear, Problem, States
from seqloom.ops._newton_evidence import agreement, exponent
from seqloom.ops._newton_rows import Rows, arranged, each
from seqloom.ops._newton_solve import (
    Outcome,
    Stop,
    change,
    change_back,
    collected,
    lacking,
    moved,
    relative,
    sizes,
    unexplained,
)
from seqloom.ops.newton import TOLERANCE, Certificate, output_type, why_not
from seqloom.ops.recurrence import Weights, fresh
from seqloom.parallel._door import Axis

MOST = 100  # iterations


def newton(
    axis: Axis, cell: str, x: Tensor, weights: Weights, where: Where, tell: Callable[[str], None]
) -> tuple[Tensor | None, Certificate]:
    """Run a recurrent cell over stretches of time, one a process, all at once.

    Rules and tolerances are those of `ops.newton.newton` without windows, held over all processes: the exponent is the
    mean of those of the stretches, residual and agreement are the largest. So all of them give up together.

    Args:
        axis: of time.
        cell, weights: as `recurrence` takes them.
        x: (B, T / P, D), this process's stretch; it begins from zeros on the first.
        where: the place of each of its steps.
        tell: is told, in a sentence, that states or gradients were not solved at once, and why.

    Returns:
        (y, certificate): y (B, T / P, H), h of every step; None where it did not converge, on every process.
        Gradients are solved in the same way; where that fails each stretch computes them in sequence, one stretch
        after another. There are no second derivatives.

    Raises:
        ValueError: the processes are only played, and there are no numbers to stop by.

    Complexity: an iteration has 1 / P of the work of one process's, O(B T G H^2 / P), and sends B H numbers, 3 for each
        state of one (LSTM: 8). Messages: iterations + 3, and iterations + 1 on the way back.
    """
    if dist.get_backend(axis.group) == "fake":
        raise ValueError(
            "newton: how often processes call each other depends on numbers, which a plan that is played has not; "
            "leave newton out, and the rest of the plan can be checked"
        )
    certificate, y, back = Certificate(" ".join(why_not(x, weights, where))), None, None
    wide = torch.promote_types(x.dtype, torch.float32)
    if certificate.converged:
        with torch.autocast(x.device.type, enabled=False):
            own = each(weights, lambda weight: weight.to(wide))
            rows, back = arranged(x.to(wide), where, False)
            y = _solved(axis, cell, rows, own, TOLERANCE[wide], certificate, tell)
    if y is None:
        tell(f"States are handed from stretch to stretch, not solved at once: {certificate.reason}")
        return None, certificate
    y = y if back is None else reorder(y, back)
    return y.to(output_type(x, wide)), certificate


def _solved(
    axis: Axis,
    cell: str,
    rows: Rows,
    weights: Weights,
    tolerance: float,
    certificate: Certificate,
    tell: Callable[[str], None],
) -> Tensor | None:
    own, still = each(weights, torch.Tensor.detach), rows.detach()
    with torch.no_grad():
        known = [e for e in _of_all(axis, exponent(cell, still, own), rows.x) if not math.isnan(e)]
        certificate.exponent = math.fsum(known) / len(known) if known else math.nan
        if certificate.exponent > 0 and axis.size * rows.x.shape[1] > MOST:
            certificate.reason = f"Its largest Lyapunov exponent is {certificate.exponent:.2f}: it would not converge."
            return None
        problem = still.problem(cell, own, fresh(cell, rows.x, own.hh))
        states, first, outcome = _solve(axis, still, problem, tolerance)
        certificate.windows, certificate.iterations = 1, outcome.iterations
        certificate.residual, certificate.reason = outcome.residual, outcome.reason
        if outcome.reason:
            return None
        differ = _of_all(axis, agreement(cell, still, own, first, states), rows.x)
        certificate.agreement = math.nan if any(map(math.isnan, differ)) else max(differ)
        if not certificate.agreement <= 10 * tolerance:
            certificate.reason = f"Checked steps differ by {certificate.agreement:.1e} from a sequential run."
            return None
    elsewhere = _newton_gradient.Elsewhere(
        partial(_adjoint, axis), partial(_in_sequence, axis, tell, certificate.gradients)
    )
    settings = (tolerance, MOST, certificate.gradients, elsewhere)
    return _newton_gradient.attach(cell, rows, weights, first, states, *settings)[0]


def _of_all(axis: Axis, number: float, like: Tensor) -> list[float]:
    """Return a number of each process, the same list on all."""
    return axis.gather(like.new_tensor([number], dtype=torch.float64))[:, 0].tolist()


class _Told(NamedTuple):
    """What a process tells in an iteration, of N states that cross the cuts of time; from all (P, ...) each."""

    sizes: Tensor  # (B, 3) largest residual, largest value, whether the row has a step here
    slopes: Tensor  # (B, N, N, H) of the change that leaves the stretch by the change that enters it
    change: Tensor  # (B, N, H) that leaves where none enters
    edge: Tensor  # (B, N, H) what leaves, before the change; of a solution of the LSTM its gate o and c


def _solve(axis: Axis, rows: Rows, problem: Problem, tolerance: float) -> tuple[States, States, Outcome]:
    """Return (states of this stretch, the state before it, how it ended)."""
    states = tuple(first[:, None].expand(-1, rows.x.shape[1], -1) for first in problem.first)
    stop, zero = Stop(tolerance, MOST, axis.size * rows.x.shape[1]), torch.zeros_like(problem.first[0])
    while True:
        linear = problem.linear(problem.before(states))
        own, residuals = problem.own(linear), lacking(linear.after, states)
        d = change(linear, own, residuals)
        leaving, edge = (rows.last(d, zero),), (rows.last(states[0], zero),)
        if linear.out is not None:
            assert linear.gate is not None
            by_itself, out = (rows.last(part, zero) for part in (unexplained(linear, residuals), linear.out))
            leaving = (by_itself + out * leaving[0], *leaving)
            edge = rows.last(linear.gate, zero), rows.last(states[1], zero)
        slopes = _slopes(problem, rows, linear, own)
        told = _gathered(axis, rows, residuals, states, slopes, leaving, edge)
        outcome = stop(_relative(told, 1.0))
        if outcome is not None:
            return states, problem.first, outcome
        entering, first = _entering(told, range(axis.index), _gated if linear.gate is not None else torch.add)
        states = moved(linear, states, change(linear, own, residuals, entering) if axis.index else d)
        problem = problem._replace(first=first)


def _adjoint(
    axis: Axis, rows: Rows, problem: Problem, linear: Linear, given: States, tolerance: float, most: int
) -> tuple[States, States, Outcome]:
    """Return what `_newton_solve.adjoint` does, of this stretch: gradients also come from those behind it."""
    own = problem.own(linear)
    slopes = _slopes(problem, rows, linear, own).transpose(1, 2)
    out = None if linear.out is None else rows.last(linear.out, torch.zeros_like(problem.first[0]))
    stop = Stop(tolerance, most, axis.size * rows.x.shape[1])
    before = tuple(torch.zeros_like(g) for g in given)
    upstream = given
    while True:
        gradients = collected(linear, upstream, before)
        pulled = problem.pull(linear, gradients)
        residuals = lacking(pulled, before)
        d = change_back(problem, linear, own, residuals)
        leaving, edge = (tuple(part[:, 0] for part in parts) for parts in (d, before))
        told = _gathered(axis, rows, residuals, gradients, slopes, leaving, edge)
        outcome = stop(_relative(told, 0.0))
        if outcome is not None:
            return gradients, pulled, outcome
        entering, following = _entering(told, range(axis.size - 1, axis.index, -1), torch.add)
        if axis.index + 1 < axis.size:
            carried = entering[-1] if out is None else entering[1] + out * entering[0]
            at_end = rows.plus_last(torch.zeros_like(given[0]), carried)
            d = change_back(problem, linear, own, residuals, at_end)
            upstream = tuple(rows.plus_last(g, f) for g, f in zip(given, following, strict=True))
        before = tuple(u + step for u, step in zip(before, d, strict=True))


def _in_sequence(
    axis: Axis,
    tell: Callable[[str], None],
    outcomes: list[Outcome],
    run: Callable[[list[Tensor]], tuple[Any, ...]],
    d_last: list[Tensor],
) -> tuple[Any, ...]:
    """Return a stretch's gradients from those of the states at its end, which come from the stretch behind it."""
    tell(f"Gradients are handed from stretch to stretch, not solved at once: {outcomes[-1].reason}")
    if axis.index + 1 < axis.size:
        d_last = axis.receive(d_last, axis.index + 1)
    found = run(d_last)
    if axis.index > 0:
        axis.send(found[-len(d_last) :], axis.index - 1)
    return found


def _slopes(problem: Problem, rows: Rows, linear: Linear, own: tuple[Tensor, Tensor]) -> Tensor:
    """Return (B, N, N, H), how the states after a stretch change with those before it, as the iteration has it."""
    by_h, decay = own
    if linear.out is None:
        return rows.product(decay)[:, None, None]
    # the first step's own slopes, of c by (h, c); from there on c carries all, and h at the end is c's
    by_c = rows.product(decay, 1)[:, None] * torch.stack([by_h[:, 0], problem.carried(linear)[:, 0]], dim=1)
    out = rows.last(linear.out, torch.zeros_like(problem.first[0]))
    return torch.stack([out[:, None] * by_c, by_c], dim=1)


def _gathered(
    axis: Axis, rows: Rows, residuals: States, values: States, slopes: Tensor, leaving: States, edge: States
) -> _Told:
    """Tell the others; one message."""
    largest, scale = sizes(residuals, values)
    there = torch.ones_like(scale) if rows.lengths is None else (rows.lengths > 0).to(scale)
    numbers = torch.stack([largest, scale, there], dim=1)
    mine = _Told(numbers, slopes, torch.stack(leaving, dim=1), torch.stack(edge, dim=1))
    whole = axis.gather(torch.cat([part.flatten(1) for part in mine], dim=1))
    parts = whole.split([math.prod(part.shape[1:]) for part in mine], dim=2)
    return _Told(*(part.unflatten(2, like.shape[1:]) for part, like in zip(parts, mine, strict=True)))


def _relative(told: _Told, floor: float) -> float:
    """Return the largest residual of all stretches, relative to the largest value of its row."""
    largest, scale, _ = told.sizes.amax(dim=0).unbind(dim=1)
    return relative(largest, scale, floor)


def _entering(
    told: _Told, stretches: Iterable[int], changed: Callable[[Tensor, Tensor], Tensor]
) -> tuple[States, States]:
    """Return (change, value) of the states that enter a stretch, (B, H) each, behind others in their order."""
    change = value = torch.zeros_like(told.edge[0])
    for index in stretches:
        leaving = told.change[index] + (told.slopes[index] * change[:, None]).sum(dim=2)
        there = told.sizes[index, :, 2, None, None] > 0
        value = torch.where(there, changed(told.edge[index], leaving), value)
        change = torch.where(there, leaving, change)
    return change.unbind(dim=1), value.unbind(dim=1)


def _gated(edge: Tensor, change: Tensor) -> Tensor:
    """Return the LSTM's (h, c) from (o, c) and a change of (h, c)."""
    c = edge[:, 1] + change[:, 1]
    return torch.stack([edge[:, 0] * torch.tanh(c), c], dim=1)

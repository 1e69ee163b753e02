"""Gradients of a solved recurrence: the adjoint of all steps at once, weight gradients by one product each."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from seqloom.ops._newton_cells import Linear, Problem, States
from seqloom.ops._newton_rows import Rows
from seqloom.ops._newton_solve import Outcome, adjoint
from seqloom.ops.recurrence import Weights, recurrence


class Elsewhere(NamedTuple):
    """How gradients are found of a stretch that others go on from."""

    adjoint: Callable[[Rows, Problem, Linear, States, float, int], tuple[States, States, Outcome]]
    # given what finds the gradients of (x, *weights, *first) from those of the states at the end, and these
    in_sequence: Callable[[Callable[[list[Tensor]], tuple[Tensor | None, ...]], list[Tensor]], tuple[Any, ...]]


def attach(
    cell: str,
    rows: Rows,
    weights: Weights,
    first: States,
    states: States,
    tolerance: float,
    most: int,
    outcomes: list[Outcome],
    elsewhere: Elsewhere | None = None,
) -> tuple[Tensor, ...]:
    """Return (y, *state) of solved states, with their gradient; every backward pass adds its outcome to `outcomes`.

    Saved for backward: inputs and states; gates and slopes are computed again, O(B T G H) for as long as it runs.
    """
    settings = (cell, rows.start, rows.lengths, tolerance, most, outcomes, elsewhere)
    return _Solved.apply(settings, len(first), rows.x, *weights, *first, *states)


class _Solved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, settings: tuple[Any, ...], n: int, *tensors: Any) -> tuple[Tensor, ...]:
        x, inputs, first, states = tensors[0], tensors[:5], tensors[5 : 5 + n], tensors[5 + n :]
        rows = Rows(x, *settings[1:3])
        ctx.settings, ctx.n = settings, n
        y = states[0].clone()
        ctx.save_for_backward(*inputs, *first, y, *states[1:])
        return y, *(rows.last(s, f) for s, f in zip(states, first, strict=True))

    @staticmethod
    def backward(ctx: Any, *given: Any) -> tuple[Any, ...]:
        gradients = _Backward.apply((*ctx.settings, ctx.needs_input_grad[2]), ctx.n, *given, *ctx.saved_tensors)
        return None, None, *gradients, *(None,) * ctx.n


class _Backward(torch.autograd.Function):
    """A function of its own, so that a second derivative is refused where it is asked for, not given as zero."""

    @staticmethod
    def forward(ctx: Any, settings: tuple[Any, ...], n: int, *tensors: Any) -> tuple[Any, ...]:
        cell, start, lengths, tolerance, most, outcomes, elsewhere, wants_x = settings
        (d_y, *d_last), (x, *weights), rest = tensors[: 1 + n], tensors[1 + n : 6 + n], tensors[6 + n :]
        first, states, weights = rest[:n], rest[n:], Weights(*weights)
        rows = Rows(x, start, lengths)
        with torch.autocast(x.device.type, enabled=False):
            problem = rows.problem(cell, weights, first)
            before = problem.before(states)
            linear = problem.linear(before)
            upstream, d_first = _placed(rows, d_y, d_last)
            given = (problem, linear, upstream, tolerance, most)
            found, earlier, outcome = adjoint(*given) if elsewhere is None else elsewhere.adjoint(rows, *given)
            outcomes.append(outcome)
            if outcome.reason:
                run = partial(_in_sequence, problem, rows, weights, d_y)
                return run(d_last) if elsewhere is None else elsewhere.in_sequence(run, d_last)
            d_gates = problem.into_gates(linear, found)
            d_hidden = linear.hidden(d_gates)
            d_x = d_gates @ weights.ih if wants_x else None
            d_weights = _of_weights(rows, weights, before[0], d_gates, d_hidden)
        return d_x, *d_weights, *(d + e[:, 0] for d, e in zip(d_first, earlier, strict=True))

    @staticmethod
    def backward(ctx: Any, *_: Any) -> NoReturn:
        raise RuntimeError(
            'a recurrence that was evaluated in parallel has no second derivatives; take evaluation="sequential" and '
            'compute the forward pass inside `with seqloom.ops.use(recurrence="reference"):`'
        )


def _of_weights(rows: Rows, weights: Weights, before: Tensor, d_gates: Tensor, d_hidden: Tensor) -> tuple[Any, ...]:
    """Return the gradients of the weights, None for a bias that is not there."""
    into, hidden = d_gates.flatten(0, 1), d_hidden.flatten(0, 1)
    return (
        into.t() @ rows.x.flatten(0, 1),
        hidden.t() @ before.flatten(0, 1),
        None if weights.b_ih is None else into.sum(dim=0),
        None if weights.b_hh is None else hidden.sum(dim=0),
    )


def _placed(rows: Rows, d_y: Tensor, d_last: list[Tensor]) -> tuple[States, States]:
    """Return the given gradients of all states (B, T, H), and what the states before the first step get directly."""
    real = rows.real()
    d_y = d_y if real is None else d_y.masked_fill(~real[..., None], 0.0)
    given = (d_y, *(torch.zeros_like(d_y) for _ in d_last[1:]))
    zeros = torch.zeros_like(d_y)
    d_states = tuple(rows.plus_last(d, last) for d, last in zip(given, d_last, strict=True))
    return d_states, tuple(rows.last(zeros, last) for last in d_last)


def _in_sequence(
    problem: Problem, rows: Rows, weights: Weights, d_y: Tensor, d_last: list[Tensor]
) -> tuple[Tensor | None, ...]:
    """Return the sequential op's gradients of (x, weights, first), from a forward pass of its own."""
    inputs = (rows.x, *weights, *problem.first)
    leaves = [None if tensor is None else tensor.detach().requires_grad_() for tensor in inputs]
    x, ih, hh, b_ih, b_hh, *first = leaves
    with torch.enable_grad():
        assert x is not None and ih is not None and hh is not None
        y, after = recurrence(problem.cell, x, Weights(ih, hh, b_ih, b_hh), tuple(first), rows.where(), True)
        found = iter(torch.autograd.grad((y, *after), [t for t in leaves if t is not None], (d_y, *d_last)))
    return tuple(None if leaf is None else next(found) for leaf in leaves)

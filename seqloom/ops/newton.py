"""Parallel in time for unmodified RNN, LSTM and GRU: the whole sequence solved at once, with a certificate.

The states h_1 ... h_T of h_t = f(h_{t-1}, x_t) are the root of T coupled equations. From a guess, all steps are
evaluated side by side (one matrix product) and corrected by a Newton step whose Jacobian keeps only the diagonal of
df/dh, so that it is one linear scan: h_t = f_t + a_t (h_{t-1} - guess_{t-1}). A default-initialised layer takes about
ten rounds whatever T; weights that make the recurrence chaotic make it diverge, and then the steps are run in turn.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqloom.core.types import Where
from seqloom.ops._equations import WINDOW, Equations, States
from seqloom.ops.recurrence import CELLS, Packed, Weights, fresh, recurrence
from seqloom.ops.scan import scan

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-6}  # largest residual of a solution


class Certificate(NamedTuple):
    """What is known of a solution."""

    converged: bool  # False: the steps were run in turn, the result is that of `recurrence`
    iterations: int
    residual: float  # largest |f(h_{t-1}, x_t) - h_t| over steps and units
    agreement: float  # largest difference from steps run in turn, over the last WINDOW; NaN: not looked at
    exponent: float  # largest Lyapunov exponent, estimated: nats a step; above 0 the recurrence is chaotic
    reason: str  # why the steps were run in turn; empty: they were not


def newton(
    cell: str,
    x: Tensor,
    weights: Weights,
    state: States = (),
    where: Where | Packed | None = None,
    last: bool = True,
    reverse: bool = False,
    *,
    tolerance: float | None = None,
    most: int = 60,
) -> tuple[Tensor, States, Certificate]:
    """Run a recurrent cell over all steps at once, or step by step where that does not converge.

    Args:
        cell, x, weights, state, where, last, reverse: as `seqloom.ops.recurrence` takes them.
        tolerance: largest residual of a solution; None: 1e-6, in float64 1e-10.
        most: iterations before it gives up.

    Returns:
        (y, state, certificate): y (B, T, H) and the state after the last step, differentiable, with the gradients of
        the steps run in turn; where it falls back they are `recurrence`'s own, bit for bit.

    Raises:
        ValueError: tolerance or most not positive.

    Complexity: an iteration has work O(B T G H^2), depth O(log T) beside the product's, memory O(B T G H). Estimating
    the exponent and checking the end run WINDOW steps each in turn.
    Source: Lim et al. 2023, arXiv 2309.12252 (the root over time); Gonzalez et al. 2024, arXiv 2407.19115 (the
    diagonal); Danieli et al. 2025, arXiv 2510.21450; Gonzalez et al. 2025, arXiv 2508.16817 (the exponent decides).
    """
    if most < 1 or (tolerance is not None and tolerance <= 0):
        raise ValueError(f"most = {most} and tolerance = {tolerance}: both must be positive")
    wide = torch.promote_types(x.dtype, torch.float32)
    tolerance = tolerance or TOLERANCE[wide]

    reasons = why_not(x, where, reverse)
    solution: States = ()
    found = Certificate(False, 0, *(float("nan"),) * 3, " ".join(reasons))
    if not reasons and not isinstance(where, Packed):
        with torch.no_grad():
            problem = Equations(cell, x.to(wide), _wide(weights, wide), _before(cell, x, weights, state, wide), where)
            solution, found = _certified(problem, tolerance, most)
    if not found.converged:
        return *recurrence(cell, x, weights, state, where, last, reverse), found
    flat = (x.to(wide), *_wide(weights, wide), *_before(cell, x, weights, state, wide))
    outputs = _Solved.apply(cell, where, tolerance, most, solution, *flat)
    y = outputs[0].to(x.dtype)
    return y, tuple(part[:, -1] for part in outputs) if last else (), found


def _certified(problem: Equations, tolerance: float, most: int) -> tuple[States, Certificate]:
    exponent = problem.exponent()
    found = Certificate(False, 0, float("nan"), float("nan"), exponent, "")
    # a short sequence is solved after as many iterations as it has steps, chaotic or not
    if exponent > 0 and problem.x.shape[1] > WINDOW:
        return (), found._replace(reason="Its largest Lyapunov exponent is above 0: it would not converge.")
    solution, iterations, residual = _solve(problem, tolerance, most)
    found = found._replace(iterations=iterations, residual=residual)
    if not residual <= tolerance:
        return (), found._replace(reason=f"After {iterations} iterations the residual is {residual:.1e}.")
    found = found._replace(agreement=problem.disagreement(solution))
    if not found.agreement <= 100 * tolerance:
        return (), found._replace(reason=f"The end differs by {found.agreement:.1e} from steps run in turn.")
    return solution, found._replace(converged=True)


def why_not(x: Tensor, where: Where | Packed | None, reverse: bool) -> list[str]:
    """Return why the steps must be run in turn, whatever the weights; empty: they need not."""
    reasons: list[str] = []
    if isinstance(where, Packed):
        reasons.append("Packed sequences are run in turn: pad them, with `where`.")
    elif reverse:
        reasons.append("Reversed sequences are run in turn.")
    elif x.shape[0] == 0 or x.shape[1] == 0:
        reasons.append("There are no steps.")
    if torch.compiler.is_compiling():
        reasons.append("The number of iterations depends on the data, which a compiler cannot trace.")
    return reasons


_measured: dict[tuple[Any, ...], bool] = {}


def pays(cell: str, x: Tensor, weights: Weights, state: States = ()) -> bool:
    """Return whether `newton` is faster than the steps in turn, measured once for each shape, type and device."""
    if why_not(x, None, False):
        return False
    key = (cell, x.shape, weights.hh.shape, x.dtype, x.device, torch.get_num_threads())
    if key not in _measured:
        with torch.no_grad():
            taken = []
            for run in (newton, recurrence):
                args = (cell, x.detach(), weights, state, None, True)
                run(*args)
                taken.append(min(_seconds(run, args) for _ in range(3)))
        _measured[key] = taken[0] < taken[1]
    return _measured[key]


def _seconds(run: Callable[..., Any], args: tuple[Any, ...]) -> float:
    begin = time.perf_counter()
    run(*args)
    if args[1].device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - begin


def _wide(weights: Weights, dtype: torch.dtype) -> Weights:
    return Weights(*(None if weight is None else weight.to(dtype) for weight in weights))  # type: ignore[arg-type]


def _before(cell: str, x: Tensor, weights: Weights, state: States, dtype: torch.dtype) -> States:
    return tuple(part.to(dtype) for part in (state or fresh(cell, x, weights.hh)))


def _solve(problem: Equations, tolerance: float, most: int) -> tuple[States, int, float]:
    """Return (states, iterations, residual); the residual is above the tolerance where it gave up."""
    batch, length = problem.x.shape[:2]
    guess = tuple(part.new_zeros((batch, length, part.shape[1])) for part in problem.first)
    best = float("inf")
    since = 0
    for iteration in range(1, most + 1):
        before = problem.before(guess)
        u, after = problem.step(before)
        residual = max(float((a - g).abs().max()) for a, g in zip(after, guess, strict=True))
        if residual <= tolerance:
            return guess, iteration, residual
        since = 0 if residual < 0.9 * best else since + 1
        best = min(best, residual)
        if not residual < float("inf") or since > 12:
            return guess, iteration, residual
        guess = tuple(
            scan(a, f - a * b, first)
            for a, f, b, first in zip(problem.diagonal(u, before, after), after, before, problem.first, strict=True)
        )
    return guess, most, residual


class _Solved(torch.autograd.Function):
    """A solution with its gradient: the adjoint of all steps solved at once too, by the same diagonal."""

    @staticmethod
    def forward(ctx: Any, cell: str, where: Any, tolerance: float, most: int, solution: States, *flat: Any) -> States:
        ctx.settings = (cell, where, tolerance, most)
        ctx.save_for_backward(*solution, *flat)
        return tuple(part.clone() for part in solution)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Any, ...]:
        cell, where, tolerance, most = ctx.settings
        saved, n = ctx.saved_tensors, CELLS[cell].states
        with torch.enable_grad():
            flat: list[Any] = [None if t is None else t.detach().requires_grad_() for t in saved[n:]]
            x, ih, hh, b_ih, b_hh, *first = flat
            problem = Equations(cell, x, Weights(ih, hh, b_ih, b_hh), tuple(first), where)
            before = tuple(part.detach().requires_grad_() for part in problem.before(saved[:n]))
            u, after = problem.step(before)
        flow = _adjoint(problem, u, before, after, given, tolerance, most)
        if flow is None:
            return (None,) * 5 + _gradients_in_turn(cell, flat, where, given)
        weights = [t for t in flat[:5] if t is not None]
        into = torch.autograd.grad(after, [*before, *weights], flow)
        d_first = tuple(part[:, 0] for part in into[:n])
        if problem.where is not None:
            d_first = tuple(part.masked_fill(problem.where.start[:, :1], 0.0) for part in d_first)
        found = iter(into[n:])
        return (None,) * 5 + tuple(None if t is None else next(found) for t in flat[:5]) + d_first


def _adjoint(
    problem: Equations, u: Tensor, before: States, after: States, given: States, tolerance: float, most: int
) -> States | None:
    """Solve flow_t = given_t + J_{t+1}^T flow_{t+1} over all steps; None: it does not converge."""
    with torch.no_grad():
        diagonal = problem.diagonal(u, before, after)
        later = tuple(torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1).flip(1) for a in diagonal)
    flow = tuple(torch.zeros_like(part) for part in given)
    scale = max(float(part.abs().max()) for part in given) or 1.0
    # gradients are asked for more exactly than states: they are not judged by a sequential run
    enough = 1e-3 * tolerance * scale
    for _ in range(2 * most):
        back = torch.autograd.grad(after, before, flow, retain_graph=True)
        with torch.no_grad():
            if problem.where is not None:
                back = tuple(part.masked_fill(problem.where.start[..., None], 0.0) for part in back)
            wanted = tuple(
                g + torch.cat([b[:, 1:], torch.zeros_like(b[:, :1])], dim=1) for g, b in zip(given, back, strict=True)
            )
            residual = max(float((w - f).abs().max()) for w, f in zip(wanted, flow, strict=True))
            if residual <= max(enough, 4 * torch.finfo(u.dtype).eps * max(float(f.abs().max()) for f in flow)):
                return flow
            if not residual < float("inf"):
                return None
            flow = tuple(_correct(a, w, f) for a, w, f in zip(later, wanted, flow, strict=True))
    return None


def _correct(later: Tensor, wanted: Tensor, flow: Tensor) -> Tensor:
    """Return the flow after flow_t = wanted_t + a_{t+1} (flow_{t+1} - old flow_{t+1}), later = a_{t+1} reversed."""
    next_flow = torch.cat([flow[:, 1:], torch.zeros_like(flow[:, :1])], dim=1).flip(1)
    return scan(later, wanted.flip(1) - later * next_flow, None).flip(1)


def _gradients_in_turn(cell: str, flat: list[Any], where: Any, given: States) -> tuple[Any, ...]:
    x, ih, hh, b_ih, b_hh, *first = flat
    with torch.enable_grad():
        y, after = recurrence(cell, x, Weights(ih, hh, b_ih, b_hh), tuple(first), where, True)
    # of a second state (LSTM) only the last step leaves the op
    given = (given[0], *(part[:, -1] for part in given[1:]))
    found = iter(torch.autograd.grad((y, *after[1:]), [t for t in flat if t is not None], given))
    return tuple(None if t is None else next(found) for t in flat)

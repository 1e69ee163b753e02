"""Dense recurrent layers evaluated parallel in time: all steps at once, again and again, until every step holds.

The layer is the one that was trained: same weights, same equations, no diagonal or modified cell. What comes back is
certified, and where the iteration does not converge it is the sequential op's result, bit for bit.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seqloom.core.types import Where, reorder
from seqloom.ops import _newton_gradient
from seqloom.ops._newton_cells import States
from seqloom.ops._newton_evidence import CHECKED, CHECKS, agreement, exponent
from seqloom.ops._newton_rows import Rows, arranged, each
from seqloom.ops._newton_solve import Outcome, solve
from seqloom.ops.op import transformed
from seqloom.ops.recurrence import CELLS, Packed, Weights, fresh, is_gathered, recurrence

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}  # of the residual
WINDOW_BYTES = 2**30
TIMED = 256  # steps of a sequential run that is timed


@dataclass
class Certificate:
    """What is known of one evaluation; NaN where nothing was measured.

    Residual and agreement are relative to max(1, largest state) of a row. The agreement is not the distance to the
    whole sequential run: where the exponent is negative, that is some residual / (1 - exp(exponent)).
    """

    reason: str = ""  # why the steps were run in sequence; empty: they were not
    iterations: int = 0  # of the window that took most
    residual: float = math.nan  # the largest |h_t - cell(x_t, h_{t-1})| over all steps
    agreement: float = math.nan  # the largest difference from sequential runs of checked stretches, the end included
    exponent: float = math.nan  # largest Lyapunov exponent, estimated: nats a step, above 0 the recurrence is chaotic
    windows: int = 0  # in which the sequence was solved, one after another
    gradients: list[Outcome] = field(default_factory=list)  # of each backward pass; a reason: it ran in sequence

    @property
    def converged(self) -> bool:
        """Return whether the result is the iteration's, not the sequential op's."""
        return not self.reason


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
    most: int = 100,
    window: int | None = None,
) -> tuple[Tensor, States, Certificate]:
    """Run a recurrent cell over all steps at once, by quasi-Newton iterations; in sequence where they do not converge.

    h_t = cell(x_t, h_{t-1}) for all t is one equation F(h) = 0. An iteration is one matrix product, W_hh times the
    guess moved by one step, elementwise gates, and one scan: h += d, d_t = a_t d_{t-1} + (cell(x_t, h_{t-1}) - h_t).
    a is the diagonal of the Jacobian dh_t / dh_{t-1}, held to [-1, 1]; with the whole Jacobian this were Newton's
    method, at H x H numbers a step. For an LSTM a = dc_t/dc_{t-1} + dc_t/dh_{t-1} dh_{t-1}/dc_{t-1}, the two by two
    block of a unit reduced to its cell state, and h = o tanh(c). Tried besides, as iterations with default weights,
    weights times 3, and 1 added to every self-connection (H = 64, T = 1024): this 9, 30, 18; c's forget gate alone,
    given the gates of the last guess, 10, 33, 43; that and then a scan of h with dh/dh 9, 32, 28; two scans, c as here
    and h through o, 9, 31, 17. Plain substitution, a = 0, takes a GRU three times as many.

    First the largest Lyapunov exponent is estimated over short sequential stretches; if it is positive the iteration is
    not tried, unless it must end: after k iterations the first k steps are exact. It is given up where the residual is
    not finite or has not halved in 16 iterations. At the end stretches of 32 steps, one of them the sequence's last,
    are run in sequence from the states found and must agree to ten times the tolerance.

    Args:
        cell, x, weights, state, where, last, reverse: as `recurrence` takes them; `Packed` runs in sequence.
        tolerance: of the residual; None: 1e-6 in float32, 1e-12 in float64.
        most: iterations, for each window, before it gives up.
        window: steps that are solved at once, then the state is handed on; None: as many as fit 1 GiB.

    Returns:
        (y, state, certificate): y and state as `recurrence` returns them. Types narrower than float32 are computed in
        float32. Gradients solve the adjoint equations in the same way, to the same tolerance relative to each row's
        largest; where that fails the sequential op computes them. There are no second derivatives.

    Raises:
        ValueError: tolerance, most or window not positive, or what `recurrence` refuses.

    Complexity: an iteration has work O(B T G H^2), depth O(log T) with a parallel scan, memory O(B T G H); the exponent
        takes 64 sequential steps, the check 32, whatever T. When it pays: docs/newton.md.
    Source: Lim et al. 2023 (DEER), arXiv 2309.12252; Gonzalez et al. 2024 (quasi-DEER), arXiv 2407.19115; Danieli et
        al. 2025 (ParaRNN), arXiv 2510.21450; Gonzalez et al. 2025 (the exponent decides), arXiv 2508.16817.
    """
    if most < 1 or not (tolerance is None or tolerance > 0) or not (window is None or window > 0):
        raise ValueError(f"most = {most}, tolerance = {tolerance} and window = {window}: each must be positive")
    reasons = why_not(x, weights, where)
    certificate = Certificate(" ".join(reasons))
    y, after, back, wide = x, (), None, torch.promote_types(x.dtype, torch.float32)
    if not reasons:
        with torch.autocast(x.device.type, enabled=False):
            own = each(weights, lambda weight: weight.to(wide))
            rows, back = arranged(x.to(wide), where, reverse)
            first = tuple(s.to(wide) for s in state or fresh(cell, rows.x, own.hh))
            window = window or _fitting(cell, rows, own)
            y, after = _solved(cell, rows, own, first, tolerance or TOLERANCE[wide], most, window, certificate)
        _correct(_kind(cell, x, weights, state), certificate)
    if not certificate.converged:
        return *recurrence(cell, x, weights, state, where, last, reverse), certificate
    y = y if back is None else reorder(y, back)
    return y.to(output_type(x, wide)), after if last else (), certificate


def why_not(x: Tensor, weights: Weights, where: Where | Packed | None) -> list[str]:
    """Return why these steps are run in sequence, whatever the weights; empty: they need not be."""
    reasons: list[str] = []
    if torch.compiler.is_compiling():
        return ["The number of iterations depends on the data, which a compiler cannot trace."]
    if isinstance(where, Packed):
        reasons.append("Packed sequences are run in sequence: pad them.")
    elif 0 in x.shape[:2]:
        reasons.append("There are no steps.")
    if is_gathered():
        reasons.append("The hidden units are split over processes.")
    if transformed():
        reasons.append("Function transforms need the reference.")
    if not x.is_floating_point():
        reasons.append(f"It knows no {x.dtype}.")
    elif any(w is not None and w.dtype != x.dtype for w in weights) and not torch.is_autocast_enabled(x.device.type):
        reasons.append("Input and weights differ in type.")
    return reasons


def _solved(
    cell: str,
    rows: Rows,
    weights: Weights,
    first: States,
    tolerance: float,
    most: int,
    window: int,
    certificate: Certificate,
) -> tuple[Tensor, States]:
    """Solve window after window and write the certificate; the first window that fails ends it."""
    length, outputs = rows.x.shape[1], []
    own = each(weights, torch.Tensor.detach)
    with torch.no_grad():
        certificate.exponent = exponent(cell, rows.detach(), own)
    if certificate.exponent > 0 and length > most:
        certificate.reason = f"Its largest Lyapunov exponent is {certificate.exponent:.2f}: it would not converge."
        return rows.x, first
    for begin in range(0, length, window):
        stretch = rows.select(begin, min(begin + window, length))
        before = tuple(s.detach() for s in first)
        with torch.no_grad():
            states, outcome = solve(stretch.detach().problem(cell, own, before), tolerance, most)
            differs = math.nan if outcome.reason else agreement(cell, stretch.detach(), own, before, states)
        certificate.windows += 1
        certificate.iterations = max(certificate.iterations, outcome.iterations)
        certificate.residual = _larger(certificate.residual, outcome.residual, begin == 0)
        certificate.agreement = _larger(certificate.agreement, differs, begin == 0)
        certificate.reason = outcome.reason
        if not outcome.reason and not differs <= 10 * tolerance:
            certificate.reason = f"Checked steps differ by {differs:.1e} from a sequential run."
        if certificate.reason:
            return rows.x, first
        settings = (tolerance, most, certificate.gradients)
        y, *after = _newton_gradient.attach(cell, stretch, weights, first, states, *settings)
        first = tuple(after)
        outputs.append(y)
    return torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0], first


def _larger(known: float, new: float, is_first: bool) -> float:
    """Return the larger number; NaN, but for the first's, stays."""
    return new if is_first or math.isnan(new) else max(known, new)


def _fitting(cell: str, rows: Rows, weights: Weights) -> int:
    """Return how many steps are solved at once: gates, slopes and some ten tensors of the states' size a step."""
    batch, length, _ = rows.x.shape
    bytes_a_step = batch * weights.hh.shape[1] * (4 * CELLS[cell].gates + 10) * rows.x.element_size()
    return min(length, max(CHECKED * CHECKS, WINDOW_BYTES // bytes_a_step))


def output_type(x: Tensor, wide: torch.dtype) -> torch.dtype:
    """Return the type of the outputs for x computed in a type at least as wide."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) and wide == torch.float32 else x.dtype


@dataclass
class _Measured:
    """What one evaluation takes, in seconds, and the iterations that were timed."""

    sequential_s: float
    newton_s: float
    iterations: int
    pays: bool


_measured: dict[tuple[Any, ...], _Measured] = {}


def pays(cell: str, x: Tensor, weights: Weights, state: States = ()) -> bool:
    """Return whether `newton` was measured to be faster than the sequential op on arguments of this kind.

    The first call of a kind (cell, widths, type, device, threads, with or without gradients; B and T up to a power of
    two) times both on these arguments: newton whole, and 256 sequential steps, from which it goes on in proportion.
    Once `newton` needs more iterations than pay, or falls back, the answer is no. It rests on a clock: results may
    differ between runs by rounding.
    """
    if why_not(x, weights, None):
        return False
    kind = _kind(cell, x, weights, state)
    if kind not in _measured:
        _measured[kind] = _measure(cell, x.detach(), weights, tuple(s.detach() for s in state), kind[-1])
    return _measured[kind].pays


def _kind(cell: str, x: Tensor, weights: Weights, state: States) -> tuple[Any, ...]:
    batch, length, width = x.shape
    trains = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *weights, *state))
    sizes = ((batch - 1).bit_length(), (length - 1).bit_length(), width, weights.hh.shape)
    return cell, sizes, x.dtype, x.device, torch.is_autocast_enabled(x.device.type), torch.get_num_threads(), trains


def _measure(cell: str, x: Tensor, weights: Weights, state: States, trains: bool) -> _Measured:
    own = each(weights, lambda weight: weight.detach().requires_grad_(trains))
    certificate = Certificate()

    def at_once() -> Tensor:
        nonlocal certificate
        y, _, certificate = newton(cell, x, own, state)
        return y

    def in_sequence(steps: int) -> Callable[[], Tensor]:
        return lambda: recurrence(cell, x[:, :steps], own, state, None, True)[0]

    steps = min(TIMED, x.shape[1])
    sequential_s = _seconds(in_sequence(steps), own, trains)
    if x.shape[1] > steps:  # what a call costs besides its steps counts once
        half_s = _seconds(in_sequence(steps // 2), own, trains)
        sequential_s += max(0.0, sequential_s - half_s) * (x.shape[1] - steps) / (steps - steps // 2)
    newton_s = _seconds(at_once, own, trains)
    pays = certificate.converged and newton_s < sequential_s
    return _Measured(sequential_s, newton_s, certificate.iterations, pays)


def _seconds(run: Callable[[], Tensor], weights: Weights, trains: bool) -> float:
    """Return the least of three times, after a run that is not counted."""
    times: list[float] = []
    for _ in range(4):
        begin = time.perf_counter()
        y = run()
        if trains:
            torch.autograd.grad(y.sum(), [weight for weight in weights if weight is not None])
        if y.device.type != "cpu":
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def _correct(kind: tuple[Any, ...], certificate: Certificate) -> None:
    """Take back that newton pays if this run fell back or took more iterations than pay."""
    known = _measured.get(kind)
    if known is not None:
        slow = known.newton_s * certificate.iterations > known.sequential_s * max(known.iterations, 1)
        known.pays = known.pays and certificate.converged and not slow

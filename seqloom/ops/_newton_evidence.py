"""What short sequential runs say of a parallel evaluation: whether it can converge, and whether it found the states."""

from typing import Any

import torch
from torch import Tensor

from seqloom.ops._newton_cells import Linear, Problem, States
from seqloom.ops._newton_rows import Rows
from seqloom.ops.op import use
from seqloom.ops.recurrence import Weights, fresh, recurrence
from seqloom.ops.scan import scan

STEPS, SETTLING = 64, 24  # of a stretch, and those of them in which state and direction settle
ROWS = 8
CHECKED, CHECKS = 32, 3  # steps of a checked stretch, and such stretches


def exponent(cell: str, rows: Rows, weights: Weights) -> float:
    """Return the mean growth of log |J_t ... J_1 v| a step, along short stretches that are run in sequence.

    Up to ROWS stretches of STEPS steps run side by side, from zeros; growth is counted after SETTLING steps, over real
    steps only. v is random with a fixed seed. nan: no step is left to count. A document that begins inside a stretch
    is ignored by v: the exponent is that of the weights on these inputs, not of where documents are cut.

    Complexity: STEPS sequential steps of the cell and of v, for at most ROWS rows, whatever T.
    Source: Benettin et al. 1980; as a predictor of Newton's iterations Gonzalez et al. 2025, arXiv 2508.16817.
    """
    batch, length, _ = rows.x.shape
    steps = min(length, STEPS)
    settling = min(SETTLING, steps // 2)
    apart = max(1, min(ROWS // batch, length // steps))
    begins = [(length - steps) * i // max(1, apart - 1) for i in range(apart)]
    chosen = rows.stretches(begins, steps).head(ROWS)
    problem = chosen.problem(cell, weights, fresh(cell, chosen.x, weights.hh))
    linear = problem.linear(_before(problem, chosen, weights))
    norms = _norms(problem, linear)[:, settling:].double()
    real = chosen.real()
    counted = torch.ones_like(norms) if real is None else real[:, settling:].to(norms)
    return float((norms.log() * counted).sum() / counted.sum())


def agreement(cell: str, rows: Rows, weights: Weights, first: States, states: States) -> float:
    """Return how far sequential runs of some stretches, each from the states found before it, are from those found."""
    length = rows.x.shape[1]
    steps = min(CHECKED, length)
    begins = sorted({(length - steps) * i // (CHECKS - 1) for i in range(CHECKS)})
    stretches = rows.stretches(begins, steps)
    before = tuple(
        torch.cat([s[:, begin - 1] if begin else f for begin in begins]) for s, f in zip(states, first, strict=True)
    )
    given: Any = (cell, stretches.x, weights, before, stretches.where(), True)
    if rows.x.device.type == "cpu":
        y, after = recurrence(*given)
    else:  # cuDNN may round products to ten bits
        with use(recurrence="loop"):
            y, after = recurrence(*given)
    found = torch.cat([states[0][:, begin : begin + steps] for begin in begins])
    real = stretches.real()
    difference = (y - found).abs()
    difference = difference if real is None else difference.masked_fill(~real[..., None], 0.0)
    worst = difference.amax(dim=(1, 2))
    lasts = torch.cat([states[-1][:, begin + steps - 1] for begin in begins])
    full = torch.ones_like(worst) if stretches.lengths is None else (stretches.lengths == steps).to(worst.dtype)
    worst = torch.maximum(worst, (after[-1] - lasts).abs().amax(dim=1) * full)
    scale = torch.cat([states[0].abs().amax(dim=(1, 2))] * len(begins)).clamp(min=1.0)
    return float((worst / scale).amax())


def _before(problem: Problem, rows: Rows, weights: Weights) -> States:
    """Return the states before each step of a sequential run from zeros."""
    y, _ = recurrence(problem.cell, rows.x, weights, (), rows.where(), False)
    if problem.cell != "lstm":
        return problem.before((y,))
    # the op hands back h; given h, and so the gates, c is a linear recurrence
    gates = problem.linear((problem.before((y, y))[0], torch.zeros_like(y)))
    assert isinstance(gates.carry, Tensor)
    return problem.before((y, scan(problem.severed(gates.carry), gates.after[1])))


def _norms(problem: Problem, linear: Linear) -> Tensor:
    """Return |J_t v| / |v| of each step (B, T), v the image of the one before; at least the least positive number."""
    linear = linear._replace(slope=linear.hidden(linear.slope), reset=None)
    batch, length, width = linear.after[0].shape
    generator = torch.Generator().manual_seed(0)
    v = torch.randn((len(linear.after), batch, width), dtype=linear.slope.dtype, generator=generator)
    v = (v / torch.linalg.vector_norm(v, dim=(0, 2), keepdim=True)).to(linear.slope.device)
    least = torch.finfo(v.dtype).tiny
    norms: list[Tensor] = []
    for t in range(length):
        v = torch.stack(problem.push(_at(linear, t), tuple(v.unbind(0))))
        # a direction may vanish, as where all units of relu are off
        norm = torch.linalg.vector_norm(v, dim=(0, 2), keepdim=True).clamp(min=least)
        v = v / norm
        norms.append(norm)
    return torch.cat(norms, dim=2)[0]


def _at(linear: Linear, t: int) -> Linear:
    after, slope, carry, _, out, gate = linear
    carry = carry[:, t] if isinstance(carry, Tensor) else carry
    return Linear(after, slope[:, t], carry, None, None if out is None else out[:, t], gate)

"""A linear-chain conditional random field: the sum over all sequences of classes, and the best of them.

A sequence y of T classes scores first[y_1] + sum_t step[t, y_t] + sum_t move[y_t-1, y_t] + last[y_T].

Sources: Lafferty et al. 2001, Conditional Random Fields, ICML; Lample et al. 2016, arXiv 1603.01360.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_RANGE = 690.0  # nats within which exponentials are float64 numbers
_LEAST = math.exp(-_RANGE)


def log_partition(step: Tensor, move: Tensor, first: Tensor, last: Tensor, real: Tensor) -> Tensor:
    """Return the logarithm of the summed exponentials of the scores of all sequences, (B,); 0 for an empty row.

    Computed in float64 by products of exponentials, which are exact unless scores of one step are 600 nats apart. The
    gradient are the chances of each class and of each move, by one pass ahead and one back.

    Args:
        step: (B, T, C).
        move: (C, C), from row to column.
        first, last: (C,).
        real: (B, T) booleans; True stands left of False in each row.

    Complexity: work O(B T C C), depth O(T), memory O(B T C).
    """
    if step.shape[1] == 0:
        return step.sum(dim=(1, 2))
    return _LogPartition.apply(step, move, first, last, real)  # type: ignore[no-any-return]


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: Tensor, move: Tensor, first: Tensor, last: Tensor, real: Tensor) -> Tensor:
        wide, moves = step.double().unbind(dim=1), move.double().exp()
        ahead = [first + wide[0]]
        for score, there in zip(wide[1:], real.unbind(dim=1)[1:], strict=True):
            ahead.append(torch.where(there[:, None], _through(ahead[-1], moves) + score, ahead[-1]))
        total = torch.logsumexp(ahead[-1] + last, dim=1)
        ctx.save_for_backward(step, move, last, real, torch.stack(ahead, dim=1), total)
        return total.masked_fill(~real[:, 0], 0.0).to(step.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        step, move, last, real, ahead, total = ctx.saved_tensors
        wide, moves = step.double(), move.double().exp()
        turned = moves.t()
        back = last.double().expand_as(wide[:, 0])
        behind = [back]
        for t in range(step.shape[1] - 1, 0, -1):
            back = torch.where(real[:, t, None], _through(wide[:, t] + back, turned), back)
            behind.append(back)
        backs = torch.stack(behind[::-1], dim=1)
        weight = gradient.double()[:, None, None] * real[..., None]
        chances = (ahead + backs - total[:, None, None]).exp() * weight
        onward = wide[:, 1:] + backs[:, 1:]
        peak = onward.amax(dim=2, keepdim=True)
        # beyond this stand classes between which the scheme allows no move
        left = (ahead[:, :-1] + peak - total[:, None, None]).clamp(max=_RANGE).exp() * weight[:, 1:]
        moved = moves * (left.flatten(0, 1).t() @ (onward - peak).exp().flatten(0, 1))
        ends = real & ~torch.cat([real[:, 1:], torch.zeros_like(real[:, :1])], dim=1)
        each = (chances, moved, chances[:, 0].sum(dim=0), (chances * ends[..., None]).sum(dim=(0, 1)))
        return *(part.to(step.dtype) for part in each), None


def _through(scores: Tensor, moves: Tensor) -> Tensor:
    """Return log(exp(scores) moves) of scores (B, C) and the exponentials of moves (C, C)."""
    peak = scores.amax(dim=1, keepdim=True)
    return ((scores - peak).exp() @ moves).clamp(min=_LEAST).log() + peak


def path_score(step: Tensor, move: Tensor, first: Tensor, last: Tensor, real: Tensor, path: Tensor) -> Tensor:
    """Return the score of one sequence a row, (B,); arguments as `log_partition`, path (B, T) classes."""
    path = path.masked_fill(~real, 0)
    if path.shape[1] == 0:
        return step.sum(dim=(1, 2))
    here = (step.gather(2, path[..., None])[..., 0] * real).sum(dim=1)
    moves = (move[path[:, :-1], path[:, 1:]] * real[:, 1:]).sum(dim=1)
    at = (real.sum(dim=1, keepdim=True) - 1).clamp(min=0)
    ends = (first[path[:, 0]] + last[path.gather(1, at)[:, 0]]) * real[:, 0]
    return here + moves + ends


@torch.no_grad()
def best_path(step: Tensor, move: Tensor, first: Tensor, last: Tensor, real: Tensor) -> Tensor:
    """Return the sequence of the largest score, (B, T) classes, 0 where not real; arguments as `log_partition`.

    Source: Viterbi 1967. Complexity: work O(B T C C), depth O(T), memory O(B T C).
    """
    length = step.shape[1]
    path = torch.zeros(step.shape[:2], dtype=torch.int64, device=step.device)
    if length == 0:
        return path
    best = first + step[:, 0]
    stay = torch.arange(step.shape[2], device=step.device).expand_as(best)
    came: list[Tensor] = []  # from which class, by step
    for t in range(1, length):
        score, origin = (best[:, :, None] + move).max(dim=1)
        there = real[:, t, None]
        best = torch.where(there, score + step[:, t], best)
        came.append(torch.where(there, origin, stay))
    at = (best + last).argmax(dim=1)
    path[:, -1] = at
    for t in range(length - 1, 0, -1):
        at = came[t - 1].gather(1, at[:, None])[:, 0]
        path[:, t - 1] = at
    return path.masked_fill(~real, 0)

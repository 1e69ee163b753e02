"""Short causal convolution, each channel alone, over the steps of one document: the companion of linear recurrences."""

import torch
from torch import Tensor

from seqloom.core.types import Where, latest, reorder


def short_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, tail: Tensor | None = None, where: Where | None = None
) -> tuple[Tensor, Tensor]:
    """Compute y_t = bias + sum_i weight_i x_{t - k + 1 + i} over the last k real steps of the same document.

    Args:
        x: (B, T, C).
        weight: (C, k), the last column for the step itself, as torch.nn.Conv1d lays out a depthwise kernel.
        bias: (C,) or None.
        tail: (B, k - 1, C), the last steps before x, zero where there are none; None: zeros.
        where: place of each step; None: all real, one document.

    Returns:
        (y, tail): y (B, T, C), any finite value at padding; the tail after the last step, float32 or wider.

    Complexity: work O(B T C k), depth O(1).
    """
    kernel = weight.shape[1]
    dtype = torch.promote_types(x.dtype, torch.float32)
    before = x.new_zeros((x.shape[0], kernel - 1, x.shape[2])) if tail is None else tail.to(x.dtype)
    if where is None or where.layout == "plain":
        filled = torch.cat([before, x], dim=1)
        return _weighted(filled, weight, bias, x.shape[1]), filled[:, x.shape[1] :].to(dtype, copy=True)
    # real steps to the front, so that lags count real steps
    order = (~where.real).to(torch.int8).argsort(dim=1, stable=True)
    filled = torch.cat([before, reorder(x, order)], dim=1)
    count = where.start.gather(1, order).cumsum(dim=1)
    count = torch.cat([count.new_zeros((x.shape[0], kernel - 1)), count], dim=1)
    y = _weighted(filled, weight, bias, x.shape[1], count)
    # the last k - 1 real entries, those of earlier documents as zeros
    at = where.real.sum(dim=1, keepdim=True) + torch.arange(kernel - 1, device=x.device)
    after = reorder(filled, at)
    own = count.gather(1, at) == count.gather(1, (at[:, -1:] if kernel > 1 else at))
    back = torch.empty_like(order).scatter_(1, order, torch.arange(x.shape[1], device=x.device).expand_as(order))
    return reorder(y, back), torch.where(own[..., None], after, 0.0).to(dtype)


def last_steps(x: Tensor, count: int, where: Where | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a convolution over count + 1 steps remembers of a stretch of time, whatever stands before it.

    Args:
        x: (B, T, D).
        count: steps that are remembered.
        where: place of each step; None: all real, one document.

    Returns:
        (steps, own, moved): (B, count, D), the last real steps of the document that the stretch ends in, the latest
        last; (B, count) bool, where there is such a step (elsewhere any finite value stands); (B,) int64, by how many
        places a tail before the stretch moves to the front, as `tail_after` takes it.
    """
    batch, length, width = x.shape
    if where is None or where.layout == "plain" or length == 0:
        taken = min(count, length)
        steps = torch.cat([x.new_zeros((batch, count - taken, width)), x[:, length - taken :]], dim=1)
        own = (torch.arange(count, device=x.device) >= count - taken).expand(batch, count)
        return steps, own, own.sum(dim=1)
    order = (~where.real).to(torch.int8).argsort(dim=1, stable=True)  # real steps to the front
    at = where.real.sum(dim=1, keepdim=True) - count + torch.arange(count, device=x.device)
    index = order.gather(1, at.clamp(min=0))
    own = (at >= 0) & latest(where.start).gather(1, index)
    # a document that begins inside moves all out
    moved = torch.where(where.start.any(dim=1), count, own.sum(dim=1))
    return reorder(x, index), own, moved


def tail_after(before: Tensor | None, own: Tensor, moved: Tensor) -> Tensor:
    """Return the tail after a stretch of time.

    Args:
        before: (B, k - 1, C), the tail before it; None: there is none.
        own: (B, k - 1, C), the tail that the stretch leaves where nothing stands before it.
        moved: (B,) int64, as `last_steps` counts.
    """
    if before is None:
        return own
    at = torch.arange(own.shape[1], device=own.device) + moved[:, None]
    left = reorder(before, at.clamp(max=max(own.shape[1] - 1, 0)))
    return own + torch.where((at < own.shape[1])[..., None], left, 0.0)


def _weighted(filled: Tensor, weight: Tensor, bias: Tensor | None, length: int, count: Tensor | None = None) -> Tensor:
    kernel = weight.shape[1]
    y: Tensor | None = None
    for i in range(kernel):
        part = filled[:, i : i + length] * weight[:, i]
        if count is not None and i < kernel - 1:
            part = torch.where((count[:, i : i + length] == count[:, kernel - 1 :])[..., None], part, 0.0)
        y = part if y is None else y + part
    assert y is not None
    return y if bias is None else y + bias

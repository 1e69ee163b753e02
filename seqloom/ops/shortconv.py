"""Short causal convolution, each channel alone, over the steps of one document: the companion of linear recurrences."""

import torch
from torch import Tensor

from seqloom.core.types import Where, reorder


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

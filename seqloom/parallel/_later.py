"""Gradients of weights later: the way back goes on to the stage before, and what weights learn waits for idle time.

torch splits a way back at autograd's nodes. A fused node computes both gradients whichever is asked for
(`ctx.needs_input_grad` tells what was wanted when it was made), so the split would cost it twice. Here linear layers,
most of a model's weights, are split by themselves; what recurrences keep in their own node is computed with it.

Source: Qi et al. 2023, Zero Bubble Pipeline Parallelism, arXiv 2401.10241.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.ops.linear import SMALL, Linear, linear

Work = list[Callable[[], None]]


def put_off(module: nn.Module, work: Work) -> None:
    """Let each linear layer of a module leave the gradients of its parameters to `work`, in ways back from now on.

    Args:
        module: changed in place; names and parameters stay.
        work: what is put off is added behind; each piece adds its gradients when called.
    """
    for layer in module.modules():
        if type(layer) is Linear:
            layer.__class__ = _Later
            layer.work = work  # type: ignore[assignment]


def taken(work: Work) -> Callable[[], None]:
    """Empty `work`; return what does all that was in it."""
    mine = work.copy()
    work.clear()

    def do() -> None:
        with torch.no_grad():
            while mine:
                mine.pop()()  # and gives back what it kept

    return do


class _Later(Linear):
    """A linear layer whose way back computes its input's gradient alone."""

    work: Work

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., K) to (..., M)."""
        if not (input.requires_grad and self.weight.requires_grad and torch.is_grad_enabled()):
            return super().forward(input)
        bias = None if self.bias is None else self.bias.detach()
        y = (F.linear if input.numel() < SMALL else linear)(input, self.weight.detach(), bias)
        x = input.detach()
        y.register_hook(lambda d_y: self.work.append(partial(self._learn, x, d_y)))
        return y

    def _learn(self, x: Tensor, d_y: Tensor) -> None:
        x, d_y = (each.reshape(-1, each.shape[-1]).to(self.weight.dtype) for each in (x, d_y))
        _add(self.weight, d_y.t() @ x)
        if self.bias is not None and self.bias.requires_grad:  # of parts of a layer one alone learns the bias
            _add(self.bias, d_y.sum(0))


def _add(parameter: Tensor, gradient: Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)

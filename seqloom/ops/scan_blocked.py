"""Two-level scan in torch operations: blocks of about sqrt(T) steps advance together, then their carries are chained.

2 sqrt(T) dependent tensor operations instead of T, for twice the work. A tree of log T levels moves more memory
and is slower on a CPU.
"""

import math
from typing import Any

import torch
from torch import Tensor

from seqloom.ops.op import Kernel
from seqloom.ops.scan import check, composed_gradients

_library = torch.library.Library("seqloom", "FRAGMENT")
_library.define("scan(Tensor a, Tensor b, Tensor? h0) -> Tensor")


def forward(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    """Compute the scan without a gradient."""
    batch, length, width = b.shape
    if length == 0:
        return torch.empty_like(b)
    block = max(1, math.isqrt(length))
    n_blocks = -(-length // block)
    padding = n_blocks * block - length
    if padding:  # a = 1, b = 0 carries the state through
        a = torch.cat([a, a.new_ones((batch, padding, width))], dim=1)
        b = torch.cat([b, b.new_zeros((batch, padding, width))], dim=1)
    # (block, B, n_blocks, N): each step of all blocks is one contiguous slice
    # cloned: with one step a block the permuted input would be written in place
    decay = a.unflatten(1, (n_blocks, block)).permute(2, 0, 1, 3).clone(memory_format=torch.contiguous_format)
    h = b.unflatten(1, (n_blocks, block)).permute(2, 0, 1, 3).clone(memory_format=torch.contiguous_format)
    for step in range(1, block):
        torch.addcmul(h[step], decay[step], h[step - 1], out=h[step])
        decay[step].mul_(decay[step - 1])
    carries = torch.empty_like(h[0])
    carry = torch.zeros_like(carries[:, 0]) if h0 is None else h0.to(b.dtype)
    for i in range(n_blocks):
        carries[:, i] = carry
        carry = torch.addcmul(h[-1, :, i], decay[-1, :, i], carry)
    torch.addcmul(h, decay, carries, out=h)
    return h.permute(1, 2, 0, 3).reshape(batch, n_blocks * block, width)[:, :length].contiguous()


@torch.library.register_fake("seqloom::scan", lib=_library)
def _(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    return torch.empty_like(b, memory_format=torch.contiguous_format)


_library.impl("scan", forward, "CompositeExplicitAutograd")


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], output, inputs[2])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    a, h, h0 = ctx.saved_tensors
    # the op again, so that the gradient of a gradient is right too
    return composed_gradients(torch.ops.seqloom.scan, a, h, h0, grad)


torch.library.register_autograd("seqloom::scan", _backward, setup_context=_remember, lib=_library)


class Blocked(Kernel):
    """Scan by blocks; any device, real and complex."""

    preference = 1

    def why_not(self, a: Tensor, b: Tensor, h0: Tensor | None = None) -> list[str]:
        return []

    def __call__(self, a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
        check(a, b, h0)
        return torch.ops.seqloom.scan(a, b, h0)


kernel = Blocked()

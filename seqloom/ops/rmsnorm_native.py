"""RMSNorm in C++ (csrc/pointwise.cpp): one pass forward, one backward."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from seqloom.ops._pointwise import Pointwise, address, run, structure
from seqloom.ops.rmsnorm import rmsnorm

_Call = structure("threads rows size eps x w d_y y factor d_x d_w", eps=ctypes.c_double)


class Native(Pointwise):
    """The C++ kernel."""

    op = rmsnorm

    def why_not(self, x: Tensor, weight: Tensor, eps: float) -> list[str]:
        reasons = super().why_not(x, weight)
        if not x.numel() or weight.shape != x.shape[-1:]:
            reasons.append("There is nothing to norm, or the weight is of another size.")
        return reasons

    def forward(self, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, ...]:
        x, weight = x.contiguous(), weight.contiguous()
        size = weight.numel()
        y, factor = x.new_empty(x.shape), x.new_empty(x.numel() // size)
        call = _Call(
            threads=torch.get_num_threads(), rows=factor.numel(), size=size, eps=eps,
            x=address(x), w=address(weight), y=address(y), factor=address(factor),
        )  # fmt: skip
        run("norm", x, call)
        return y, factor

    def backward(self, d_y: Tensor, kept: tuple[Tensor, ...], *args: Any) -> tuple[Tensor, ...]:
        x, weight, (factor,) = args[0].contiguous(), args[1].contiguous(), kept
        d_x, d_w = x.new_empty(x.shape), weight.new_empty(weight.shape)
        call = _Call(
            threads=torch.get_num_threads(), rows=factor.numel(), size=weight.numel(), x=address(x),
            w=address(weight), d_y=address(d_y), factor=address(factor), d_x=address(d_x), d_w=address(d_w),
        )  # fmt: skip
        run("norm_backward", x, call)
        return d_x, d_w


kernel = Native()

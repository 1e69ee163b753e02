"""Rotary positions in C++ (csrc/pointwise.cpp): one pass over the heads; backward turns back."""

from typing import Any

import torch
from torch import Tensor

from seqloom.ops._pointwise import Pointwise, address, run, structure
from seqloom.ops.rotate import rotate

_Call = structure("threads rows heads turned half x_row angles sign x cos sin y")


class Native(Pointwise):
    """The C++ kernel: heads that lie together, in rows of any distance."""

    op = rotate

    def why_not(self, heads: Tensor, cos: Tensor, sin: Tensor, turned: int) -> list[str]:
        reasons = super().why_not(heads, cos, sin)
        if not heads.numel():
            reasons.append("There is nothing to turn.")
        if cos.requires_grad or sin.requires_grad:
            reasons.append("It has no gradient of the angles.")
        return reasons

    def forward(self, heads: Tensor, cos: Tensor, sin: Tensor, turned: int) -> tuple[Tensor, ...]:
        return (_turn(heads, cos, sin, turned, 1),)

    def backward(self, d_y: Tensor, kept: tuple[Tensor, ...], *args: Any) -> tuple[Tensor, ...]:
        _, cos, sin, turned = args
        return (_turn(d_y, cos, sin, turned, -1),)


def _turn(heads: Tensor, cos: Tensor, sin: Tensor, turned: int, sign: int) -> Tensor:
    batch, length, count, width = heads.shape
    if heads.stride()[2:] != (width, 1) or heads.stride(0) != length * heads.stride(1):
        heads = heads.contiguous()
    cos, sin = cos.contiguous(), sin.contiguous()
    y = heads.new_empty(heads.shape)
    call = _Call(
        torch.get_num_threads(), batch * length, count, turned, width // 2, heads.stride(1), cos[..., 0].numel(), sign,
        address(heads), address(cos), address(sin), address(y),
    )  # fmt: skip
    run("rotate", heads, call)
    return y


kernel = Native()

"""SwiGLU's gate in C++ (csrc/pointwise.cpp): one pass forward, one backward, which computes the sigmoid again."""

from typing import Any

import torch
from torch import Tensor

from seqloom.ops._pointwise import Pointwise, address, run, structure
from seqloom.ops.swiglu import swiglu

_Call = structure("threads rows size x d_y y d_x")


class Native(Pointwise):
    """The C++ kernel."""

    op = swiglu

    def why_not(self, both: Tensor) -> list[str]:
        reasons = super().why_not(both)
        if not both.numel() or both.shape[-1] % 2:
            reasons.append("There are no two halves.")
        return reasons

    def forward(self, both: Tensor) -> tuple[Tensor, ...]:
        both = both.contiguous()
        y = both.new_empty((*both.shape[:-1], both.shape[-1] // 2))
        call = _Call(torch.get_num_threads(), y.numel() // y.shape[-1], y.shape[-1], address(both), 0, address(y))
        run("gate", both, call)
        return (y,)

    def backward(self, d_y: Tensor, kept: tuple[Tensor, ...], *args: Any) -> tuple[Tensor, ...]:
        both = args[0].contiguous()
        d_both = both.new_empty(both.shape)
        call = _Call(
            threads=torch.get_num_threads(), rows=d_y.numel() // d_y.shape[-1], size=d_y.shape[-1],
            x=address(both), d_y=address(d_y), d_x=address(d_both),
        )  # fmt: skip
        run("gate_backward", both, call)
        return (d_both,)


kernel = Native()

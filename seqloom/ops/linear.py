"""The linear layer: y = x W^T + b, the product that most of every model's time goes into.

torch multiplies float32 matrices with a library that uses half of the vector registers of some processors; the native
kernel uses all of them, forward and for both gradients.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.ops.op import Op

# elements of an input below which choosing a kernel costs more than it can bring
SMALL = 2048


def reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b in plain torch.

    Args:
        x: (..., K).
        weight: (M, K).
        bias: (M), or None.

    Returns:
        (..., M). Work 2 N K M flops for N rows of x, depth O(log K).
    """
    y = x @ weight.t()
    return y if bias is None else y + bias


def outputs(layer: nn.Module, x: Tensor, which: slice) -> Tensor:
    """Return some outputs (..., M) of a linear layer, which alone are computed; of what stands for one, all are."""
    if type(layer) is not Linear:
        return layer(x)[..., which]
    bias = None if layer.bias is None else layer.bias[which]
    return _product(x, layer.weight[which], bias)


linear = Op("linear", reference)


class Linear(nn.Linear):
    """torch.nn.Linear on the fastest kernel that can run: same arguments, same names, same values."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., K) to (..., M)."""
        return _product(input, self.weight, self.bias)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # a compiler plans products itself, and a branch on the length would fix it
    if torch.compiler.is_compiling() or x.numel() < SMALL:
        return F.linear(x, weight, bias)
    return linear(x, weight, bias)

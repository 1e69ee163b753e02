"""RMSNorm: rows divided by their root mean square, times a weight (Zhang and Sennrich 2019, arXiv 1910.07467)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.ops.op import Op


def reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return x / sqrt(mean(x^2) + eps) * weight, over the last axis of (..., D)."""
    return F.rms_norm(x, weight.shape, weight, eps)


rmsnorm = Op("rmsnorm", reference)


class RMSNorm(nn.RMSNorm):
    """torch.nn.RMSNorm over one axis, on the fastest kernel that can run."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        if torch.compiler.is_compiling() or self.eps is None:
            return super().forward(x)
        return rmsnorm(x, self.weight, self.eps)

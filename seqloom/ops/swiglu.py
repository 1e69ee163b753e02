"""SwiGLU's gate: silu(a) b of two halves. Source: Shazeer 2020, arXiv 2002.05202."""

import torch.nn.functional as F
from torch import Tensor

from seqloom.ops.op import Op


def reference(both: Tensor) -> Tensor:
    """Return silu(a) b, (..., M), of (..., 2 M) = a | b."""
    gate, value = both.chunk(2, dim=-1)
    return F.silu(gate) * value


swiglu = Op("swiglu", reference)

"""torch's own linear layer: any device, type and tensor, and any compiler's to fuse."""

import torch.nn.functional as F
from torch import Tensor

from seqloom.ops.op import Kernel


class Torch(Kernel):
    """One call of torch.nn.functional.linear."""

    preference = 1

    def why_not(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> list[str]:
        return []

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.linear(x, weight, bias)


kernel = Torch()

"""torch's own attention: any device and type, and any compiler's to fuse."""

import torch.nn.functional as F
from torch import Tensor

from seqloom.ops.attention import seen
from seqloom.ops.op import Kernel


class Torch(Kernel):
    """One call of torch.nn.functional.scaled_dot_product_attention."""

    preference = 1

    def why_not(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        causal: bool,
        window: int | None = None,
        lengths: Tensor | None = None,
    ) -> list[str]:
        return []

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        causal: bool,
        window: int | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        plain = window is None and lengths is None and (not causal or query.shape[1] == key.shape[1])
        allowed = None if plain else seen(query, key, causal, window, lengths)
        shared = query.shape[2] // key.shape[2]
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        if shared > 1:
            key, value = (part.repeat_interleave(shared, dim=1) for part in (key, value))
        if allowed is None:
            y = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        else:
            # a query that sees nothing would have no weights: it sees all, and its answer is taken away
            blind = ~allowed.any(dim=-1, keepdim=True)
            y = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed | blind).masked_fill(blind, 0.0)
        return y.transpose(1, 2)


kernel = Torch()

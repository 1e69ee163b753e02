"""A chain of matrices: S_{i+1} = A_i S_i + B_i, all states; what chunks of a delta rule leave to do in sequence."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

_library = torch.library.Library("seqloom", "FRAGMENT")
_library.define("chain(Tensor a, Tensor b, Tensor first) -> Tensor")


def chain(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    """Compute S_0 = first, S_{i+1} = A_i S_i + B_i.

    Args:
        a: (B, n, H, K, K).
        b: (B, n, H, K, V).
        first: (B, H, K, V).

    Returns:
        (B, n + 1, H, K, V), every state, the first among them.

    Complexity: work O(B n H K K V), depth n.
    """
    return torch.ops.seqloom.chain(a, b, first)


def _forward(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    states = [first]
    for i in range(a.shape[1]):
        states.append(torch.matmul(a[:, i], states[-1]).add_(b[:, i]))
    return torch.stack(states, dim=1)


@torch.library.register_fake("seqloom::chain", lib=_library)
def _(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    return b.new_empty((b.shape[0], b.shape[1] + 1, *b.shape[2:]))


_library.impl("chain", _forward, "CompositeExplicitAutograd")


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, states = ctx.saved_tensors
    # G_n = dS_n, G_i = dS_i + A_i^T G_{i+1}: the same chain, back in time, and so differentiable again
    back = chain(a.transpose(-1, -2).flip(1), grad[:, :-1].flip(1), grad[:, -1]).flip(1)
    after = back[:, 1:]
    return after @ states[:, :-1].transpose(-1, -2), after, back[:, 0]


torch.library.register_autograd("seqloom::chain", _backward, setup_context=_remember, lib=_library)


@register_flop_formula(torch.ops.seqloom.chain)
def chain_flops(a: tuple[int, ...], b: tuple[int, ...], first: tuple[int, ...], **_: Any) -> int:
    """Return the FLOPs of the chain's products, from the shapes."""
    batch, n, heads, key, value = b
    return 2 * batch * n * heads * key * key * value

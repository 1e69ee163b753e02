"""One opaque operation of a compiler's for a function in plain torch: its loop over chunks fixes no length."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_library = torch.library.Library("seqloom", "FRAGMENT")


def opaque(name: str, arguments: str, forward: Callable[..., Any], fake: Callable[..., Any]) -> Callable[..., Any]:
    """Register `seqloom::name`, returning two tensors, and its gradient, and return it.

    The gradient runs the function again and differentiates it, so that only the arguments are kept.

    Args:
        name: of the operation.
        arguments: of its schema, "Tensor q, Tensor? state, int chunk".
        forward: maps them to two tensors that alias no argument.
        fake: maps them to two tensors of the right shape.
    """
    _library.define(f"{name}({arguments}) -> (Tensor, Tensor)")
    _library.define(f"{name}_backward(Tensor[] grads, {arguments}) -> Tensor[]")
    _library.impl(
        name, lambda *given: tuple(part.contiguous() for part in forward(*given)), "CompositeExplicitAutograd"
    )
    torch.library.register_fake(f"seqloom::{name}", fake, lib=_library)

    def backward(grads: list[Tensor], *given: Any) -> list[Tensor]:
        with _recording():
            leaves = [part.detach().requires_grad_(_wants(part)) if _is(part) else part for part in given]
            outputs = forward(*leaves)
            wanted = [leaf for leaf in leaves if _is(leaf) and leaf.requires_grad]
            found = torch.autograd.grad(outputs, wanted, grads, allow_unused=True)
        return [
            torch.zeros_like(leaf) if grad is None else grad.clone(memory_format=torch.contiguous_format)
            for leaf, grad in zip(wanted, found, strict=True)
        ]

    _library.impl(f"{name}_backward", backward, "CompositeExplicitAutograd")

    @torch.library.register_fake(f"seqloom::{name}_backward", lib=_library)
    def _(grads: list[Tensor], *given: Any) -> list[Tensor]:
        return [torch.empty_like(part, memory_format=torch.contiguous_format) for part in given if _wants(part)]

    def remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.rest = [None if _is(part) else part for part in inputs]
        ctx.at = [i for i, part in enumerate(inputs) if _is(part)]
        ctx.save_for_backward(*(part for part in inputs if _is(part)))

    def differentiate(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        given = list(ctx.rest)
        for i, part in zip(ctx.at, ctx.saved_tensors, strict=True):
            given[i] = part
        found = iter(getattr(torch.ops.seqloom, f"{name}_backward")(list(grads), *given))
        return tuple(next(found) if _wants(part) else None for part in given)

    torch.library.register_autograd(f"seqloom::{name}", differentiate, setup_context=remember, lib=_library)
    return getattr(torch.ops.seqloom, name)


@contextmanager
def _recording() -> Iterator[None]:
    """Let autograd record inside an operation, where it is switched off."""
    private: Any = torch._C  # pyright: ignore[reportPrivateUsage]  there is no public way
    excluded = private._dispatch_tls_local_exclude_set()
    for key in ("AutogradOther", "AutogradCPU", "AutogradCUDA", "AutogradMeta", "ADInplaceOrView"):
        excluded = excluded.remove(getattr(private.DispatchKey, key))
    with private._ForceDispatchKeyGuard(private._dispatch_tls_local_include_set(), excluded), torch.enable_grad():
        yield


def _is(part: Any) -> bool:
    return isinstance(part, Tensor)


def _wants(part: Any) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point()

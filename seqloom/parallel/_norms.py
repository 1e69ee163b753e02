"""Norms in parts: between its layers, each process of a tensor axis has a stretch of time and not all of it.

Before a layer the stretches are gathered, behind it the parts' answers are summed and shared out: round a ring as many
bytes as a sum of all. Sums, norms and dropout keep O(T / P) for the way back where each process kept O(T), and so does
what a layer is given, which is gathered again when its way back begins.

Source: Korthikanti et al. 2022, Reducing Activation Recomputation in Large Transformer Models, arXiv 2205.05198.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqloom.core.cost import Cost
from seqloom.core.types import Where, fresh_place, locate
from seqloom.mixers.bidirectional import BidirectionalMixer
from seqloom.parallel._door import Axis
from seqloom.parallel._marked import also_summed
from seqloom.parallel._vocabulary import LogitsInParts
from seqloom.parallel.sequence import InTime
from seqloom.parallel.tensor import InParts

_Map = Callable[[Tensor, Axis], Tensor]


def cut_norms(model: nn.Module, axis: Axis) -> None:
    """Leave between a model's layers, whose parameters are cut, this process's stretch of time.

    Whoever calls the backbone, and a head in parts, gives them that stretch; an encoder is given all steps.
    """
    whole: Any = model
    _cut_backbone(whole.backbone, axis)
    if whole.encoder is not None:
        _cut_backbone(whole.encoder, axis)
        whole.encoder = InStretches(whole.encoder, axis)
    if isinstance(whole.head, LogitsInParts):
        head: Any = whole.head.inner
        whole.head.enter = gathered_steps
        head.dropout = DropoutInParts(head.dropout.p, axis)
        _see_parts([head.transform, head.norm], axis)


def _cut_backbone(backbone: Any, axis: Axis) -> None:
    _see_parts([backbone.norm], axis)
    for block in backbone.blocks.children():
        block.mixer = EveryStep(block.mixer, axis)
        if block.channel is not None:
            block.channel = EveryStep(block.channel, axis)
        block.dropout = DropoutInParts(block.dropout.p, axis)
        _see_parts([block.mixer_norm, block.channel_norm], axis)


def _see_parts(modules: Sequence[nn.Module | None], axis: Axis) -> None:
    """Let the gradients of modules, which each see a stretch here, be summed."""
    for module in filter(None, modules):
        for parameter in module.parameters():
            also_summed(parameter, axis.name)


class InStretches(nn.Module):
    """A backbone that works on stretches, for who gives and takes all steps."""

    def __init__(self, inner: nn.Module, axis: Axis) -> None:
        super().__init__()
        self.inner, self.axis = inner, axis

    def forward(self, x: Tensor, state: None, where: Where) -> tuple[Tensor, None]:
        """Map (B, T, D); T is padded to a multiple of the stretches."""
        length = x.shape[1]
        lacking = -length % self.axis.size
        if lacking:
            ids = F.pad(where.id, (0, lacking))
            x, (where, _) = F.pad(x, (0, 0, 0, lacking)), locate(ids, fresh_place(len(x), x.device), *ids.shape)
        y, _ = self.inner(own_steps(x, self.axis), state, where)
        return all_steps(y, self.axis)[:, :length], None


class EveryStep(nn.Module):
    """A layer that maps all steps, between others that see a stretch of them."""

    def __init__(self, inner: nn.Module, axis: Axis) -> None:
        super().__init__()
        self.inner, self.axis = inner, axis
        self.causal, self.reads, self.carry = (getattr(inner, name, None) for name in ("causal", "reads", "carry"))
        parts = _parts(inner)
        for part in parts:
            part.partial = True
        # what is a sum of parts is summed as it is shared out; anything else answers the same on all
        self._share = _part_of_sum if parts else _own

    def forward(self, x: Tensor, *rest: Any) -> Any:
        """Map this process's stretch (B, T / P, D) to the layer's answer there; the rest is of all steps."""
        again = _Again(x, self._share)
        whole = _Mapped.apply(x, self.axis, _whole, again.end)
        with again.keeping(whole):
            answer = self.inner(whole, *rest)
        y, *after = (answer,) if isinstance(answer, Tensor) else answer
        y = _Mapped.apply(y, self.axis, self._share, again.begin)
        return (y, *after) if after else y

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of the layer."""
        return self.inner.cost(batch, length)  # type: ignore[operator]


class DropoutInParts(nn.Module):
    """Dropout on a stretch of time: all draw for every step, the same as where time is not cut and rows not padded."""

    def __init__(self, p: float, axis: Axis) -> None:
        super().__init__()
        self.p, self.axis = p, axis

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T / P, D)."""
        if not (self.training and self.p):
            return x
        ones = x.new_ones((x.shape[0], x.shape[1] * self.axis.size, *x.shape[2:]))
        return x * _own(F.dropout(ones, self.p), self.axis)


class _Again:
    """What a layer was given: for the way back a stretch of it is kept, and when that begins all is gathered again.

    Args:
        x: the stretch.
        share: gives this process's part of the gradient of all.
    """

    def __init__(self, x: Tensor, share: _Map) -> None:
        # products in bfloat16 keep what they made of it themselves
        self._x: Tensor | None = None if torch.is_autocast_enabled(x.device.type) else x.detach()
        self._share = share
        self._gathered: Tensor | None = None

    def keeping(self, whole: Tensor) -> AbstractContextManager[None]:
        """Keep nothing of what was gathered for the way back; views of it are made anew of what is gathered then."""
        if self._x is None:
            return nullcontext()
        place, dtype = whole.untyped_storage()._cdata, whole.dtype  # the hooks live on, and must not hold it

        def pack(saved: Tensor) -> Any:
            mine = saved.untyped_storage()._cdata == place and saved.dtype == dtype
            return (saved.shape, saved.stride(), saved.storage_offset()) if mine else saved

        def unpack(packed: Any) -> Tensor:
            if isinstance(packed, Tensor):
                return packed
            assert self._gathered is not None
            return self._gathered.as_strided(*packed)

        return torch.autograd.graph.saved_tensors_hooks(pack, unpack)

    def begin(self, gradient: Tensor, axis: Axis) -> Tensor:
        """Gather the stretches, and the gradient of the layer's answer."""
        if self._x is not None:
            self._gathered, self._x = _whole(self._x, axis), None
        return _whole(gradient, axis)

    def end(self, gradient: Tensor, axis: Axis) -> Tensor:
        """Forget what was gathered; share the gradient of what the layer was given."""
        self._gathered = None
        return self._share(gradient, axis)


def _parts(layer: nn.Module) -> list[InParts]:
    """Return those of whose answers a layer's is the sum; none for one that does more with them."""
    if isinstance(layer, InTime):
        return _parts(layer.inner)
    each = [layer.ahead, layer.back] if isinstance(layer, BidirectionalMixer) else [layer]
    parts = [part for part in each if isinstance(part, InParts)]
    return parts if len(parts) == len(each) else []


def _whole(x: Tensor, axis: Axis) -> Tensor:
    return axis.gather(x).transpose(0, 1).flatten(1, 2)


def _part_of_sum(x: Tensor, axis: Axis) -> Tensor:
    return axis.scatter_sum(x.unflatten(1, (axis.size, -1)).transpose(0, 1))


def _own(x: Tensor, axis: Axis) -> Tensor:
    return x.chunk(axis.size, dim=1)[axis.index].clone()


class _Mapped(torch.autograd.Function):
    """One map on the way forward, another on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, there: _Map, back: _Map) -> Tensor:
        ctx.axis, ctx.back = axis, back
        return there(x, axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return ctx.back(grads[0], ctx.axis), None, None, None


def gathered_steps(x: Tensor, axis: Axis) -> Tensor:
    """Return all steps (B, T, D), with which each does its part: gradients are summed and shared out."""
    return _Mapped.apply(x, axis, _whole, _part_of_sum)


def all_steps(x: Tensor, axis: Axis) -> Tensor:
    """Return all steps (B, T, D), with which each does the same: of their gradient each takes its own."""
    return _Mapped.apply(x, axis, _whole, _own)


def own_steps(x: Tensor, axis: Axis) -> Tensor:
    """Return this process's steps (B, T / P, D) of what is the same on all: their gradients are gathered."""
    return _Mapped.apply(x, axis, _own, _whole)

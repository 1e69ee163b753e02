"""Tensor parallel: each process holds a part of every layer's parameters, and the layers' answers are summed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import FRESH, State, Where
from seqloom.model.block import ChannelMixer
from seqloom.model.mixer import Cut, Memory, SequenceMixer, Split
from seqloom.ops.recurrence import gathered_by
from seqloom.parallel._door import Axis, copied, gathered, summed
from seqloom.parallel._marked import also_summed
from seqloom.parallel._vocabulary import cut_vocabulary
from seqloom.parallel.plan import Plan, Strategy, listed


class TensorParallel(Strategy):
    """Heads, channels and gate columns are cut: y = sum over processes p of f_p(x).

    Each mixer says itself how its parameters may be cut. A layer sums once on the way forward and once on the way
    back; a nonlinear recurrence also gathers its hidden units at every step, which pays only where a step's products
    take much longer than a message. Token vectors and logits are cut along the vocabulary where the degree divides it.
    With `sequence_norms` what stands between the layers is cut along time (`_norms.py`).

    Source: Shoeybi et al. 2019, arXiv 1909.08053.
    """

    def why_not(self, model: nn.Module, plan: Plan) -> list[str]:
        """Return which widths the degree does not divide, and what would; and what norms in stretches go not with."""
        indivisible: dict[int, list[str]] = {}
        for name, module in model.named_modules():
            if not isinstance(module, SequenceMixer | ChannelMixer) or not (split := _split(module)):
                continue
            for parameter, tensor in _own(module).items():
                how = split[parameter]
                if isinstance(how, Cut) and (units := how.units(tensor.shape[how.dim])) % plan.tensor:
                    indivisible.setdefault(units, []).append(f"{name}.{parameter}")
        reasons = [
            f"tensor={plan.tensor} does not divide the {units} of {listed(names)}; take a divisor of {units}, or "
            "another --width or number of heads"
            for units, names in indivisible.items()
        ]
        if plan.sequence_norms and plan.pipeline > 1 and plan.cuts == "time":
            reasons.append(
                "sequence_norms and a pipeline with cuts=time both cut time, and a stretch of one would have to go on "
                "from parts of the other; take cuts=rows, or one of the two"
            )
        return reasons

    def apply(self, model: nn.Module, axis: Axis) -> None:
        """Cut the parameters of mixers and channel mixers, and sum what they answer; and cut the vocabulary."""
        cut_vocabulary(model, axis)
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, SequenceMixer | ChannelMixer) and (split := _split(child)):
                    cut_parameters(child, split, axis.index, axis.size)
                    setattr(module, name, InParts(child, axis))


class InParts(nn.Module):
    """A mixer on its part of the parameters; the answers of all parts are summed.

    Where `partial` is set, by who sums them instead, x comes as it is and its gradient goes as it is.
    """

    def __init__(self, inner: SequenceMixer | ChannelMixer, axis: Axis) -> None:
        super().__init__()
        self.inner, self.axis, self.partial = inner, axis, False
        self.causal, self.reads, self.carry = (getattr(inner, name, None) for name in ("causal", "reads", "carry"))

    def forward(self, x: Tensor, *rest: Any) -> Any:
        """Map as the inner mixer does; x and the answer are the same on all of the axis."""
        rest = tuple(_shared(part, self.axis) for part in rest)
        with gathered_by(self._gather):
            answer = self.inner(self._entering(x), *rest)
        return self._leaving(answer) if isinstance(answer, Tensor) else (self._leaving(answer[0]), answer[1])

    def _entering(self, x: Tensor) -> Tensor:
        return x if self.partial else copied(x, self.axis)

    def _leaving(self, y: Tensor) -> Tensor:
        return y if self.partial else summed(y, self.axis)

    def _gather(self, part: Tensor) -> Tensor:
        return torch.cat(gathered(part, self.axis).unbind(0), dim=1)

    def edge(self, x: Tensor, where: Where | None = None) -> State:
        """Return what summaries of this part must know of a stretch."""
        assert isinstance(self.inner, SequenceMixer)
        return self.inner.edge(self._entering(x), where)

    def advance_edge(self, state: State, edge: State) -> State:
        """Return this part's state with what an edge tells."""
        assert isinstance(self.inner, SequenceMixer)
        return self.inner.advance_edge(state, edge)

    def summary(self, x: Tensor, where: Where | None = None, before: State = FRESH) -> State:
        """Return what a stretch does to the rest of this part's state."""
        assert isinstance(self.inner, SequenceMixer)
        return self.inner.summary(self._entering(x), where, before)

    def folded(self, x: Tensor, where: Where, before: State, tell: Callable[[State], State]) -> Tensor:
        """Mix a stretch as the inner mixer does; x and the answer are the same on all of the axis."""
        assert isinstance(self.inner, SequenceMixer)
        with gathered_by(self._gather):
            return self._leaving(self.inner.folded(self._entering(x), where, before, tell))

    def attended(self, x: Tensor, where: Where, attend: Callable[..., Tensor]) -> Tensor:
        """Mix a stretch as the inner attention does, whose heads are this process's."""
        inner: Any = self.inner
        return self._leaving(inner.attended(self._entering(x), where, attend))

    def advance(self, state: State, summary: State) -> State:
        """Return this part's state after a stretch."""
        assert isinstance(self.inner, SequenceMixer)
        return self.inner.advance(state, summary)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of this part."""
        return self.inner.cost(batch, length)


def cut_parameters(module: nn.Module, split: Split, index: int, size: int) -> None:
    """Leave a module only its part of each parameter and buffer; whole ones are marked `shared` or, once, frozen."""
    for name, tensor in _own(module).items():
        owner, _, last = name.rpartition(".")
        place = module.get_submodule(owner)
        how = split[name]
        part = cut(tensor.detach(), how, index, size).clone()
        if isinstance(tensor, nn.Parameter):
            kept = nn.Parameter(part, requires_grad=tensor.requires_grad and (how != "once" or index == 0))
            if how == "copy":
                also_summed(kept, "tensor")
            setattr(place, last, kept)
        else:
            place._buffers[last] = part


def cut(tensor: Tensor, how: "Cut | str", index: int, size: int) -> Tensor:
    """Return the part at an index of a parameter; of one added once, zeros but on the first process."""
    if how == "copy":
        return tensor
    if how == "once":
        return tensor if index == 0 else torch.zeros_like(tensor)
    assert isinstance(how, Cut)
    shares = how.parts if isinstance(how.parts, tuple) else (1,) * how.parts
    unit = tensor.shape[how.dim] // sum(shares)
    parts = tensor.split([unit * share for share in shares], dim=how.dim)
    return torch.cat([part.chunk(size, dim=how.dim)[index] for part in parts], dim=how.dim)


def whole_of(part: Tensor, how: Cut, axis: Axis) -> Tensor:
    """Return the parameter of which each process of an axis has the part that `cut` gave it."""
    shares = how.parts if isinstance(how.parts, tuple) else (1,) * how.parts
    unit = part.shape[how.dim] // sum(shares)
    held = [each.split([unit * share for share in shares], dim=how.dim) for each in axis.gather(part).unbind(0)]
    return torch.cat([torch.cat(pieces, dim=how.dim) for pieces in zip(*held, strict=True)], dim=how.dim)


def splits(model: nn.Module) -> dict[str, Any]:
    """Return how each parameter of mixers and channel mixers may be cut, by its name in the whole model."""
    return {
        f"{name}.{parameter}": how
        for name, module in model.named_modules()
        if isinstance(module, SequenceMixer | ChannelMixer)
        for parameter, how in _split(module).items()
    }


def _own(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _split(module: SequenceMixer | ChannelMixer) -> Split:
    """Return how a leaf may be cut; nothing for what only holds mixers."""
    if isinstance(module, SequenceMixer):
        return module.split
    parts = 2 if module.kind == "swiglu" else 1
    return {
        "enter.weight": Cut(0, parts=parts),
        "enter.bias": Cut(0, parts=parts),
        "leave.weight": Cut(1),
        "leave.bias": "once",
    }


def _shared(part: Any, axis: Axis) -> Any:
    # a memory is the same everywhere, and each part reads it
    return part._replace(x=copied(part.x, axis)) if isinstance(part, Memory) else part

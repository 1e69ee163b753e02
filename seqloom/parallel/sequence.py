"""Sequence parallel: each process holds a stretch of time; states cross the cuts, folded or relayed."""

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from seqloom.core.cost import Cost
from seqloom.core.types import FRESH, State, Where, leaves
from seqloom.mixers._recurrent import RecurrentMixer
from seqloom.mixers.attention import AttentionMixer
from seqloom.model.mixer import SequenceMixer
from seqloom.ops.newton import Certificate
from seqloom.ops.recurrence import Weights
from seqloom.parallel._door import Axis, gathered, handed, taken
from seqloom.parallel.newton import newton
from seqloom.parallel.plan import Plan, Strategy, listed
from seqloom.parallel.ring import ring
from seqloom.parallel.tensor import InParts

RELAYED = 4  # groups of rows that follow each other: while one goes on in the next stretch, another is in this one


class SequenceParallel(Strategy):
    """Time is cut into stretches, one a process.

    Fold: what a stretch does to any state is told by a summary; one gathering of all summaries, and each process knows
    the state it begins with (scans: Blelloch 1990; attention: the keys and values, which go round instead with `ring`).
    Where a short convolution stands in front, its last steps, the edges, are gathered before. Relay: the state itself
    is handed on, and groups of rows and layers follow each other in a wavefront. Or, with `newton`, a recurrence is
    solved on all stretches at once. Full gradients every way.
    """

    def why_not(self, model: nn.Module, plan: Plan) -> list[str]:
        """Return which blocks see the future, but round a ring: their state cannot cross a cut of time in one way."""
        mixers = _outermost(model)
        blocks = [name for name, mixer in mixers if not (mixer.causal or (plan.ring and _rings(mixer)))]
        reason = f"sequence={plan.sequence}: {listed(blocks)} see the future; take a causal task, or cut another axis"
        reasons = [reason] if blocks else []
        if plan.cuts == "time" and plan.pipeline > 1:
            reasons.append(
                f"sequence={plan.sequence} and a pipeline with cuts=time both cut time, and a stretch of one would "
                "have to go on from parts of the other; take cuts=rows, or one of the two"
            )
        if plan.ring and not any(_rings(mixer) for _, mixer in mixers):
            reasons.append("ring is of attention without ALiBi and dropout on its weights, which the model has not")
        if plan.newton and not any(isinstance(mixer, RecurrentMixer) for _, mixer in mixers):
            reasons.append("newton is of rnn, lstm and gru, which the model has not")
        if plan.newton and plan.tensor > 1:
            reasons.append(
                f"newton wants all hidden units of a recurrence on a process, and tensor={plan.tensor} cuts them; take "
                "tensor=1, or no newton"
            )
        return reasons

    def apply(self, model: nn.Module, axis: Axis) -> None:
        """Let states cross the cuts of time in every block of the backbone."""
        for number, block in model.get_submodule("backbone.blocks").named_children():
            mixer: Any = block.get_submodule("mixer")
            at_once = f"block {number}" if self.plan.newton and isinstance(mixer, RecurrentMixer) else ""
            block.mixer = InTime(mixer, axis, self.plan.ring and _rings(mixer), at_once)


class InTime(nn.Module):
    """A mixer on this process's stretch of time.

    `at_once` names a recurrence that is to be solved at once, by iterations; `certificate` tells of the last time, its
    `reason` why it was relayed instead.
    """

    def __init__(self, inner: nn.Module, axis: Axis, rings: bool = False, at_once: str = "") -> None:
        super().__init__()
        self.inner, self.axis, self.rings, self.at_once = inner, axis, rings, at_once
        self.certificate: Certificate | None = None
        self._calls = 0  # of `newton`
        self._relays: Counter[str] = Counter()  # how often it relayed states, and gradients
        self.causal, self.reads, self.carry = (getattr(inner, name) for name in ("causal", "reads", "carry"))

    def forward(self, x: Tensor, state: State | None, where: Where, *memory: Any) -> tuple[Tensor, None]:
        """Map the stretch (B, T / P, D), as training does: from the beginning, without handing a state back."""
        assert state is None
        if self.reads:
            return self.inner(x, None, where, *memory)  # each step reads the memory, whatever stands before it
        if self.rings:
            mixer: Any = self.inner
            return mixer.attended(x, where, ring(self.axis, mixer.causal, _attention(mixer).window)), None
        if self.at_once and (y := self._solved(x, where)) is not None:
            return y, None
        return (self._folded(x, where) if self.carry == "fold" else self._relayed(x, where)), None

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of a stretch."""
        return self.inner.cost(batch, length)  # type: ignore[operator]

    def _folded(self, x: Tensor, where: Where) -> Tensor:
        mixer: Any = self.inner
        begun, edges = self._told(mixer.edge(x, where), FRESH, mixer.advance_edge)
        summaries: list[Tensor] = []

        def tell(summary: State) -> State:
            state, gathered_parts = self._told(summary, begun, mixer.advance)
            summaries.extend(gathered_parts)
            return state

        y = mixer.folded(x, where, begun, tell)
        # every process takes part in the way back, also the first, which needs nothing of what is told
        return _Tied.apply(y, *edges, *summaries)

    def _told(self, mine: State, state: State, advance: Callable[[State, State], State]) -> tuple[State, list[Tensor]]:
        """Return (the state advanced by what each stretch before this one tells, all that has a gradient)."""
        parts, shape = pytree.tree_flatten(mine)
        whole = [_gathered(part, self.axis) for part in parts]
        for index in range(self.axis.index):
            state = advance(state, pytree.tree_unflatten([part[index] for part in whole], shape))
        return state, [part for part in whole if part.requires_grad]

    def _solved(self, x: Tensor, where: Where) -> Tensor | None:
        mixer: Any = self.inner
        weights = Weights(mixer.weight_ih, mixer.weight_hh, mixer.bias_ih, mixer.bias_hh)
        self._calls += 1
        h, self.certificate = newton(self.axis, mixer.cell, x, weights, where, self._tell)
        return None if h is None else mixer.out(h)

    def _tell(self, sentence: str) -> None:
        """Count it, and warn of it, once of states and once of gradients, on the first process."""
        what = sentence.partition(" ")[0].lower()
        self._relays[what] += 1
        if self.axis.index == 0 and self._relays[what] == 1:
            warnings.warn(f"newton, {self.at_once}, {self.inner.cell}: {sentence}", stacklevel=2)

    def notice(self) -> str | None:
        """Return how often states or gradients were relayed that were to be solved at once; None: never."""
        often = ", ".join(f"{what} {times} times" for what, times in sorted(self._relays.items()))
        if not often:
            return None
        return f"newton, {self.at_once}, {self.inner.cell}: relayed in {self._calls} calls: {often}"

    def _relayed(self, x: Tensor, where: Where) -> Tensor:
        axis = self.axis
        groups = torch.arange(x.shape[0], device=x.device).tensor_split(min(RELAYED, x.shape[0]))
        answers: list[Tensor] = []
        for rows in groups:
            part, place = x[rows], _rows(where, rows)
            state: State = FRESH
            if axis.index > 0:
                # what a state looks like: that of no steps
                likes, shape = pytree.tree_flatten(
                    self.inner(part[:, :0].detach(), FRESH, place.select(slice(0, 0)))[1]
                )
                part, found = taken(part, [like.detach() for like in likes], axis, axis.index - 1)
                state = pytree.tree_unflatten(found, shape)
            y, after = self.inner(part, state, place)
            if axis.index + 1 < axis.size:
                y = handed(y, leaves(after), axis, axis.index + 1)
            answers.append(y)
        return torch.cat(answers)


def _attention(mixer: Any) -> Any:
    return mixer.inner if isinstance(mixer, InParts) else mixer


def _rings(mixer: Any) -> bool:
    """Return whether a mixer's keys can go round: attention to them all alike."""
    inner = _attention(mixer)
    return isinstance(inner, AttentionMixer) and not inner.dropout and "slopes" not in dict(inner.named_buffers())


class _Tied(torch.autograd.Function):
    """Return the first; the others take part in the way back, with zeros."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, *others: Tensor) -> Tensor:
        ctx.shapes = [(other.shape, other.dtype) for other in others]
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        zeros = (grads[0].new_zeros(shape, dtype=dtype) for shape, dtype in ctx.shapes)
        return grads[0], *zeros


def _gathered(part: Tensor, axis: Axis) -> Tensor:
    return gathered(part, axis) if part.is_floating_point() or part.is_complex() else axis.gather(part)


def _rows(tree: Any, rows: Tensor) -> Any:
    """Return the rows of a NamedTuple of tensors (B, ...) and other things, which stay."""
    return type(tree)(*(each[rows] if isinstance(each, Tensor) else each for each in tree))


def _outermost(model: nn.Module) -> list[tuple[str, SequenceMixer]]:
    blocks = model.get_submodule("backbone.blocks")
    return [(f"backbone.blocks.{name}.mixer", block.get_submodule("mixer")) for name, block in blocks.named_children()]  # type: ignore[misc]

"""What linear recurrent mixers share: how padding and documents enter their terms, and one scan between two maps."""

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from seqloom.core.cost import Cost
from seqloom.core.types import FRESH, State, Where
from seqloom.model.mixer import SequenceMixer
from seqloom.ops.linear import Linear
from seqloom.ops.scan import scan


def silenced(where: Where | None, *parts: Tensor) -> tuple[Tensor, ...]:
    """Return tensors (B, T, ...) with zeros at padding: a key, a correction or a log decay of zero changes nothing."""
    if where is None or where.layout == "plain":
        return parts
    return tuple(torch.where(where.real.view(*where.real.shape, *(1,) * (x.dim() - 2)), x, 0.0) for x in parts)


def starts(where: Where | None) -> Tensor | None:
    """Return (B, T) bool, True where a document begins inside the row; None where none can."""
    return None if where is None or where.layout != "mixed" else where.start


def kept(decay: Tensor, entering: Tensor, where: Where | None) -> tuple[Tensor, Tensor]:
    """Return the decay and the input (B, T, N) of a scan: decay 0 where a document begins, and 1 at padding."""
    if where is None or where.layout == "plain":
        return decay, entering
    real = where.real[..., None]
    decay = torch.where(real, decay.masked_fill(where.start[..., None], 0.0), 1.0)
    return decay, torch.where(real, entering, 0.0)


def last_state(h: Tensor, before: Tensor | None) -> Tensor:
    """Return the state (B, N) after the states (B, T, N) of a scan, T = 0 among them."""
    if h.shape[1]:
        return h[:, -1].clone()
    return h.new_zeros((h.shape[0], h.shape[2])) if before is None else before


def stretch(decay: Tensor, entering: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a scan of (B, T, N) does to any state before it: (product of decays, state from zeros), (B, N)."""
    return decay.prod(dim=1), last_state(scan(decay, entering, None), None)


def scan_folded(decay: Tensor, entering: Tensor, tell: Callable[[State], State]) -> Tensor:
    """Return the states (B, T, N) of a scan whose summary is told, from the first part of the state answered."""
    alone = scan(decay, entering, None)
    state = tell((decay.prod(dim=1), last_state(alone, None)))
    return scan(decay, entering, state[0]) if state else alone


def small_steps(heads: int) -> Tensor:
    """Return biases (heads,) whose softplus is drawn between 0.001 and 0.1, evenly in the logarithm."""
    first = torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
    return first + torch.log(-torch.expm1(-first))


class ScannedMixer(SequenceMixer):
    """h_t = a_t h_{t-1} + b_t, a and b of x alone, and a map of h. The state is (h,), h (B, H)."""

    carry = "fold"
    enter: Linear
    out: Linear

    @abstractmethod
    def terms(self, x: Tensor, where: Where | None) -> tuple[Tensor, Tensor]:
        """Return decay and input of the scan, each (B, T, H), in float32 or wider: products of many decays."""

    def answer(self, h: Tensor, x: Tensor) -> Tensor:
        """Return (B, T, D) from the states (B, T, H)."""
        return self.out(h.to(x.dtype))

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract."""
        before: Tensor | None = state[0] if state else None
        h = scan(*self.terms(x, where), before)
        return self.answer(h, x), None if state is None else (last_state(h, before),)

    def summary(self, x: Tensor, where: Where | None = None, before: State = FRESH) -> State:
        """Return (product of decays, state from zeros), each (B, H)."""
        return stretch(*self.terms(x, where))

    def folded(self, x: Tensor, where: Where, before: State, tell: Callable[[State], State]) -> Tensor:
        """Mix a stretch; its terms are computed once, and where time begins one scan is summary and answer."""
        return self.answer(scan_folded(*self.terms(x, where), tell), x)

    def advance(self, state: State, summary: State) -> State:
        """Return decay * h + entering."""
        decay, entering = summary
        return (decay * state[0] + entering,) if state else (entering,)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost; the scan's own work is elementwise and counts as traffic."""
        weights = self.enter.weight.numel() + self.out.weight.numel()
        hidden, size = self.out.weight.shape[1], self.out.weight.element_size()  # a complex unit counts twice
        return Cost(
            flops=2 * batch * length * weights,
            bytes=size * (weights + 3 * batch * length * hidden),
            state_bytes=batch * hidden * max(size, 4),
            depth=2 + max(length - 1, 0).bit_length(),
        )

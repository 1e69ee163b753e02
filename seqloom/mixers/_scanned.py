"""What the linear recurrent mixers share that are one scan between two maps."""

from abc import abstractmethod

from torch import Tensor

from seqloom.core.cost import Cost
from seqloom.core.types import State, Where
from seqloom.mixers._terms import last_state
from seqloom.model.mixer import SequenceMixer
from seqloom.ops.linear import Linear
from seqloom.ops.scan import scan


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

    def summary(self, x: Tensor, where: Where | None = None) -> State:
        """Return (product of decays, state from zeros), each (B, H)."""
        decay, entering = self.terms(x, where)
        return decay.prod(dim=1), last_state(scan(decay, entering, None), None)

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

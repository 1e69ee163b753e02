"""Two mixers, one for each direction of time."""

from typing import ClassVar

from torch import Tensor

from seqloom.core.cost import Cost
from seqloom.core.types import State, Where, fresh_place, locate, reorder, reversal
from seqloom.model.mixer import MixerSpec, SequenceMixer, refuse_state


class Bidirectional(MixerSpec):
    """Sum of a mixer along time and another against it; sees the future, so it cannot decode."""

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[str, ...]] = (
        "schuster1997",
        "Schuster, M. and Paliwal, K. K.",
        "Bidirectional Recurrent Neural Networks",
        "1997",
        "doi:10.1109/78.650093",
    )
    mixer: MixerSpec  # built twice

    def build(self, width: int) -> "BidirectionalMixer":
        """Return the mixer for vectors of this width."""
        return BidirectionalMixer(self.mixer.build(width), self.mixer.build(width))


class BidirectionalMixer(SequenceMixer):
    """y = ahead(x) + reverse(back(reverse(x))); the documents of a row are reversed each in its own place."""

    causal = False

    def __init__(self, ahead: SequenceMixer, back: SequenceMixer) -> None:
        super().__init__()
        self.ahead = ahead
        self.back = back

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract, without a state."""
        refuse_state(self, state)
        ahead, _ = self.ahead(x, None, where)
        if where is None:
            return ahead + self.back(x.flip(1), None, None)[0].flip(1), None
        order = reversal(where.real)  # what was padded behind stays padded behind
        turned, _ = locate(where.id.gather(1, order), fresh_place(x.shape[0], x.device), x.shape[0], x.shape[1])
        back, _ = self.back(reorder(x, order), None, turned)
        return ahead + reorder(back, order.argsort(dim=1)), None

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of both directions at once."""
        return self.ahead.cost(batch, length).beside(self.back.cost(batch, length))

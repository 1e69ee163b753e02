"""The contract: what every architecture is to the rest of the house.

A mixer maps (B, T, D) to (B, T, D) along time. One method serves three modes: `state=None` begins and hands back none
(training); `state=FRESH` begins and hands back the next state (prefill); any state, also with T = 1 or T = 0, goes
on (decoding). `seqloom.lab.laws` holds the laws as functions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.spec import Spec
from seqloom.core.types import FRESH, State, Where
from seqloom.ops import op
from seqloom.ops.tape import Tape, Unrecorded, Vector


@dataclass(frozen=True)
class Cut:
    """How a tensor axis may cut a parameter: along `dim`, which holds `parts` fused matrices, each cut alike.

    Parts of unequal size are given by their sizes, or by any numbers in the same proportion. What stays together, such
    as the entries of a head, is `each`.
    """

    dim: int
    parts: int | tuple[int, ...] = 1
    each: int = 1

    def units(self, size: int) -> int:
        """Return of how many units the smallest part of an axis of this size consists: ranks must divide it."""
        shares = self.parts if isinstance(self.parts, tuple) else (1,) * self.parts
        return size // sum(shares) // self.each


# "copy": whole on every rank; "once": whole, but added on one rank only (a bias behind a sum over ranks)
Split = Mapping[str, Cut | Literal["copy", "once"]]
Carry = Literal["fold", "relay"]


class SequenceMixer(nn.Module, ABC):
    """(B, T, D) -> (B, T, D) along time. Subclasses are final: wrap, do not subclass, to tweak.

    State is a pytree of tensors, batch first, without None leaves, never mutated; recurrent state is at least float32.
    Outputs at padding are any finite values. Shapes come from the tensors in hand, so that a mixer also runs on
    a cut of its parameters.
    """

    causal: bool = True  # a non-causal mixer refuses a state
    reads: bool = False  # whether `forward` takes a memory
    split: Split = {}  # parameter name -> how a tensor axis may cut it
    carry: Carry = "relay"  # how state crosses a cut of the time axis; "fold": told by edges and summaries

    def __init__(self) -> None:
        super().__init__()
        op.load()

    @abstractmethod
    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time.

        Args:
            x: (B, T, D), zero at padding.
            state: None, FRESH or the state that an earlier call handed back.
            where: the place of each step; None: all real, one document, from position 0 (state None or FRESH) or
                going on (the mixer's own state counts).

        Returns:
            (y, next state): y (B, T, D); the next state is None exactly if `state` is.

        Raises:
            ValueError: a state for a mixer that is not causal.
        """

    @abstractmethod
    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of a forward pass over (B, T) without state."""

    def record(self, tape: Tape, x: Vector, state: State, into: Vector) -> None:
        """Write one decoding step of one row to a tape, from a state of one row, its answer added to a vector.

        Raises:
            Unrecorded: the mixer has no native step, or this state has none.
        """
        raise Unrecorded(f"{type(self).__name__} has no native step.")

    def edge(self, x: Tensor, where: Where | None = None) -> State:
        """Return what a stretch of time does to that part of any state which its summary must know; (): there is none.

        What a short convolution remembers is such a part: the last steps of a stretch tell it, whatever stands before.
        """
        return ()

    def advance_edge(self, state: State, edge: State) -> State:
        """Return the state (FRESH: none yet) with that part as after a stretch with this edge, the rest untouched.

        Complexity: no more than the size of a state.
        """
        return state

    def summary(self, x: Tensor, where: Where | None = None, before: State = FRESH) -> State:
        """Return what a stretch of time does to the rest of any state; fold mixers only.

        Args:
            x: (B, T, D), zero at padding.
            where: the place of each step.
            before: a state before the stretch as far as edges tell it; FRESH where time begins.

        Law: `forward(x, s, where)[1] == advance(advance_edge(s, edge(x, where)), summary(x, where, s))`.

        Raises:
            TypeError: the mixer relays its state.
        """
        raise TypeError(f"{type(self).__name__} relays its state and has no summary")

    def advance(self, state: State, summary: State) -> State:
        """Return the state after a stretch of time, from the one before it and the stretch's summary; fold mixers only.

        The part that edges tell stays as it is.

        Raises:
            TypeError: the mixer relays its state.
        """
        raise TypeError(f"{type(self).__name__} relays its state and cannot be folded")

    def folded(self, x: Tensor, where: Where, before: State, tell: Callable[[State], State]) -> Tensor:
        """Mix a stretch of time (B, T, D) from a state that others know; fold mixers only.

        Law: it is `forward(x, tell(summary(x, where, before)), where)[0]`. A mixer may compute once what the two share.

        Args:
            x: the stretch, zero at padding.
            where: the place of each step.
            before: as of `summary`.
            tell: is told the summary, and answers with the state before the stretch.
        """
        return self(x, tell(self.summary(x, where, before)), where)[0]


class Memory(NamedTuple):
    """An encoder's output, as decoders read it; a step reads the entries of its own document."""

    x: Tensor  # (B, S, D)
    id: Tensor  # (B, S) int64, document of each entry, 0 at padding


class MemoryMixer(SequenceMixer):
    """A mixer that also reads an encoder's output.

    The memory is given once, with the first steps or with T = 0 before them; what is needed of it then lives in the
    state. Without `where` all steps belong to document 1, or to the last one that the state has seen.
    """

    reads = True

    @abstractmethod
    def forward(
        self, x: Tensor, state: State | None = None, where: Where | None = None, memory: Memory | None = None
    ) -> tuple[Tensor, State | None]:
        """Mix along time, reading the memory; as in SequenceMixer.

        Raises:
            ValueError: neither a memory nor a state that holds one is given.
        """

    @abstractmethod
    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of a forward pass over (B, T) without state, for a memory as long as T."""


class MixerSpec(Spec):
    """Names a mixer; `build(width)` makes it. One architecture is one file in mixers/."""

    folder: ClassVar[str | None] = "mixers"
    family: ClassVar[str] = "recurrent"  # or "attention", "hybrid": colours reports, picks sides in verdicts

    def build(self, width: int) -> SequenceMixer:
        """Return the mixer for vectors of this width, freshly initialised.

        Raises:
            ValueError: the width does not suit the mixer.
        """
        raise TypeError(f"{type(self).__name__} does not build")


def refuse_state(mixer: SequenceMixer, state: State | None) -> None:
    """Raise ValueError if a mixer that sees the future is given a state."""
    if state is not None and not mixer.causal:
        raise ValueError(
            f"{type(mixer).__name__} sees the future, so it cannot go on from a state: use a causal mixer to decode"
        )

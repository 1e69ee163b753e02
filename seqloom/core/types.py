"""The words of tensors: axis legend, state, and the place of each step.

Axes: B batch, T time, S memory time, D width, H heads, K key, V value, N state, C classes.
"dim" is a tensor's dimension; "axis" is a mesh axis.
"""

from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

# A pytree of tensors (NamedTuples), batch first, no None leaves; FRESH (the empty tuple) asks a mixer to begin.
State: TypeAlias = Any
FRESH: tuple[()] = ()
IGNORED = -100  # the target of a step that is not scored


class Where(NamedTuple):
    """The place of each step, computed once by the Model for all layers.

    `layout` is known without looking at the tensors: "plain" (no padding, no document begins inside), "tail" (padding
    only behind the last real step of a row, no document begins inside) or "mixed" (anything).
    """

    id: Tensor  # (B, T) int64, document of each step, 0 at padding
    real: Tensor  # (B, T) bool, False at padding
    start: Tensor  # (B, T) bool, True where a new document begins: state is reset before this step
    position: Tensor  # (B, T) int64, index of the step in its document
    layout: str

    def select(self, steps: slice) -> "Where":
        """Return the places of a stretch of time."""
        return Where(self.id[:, steps], self.real[:, steps], self.start[:, steps], self.position[:, steps], self.layout)


class Place(NamedTuple):
    """Where each row's stream stands; part of a Model's state."""

    id: Tensor  # (B,) int64, last document seen, 0 before the first
    position: Tensor  # (B,) int64, steps of that document so far


def fresh_place(batch: int, device: torch.device | str = "cpu") -> Place:
    """Return the place before any step: id 0, which accepts the first id without a reset."""
    zeros = torch.zeros(batch, dtype=torch.int64, device=device)
    return Place(zeros, zeros.clone())


def locate(segment: Tensor | None, place: Place, batch: int, length: int) -> tuple[Where, Place]:
    """Compute the place of each step and the place after them.

    Args:
        segment: (B, T) integers, 0 padding, equal ids one document; None: all real, going on.
        place: the place before the first step.
        batch: B.
        length: T.

    Returns:
        (Where, Place): both on the place's device. Work O(B T).
    """
    device = place.id.device
    steps = torch.arange(length, device=device)
    if segment is None:
        # going on with the last document; a fresh row begins document 1
        ids = place.id.clamp(min=1)
        position = place.position[:, None] + steps
        real = torch.ones((batch, length), dtype=torch.bool, device=device)
        where = Where(ids[:, None].expand(batch, length), real, torch.zeros_like(real), position, "plain")
        if length == 0:
            return where, place
        return where, Place(ids, place.position + length)
    if segment.shape != (batch, length):
        raise ValueError(f"segment has shape {tuple(segment.shape)}, the input (B, T) = {(batch, length)}")
    segment = segment.to(device=device, dtype=torch.int64)
    real = segment != 0
    # index of the last real step at or before each step, -1 where there is none
    last = torch.where(real, steps, -1).cummax(dim=1).values if length else torch.zeros_like(segment)
    # sliced behind, not in front: a compiler would hold a length of 2 for special
    before = torch.cat([torch.full_like(place.id[:, None], -1), last], dim=1)[:, :length]
    previous = torch.where(before >= 0, segment.gather(1, before.clamp(min=0)), place.id[:, None])
    start = real & (segment != previous) & (previous != 0)
    count = real.cumsum(dim=1)  # real steps up to and including this one
    base = torch.where(start, count - 1, -1)
    base = base.cummax(dim=1).values if length else base  # real steps before the latest start, -1: none yet
    position = torch.where(base >= 0, count - 1 - base, place.position[:, None] + count - 1).clamp(min=0)
    where = Where(segment, real, start, position, _layout(real, start))
    if length == 0:
        return where, place
    any_real = last[:, -1] >= 0
    at = last[:, -1:].clamp(min=0)
    id_after = torch.where(any_real, segment.gather(1, at)[:, 0], place.id)
    position_after = torch.where(any_real, position.gather(1, at)[:, 0] + 1, place.position)
    return where, Place(id_after, position_after)


def _layout(real: Tensor, start: Tensor) -> str:
    # a data-dependent branch cannot be compiled or exported: there every segment counts as mixed
    if torch.compiler.is_compiling() or real.device.type == "meta":
        return "mixed"
    if bool(start.any()) or bool((real[:, 1:] & ~real[:, :-1]).any()):
        return "mixed"
    return "plain" if bool(real.all()) else "tail"


def reversal(real: Tensor) -> Tensor:
    """Return the order (B, T) of steps that turns time around: real steps from last to first, then padding."""
    steps = torch.arange(real.shape[1], device=real.device)
    return torch.where(real, -steps, steps + real.shape[1]).argsort(dim=1)


def latest(start: Tensor) -> Tensor:
    """Return (B, T) bool, True at the steps after which no document begins, from where (B, T) they begin."""
    return start.flip(1).cumsum(dim=1).flip(1) == start


def reorder(x: Tensor, order: Tensor) -> Tensor:
    """Return the steps of (B, T, D) in the order (B, T)."""
    return x.gather(1, order[:, :, None].expand(-1, -1, x.shape[2]))


def tree_map(function: Any, *trees: Any) -> Any:
    """Apply a function to the tensors of one or more states of equal shape."""
    return pytree.tree_map(function, *trees)


def leaves(tree: Any) -> list[Tensor]:
    """Return the tensors of a state."""
    return pytree.tree_leaves(tree)


def take(state: State, rows: Tensor) -> State:
    """Return the state of some rows, in that order; for beams, branches and slots of a server."""

    def pick(leaf: Tensor) -> Tensor:
        return leaf.index_select(0, rows)

    return tree_map(pick, state)


def state_bytes(state: State) -> int:
    """Return the bytes that a state holds."""
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves(state))

"""Multi-head attention: causal or not, rotary positions, an optional window, keys and values as state."""

from typing import ClassVar, NamedTuple

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import Place, State, Where, fresh_place, locate
from seqloom.model.mixer import Cut, MixerSpec, SequenceMixer, refuse_state


class Attention(MixerSpec):
    """Multi-head attention: softmax(q k / sqrt(K)) v over the steps of the same document.

    Work O(B T D (D + S)), depth O(1) in T, state 2 B S D with S = T, or the window.
    """

    family: ClassVar[str] = "attention"
    source: ClassVar[tuple[str, ...]] = (
        "vaswani2017",
        "Vaswani, A. and others",
        "Attention Is All You Need",
        "2017",
        "arXiv:1706.03762",
    )
    heads: int = pydantic.Field(default=4, gt=0)  # parallel attentions of width D / heads
    causal: bool = True  # whether a step sees only itself and the past
    window: int | None = pydantic.Field(default=None, gt=0)  # steps seen, itself included; None: all
    rotary: float | None = pydantic.Field(
        default=10000.0, gt=1
    )  # base of rotary positions (arXiv:2104.09864); None: none

    def build(self, width: int) -> "AttentionMixer":
        """Return the mixer for vectors of this width.

        Raises:
            ValueError: the width is no multiple of 2 * heads (rotary turns pairs), or of heads without rotary.
        """
        unit = self.heads * (2 if self.rotary else 1)
        if width % unit:
            raise ValueError(f"Attention(heads={self.heads}) needs a width that is a multiple of {unit}, got {width}")
        return AttentionMixer(self, width)


class AttentionState(NamedTuple):
    """Keys (turned to their positions) and values seen so far; id 0 marks padding."""

    key: Tensor  # (B, S, H, K)
    value: Tensor  # (B, S, H, K)
    id: Tensor  # (B, S) int64
    position: Tensor  # (B, S) int64


class AttentionMixer(SequenceMixer):
    """The module. A step sees a step of its own document, at most `window` - 1 before it."""

    carry = "fold"

    def __init__(self, spec: Attention, width: int) -> None:
        super().__init__()
        self.causal = spec.causal
        self.window = spec.window
        self.rotary = spec.rotary
        self.head_width = width // spec.heads
        self.enter = nn.Linear(width, 3 * width, bias=False)  # q | k | v
        self.out = nn.Linear(width, width)
        self.split = {"enter.weight": Cut(0, parts=3), "out.weight": Cut(1), "out.bias": "once"}

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract."""
        refuse_state(self, state)
        past: AttentionState | None = state or None
        if x.shape[1] == 0:
            after = state if past is not None or state is None else self._entries(x, self._place(x, past, where))[1]
            return self.out(x.new_zeros((x.shape[0], 0, self.out.weight.shape[1]))), after
        plain = past is None and where is None
        if where is None and (past is not None or state is not None or self.window is not None):
            where = self._place(x, past, where)
        query, new = self._entries(x, where)
        y = self._attend(query, new, past, None if plain and self.window is None else where)
        y = self.out(y.flatten(2))
        return y, None if state is None else self._join(past, new, where)

    def summary(self, x: Tensor, where: Where | None = None) -> State:
        """Return the stretch's keys and values; positions must be known, so `where` is needed."""
        if where is None:
            raise ValueError("attention's summary needs `where`: keys are turned to their positions")
        return self._entries(x, where)[1]

    def advance(self, state: State, summary: State) -> State:
        """Return the state with the summary's entries appended, and trimmed to the window."""
        return self._join(state or None, summary, None)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost: four projections, and scores and sums over the steps seen."""
        weights = self.enter.weight.numel() + self.out.weight.numel()
        width, size = self.out.weight.shape[1], self.out.weight.element_size()
        steps, seen = length, length
        if self._blocked(length):
            assert self.window is not None
            steps, seen = -(-length // self.window) * self.window, 2 * self.window
        kept = length if self.window is None else min(length, self.window)
        return Cost(
            flops=2 * batch * length * weights + 4 * batch * steps * seen * width,
            bytes=size * (weights + 6 * batch * length * width),
            state_bytes=batch * kept * (2 * width * size + 16),
            depth=4,
        )

    def _place(self, x: Tensor, past: AttentionState | None, where: Where | None) -> Where:
        if where is not None:
            return where
        place = fresh_place(x.shape[0], x.device)
        if past is not None and past.id.shape[1]:
            # the last real entry tells how far the stream has come
            steps = torch.arange(past.id.shape[1], device=x.device)
            last = torch.where(past.id != 0, steps, -1).amax(dim=1)
            at = last.clamp(min=0)[:, None]
            seen = last >= 0
            place = Place(
                torch.where(seen, past.id.gather(1, at)[:, 0], 0),
                torch.where(seen, past.position.gather(1, at)[:, 0] + 1, 0),
            )
        return locate(None, place, x.shape[0], x.shape[1])[0]

    def _entries(self, x: Tensor, where: Where | None) -> tuple[Tensor, AttentionState]:
        """Return queries and entries (keys, values, ids, positions) of these steps."""
        query, key, value = self.enter(x).unflatten(2, (3, -1, self.head_width)).unbind(2)
        batch, length = x.shape[0], x.shape[1]
        if where is None:
            position = torch.arange(length, device=x.device)[None]
            ids = position.new_ones(position.shape).expand(batch, length)
        else:
            position, ids = where.position, where.id
        if self.rotary is not None:
            turn = rotation(position, self.head_width, self.rotary)
            query, key = rotate(query, turn), rotate(key, turn)
        return query, AttentionState(key, value, ids, position.expand(batch, length))

    def _attend(self, query: Tensor, new: AttentionState, past: AttentionState | None, where: Where | None) -> Tensor:
        length = query.shape[1]
        # padding inside a row would push keys of a window out of the neighbouring block
        if past is None and where is not None and where.layout != "mixed" and self._blocked(length):
            return self._attend_blocks(query, new)
        entries = new if past is None else _append(past, new)
        mask, causal = None, False
        if past is None and (where is None or where.layout != "mixed") and not self._windowed(length):
            causal = self.causal
            if not causal and where is not None and where.layout == "tail":
                mask = (where.real | ~where.real.any(dim=1, keepdim=True))[:, None, None]
        else:
            mask = self._allowed(new.id, new.position, entries.id, entries.position)[:, None]
        return _attention(query, entries.key, entries.value, mask, causal)

    def _attend_blocks(self, query: Tensor, new: AttentionState) -> Tensor:
        """Attend in blocks of `window` queries to their own and the neighbouring blocks: linear in T."""
        window = self.window
        assert window is not None
        batch, length = query.shape[0], query.shape[1]
        n_blocks = -(-length // window)

        def blocks(entry: Tensor) -> Tensor:  # (B, T, ...) -> (B, n, W, ...), padded with zeros: id 0 is padding
            missing = n_blocks * window - length
            padded = torch.cat([entry, entry.new_zeros((batch, missing, *entry.shape[2:]))], dim=1)
            return padded.unflatten(1, (n_blocks, window))

        def with_previous(entry: Tensor) -> Tensor:  # (B, n, W, ...) -> (B n, 2 W, ...)
            before = torch.cat([torch.zeros_like(entry[:, :1]), entry[:, :-1]], dim=1)
            return torch.cat([before, entry], dim=2).flatten(0, 1)

        key, value, ids, position = (blocks(entry) for entry in new)
        mask = self._allowed(ids.flatten(0, 1), position.flatten(0, 1), with_previous(ids), with_previous(position))
        y = _attention(blocks(query).flatten(0, 1), with_previous(key), with_previous(value), mask[:, None], False)
        return y.unflatten(0, (batch, n_blocks)).flatten(1, 2)[:, :length]

    def _allowed(self, id_q: Tensor, position_q: Tensor, id_k: Tensor, position_k: Tensor) -> Tensor:
        """Return which keys each query sees, (B, T, S); a query at padding sees all, to stay finite."""
        ahead = position_q[:, :, None] - position_k[:, None, :]
        allowed = id_q[:, :, None] == id_k[:, None, :]
        if self.causal:
            allowed = allowed & (ahead >= 0)
        if self.window is not None:
            allowed = allowed & (ahead.abs() < self.window)
        return allowed | (id_q == 0)[:, :, None]

    def _windowed(self, length: int) -> bool:
        return self.window is not None and (torch.compiler.is_compiling() or length > self.window)

    def _blocked(self, length: int) -> bool:
        # a branch on the length would fix it when compiled or exported
        return (
            self.window is not None and self.causal and not torch.compiler.is_compiling() and length > 2 * self.window
        )

    def _join(self, past: AttentionState | None, new: AttentionState, where: Where | None) -> AttentionState:
        entries = new if past is None else _append(past, new)
        if self.window is None or entries.id.shape[1] <= self.window:
            return AttentionState(*(entry.clone() for entry in entries)) if past is None else entries
        # the last `window` real entries: padding moves to the front, where it is cut first
        order = (entries.id != 0).to(torch.int8).argsort(dim=1, stable=True)[:, -self.window :]
        at = order[:, :, None, None].expand(-1, -1, *entries.key.shape[2:])
        return AttentionState(
            entries.key.gather(1, at),
            entries.value.gather(1, at),
            entries.id.gather(1, order),
            entries.position.gather(1, order),
        )


def rotation(position: Tensor, width: int, base: float) -> tuple[Tensor, Tensor]:
    """Return cos and sin, (B, T, 1, K / 2), of the angles at these positions (B, T); computed in float32 or wider.

    Source: Su et al. 2021, arXiv 2104.09864.
    """
    pairs = torch.arange(0, width, 2, device=position.device, dtype=torch.float64)
    angle = position[..., None].double() * base ** (-pairs / width)
    return angle.cos()[:, :, None], angle.sin()[:, :, None]


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs (i, i + K / 2) of (B, T, H, K) by their angles."""
    cos, sin = (part.to(x.dtype) for part in turn)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def _append(past: AttentionState, new: AttentionState) -> AttentionState:
    return AttentionState(*(torch.cat([p, n.to(p.dtype)], dim=1) for p, n in zip(past, new, strict=True)))


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """Attend with (B, T, H, K) tensors."""
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key.to(query.dtype), value.to(query.dtype)))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal).transpose(1, 2)

"""Multi-head attention: causal or not, rotary or ALiBi positions, an optional window, keys and values as state."""

from collections.abc import Callable
from typing import ClassVar

import pydantic
import torch
from torch import Tensor

from seqloom.core.cost import Cost
from seqloom.core.types import FRESH, State, Where
from seqloom.mixers._entries import Entries, appended, attend, joined, placed, visible
from seqloom.model.mixer import Cut, MixerSpec, SequenceMixer, refuse_state
from seqloom.ops.attention import attention
from seqloom.ops.linear import Linear
from seqloom.ops.op import transformed
from seqloom.ops.rotate import rotate, rotation
from seqloom.ops.tape import Tape, Unrecorded, Vector


class Attention(MixerSpec):
    """Multi-head attention: softmax(q k / sqrt(K)) v over the steps of the same document.

    Work O(B T D (D + S)), depth O(1) in T, state 2 B S K G with S = T, or the window, and G heads of keys and values
    (grouped-query attention, arXiv:2305.13245).
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
    alibi: bool = False  # scores fall with distance, by a slope a head (arXiv:2108.12409); needs rotary=None
    kv_heads: int | None = pydantic.Field(default=None, gt=0)  # heads of keys and values, shared; None: as many
    bias: bool = False  # of the projections to queries, keys and values
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)  # on the weights of the steps seen

    def build(self, width: int) -> "AttentionMixer":
        """Return the mixer for vectors of this width.

        Raises:
            ValueError: the width is no multiple of 2 * heads (rotary turns pairs), or of heads without rotary; heads
                are no multiple of kv_heads; both rotary and ALiBi.
        """
        if self.rotary and self.alibi:
            raise ValueError("Attention takes rotary positions or ALiBi, not both: set rotary=None")
        if self.heads % (self.kv_heads or 1):
            raise ValueError(f"Attention(heads={self.heads}) is no multiple of kv_heads={self.kv_heads}")
        unit = self.heads * (2 if self.rotary else 1)
        if width % unit:
            raise ValueError(f"Attention(heads={self.heads}) needs a width that is a multiple of {unit}, got {width}")
        return AttentionMixer(self, width)


class AttentionMixer(SequenceMixer):
    """The module. A step sees a step of its own document, at most `window` - 1 before it."""

    carry = "fold"

    def __init__(self, spec: Attention, width: int) -> None:
        super().__init__()
        self.causal, self.window, self.rotary = spec.causal, spec.window, spec.rotary
        self.dropout = spec.dropout
        self.head_width = width // spec.heads
        self.shared = spec.heads // (spec.kv_heads or spec.heads)  # heads that share keys and values
        inner = (spec.kv_heads or spec.heads) * self.head_width
        self.enter = Linear(width, width + 2 * inner, bias=spec.bias)  # q | k | v
        self.out = Linear(width, width)
        cut = Cut(0, 3 if self.shared == 1 else (self.shared, 1, 1), each=self.head_width)
        self.split = {"enter.weight": cut, "out.weight": Cut(1), "out.bias": "once"}
        if spec.bias:
            self.split["enter.bias"] = cut
        if spec.alibi:
            self.register_buffer("slopes", alibi_slopes(spec.heads), persistent=False)
            self.split["slopes"] = Cut(0)

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract."""
        refuse_state(self, state)
        past: Entries | None = state or None
        if x.shape[1] == 0:
            after = state if past is not None or state is None else self._entries(x, placed(x, past, where))[1]
            return self.out(x.new_zeros((x.shape[0], 0, self.out.weight.shape[1]))), after
        plain = past is None and where is None
        if where is None and (past is not None or state is not None or self.window is not None):
            where = placed(x, past, where)
        query, new = self._entries(x, where)
        y = self._attend(query, new, past, None if plain and self.window is None else where)
        y = self.out(y.flatten(2))
        return y, None if state is None else joined(past, new, self.window)

    def record(self, tape: Tape, x: Vector, state: State, into: Vector) -> None:
        """Write one step of one row to a tape."""
        past: Entries = state
        ids, position = past.id[0], past.position[0]
        apart = position[1:] - position[:-1]
        if self._sloped() or not len(ids) or not bool((ids == ids[0]).all() & (ids != 0).all() & (apart == 1).all()):
            raise Unrecorded("ALiBi, padding and several documents have no native step.")
        entering = tape.linear(self.enter, x)
        inner = entering.size // (self.shared + 2) * self.shared
        if self.rotary is not None:
            turned = inner + inner // self.shared
            tape.rotate(entering.part(0, turned), self.head_width, self.rotary)
        y = tape.attend(entering, past.key[0], past.value[0], inner // self.head_width, self.window)
        tape.linear(self.out, y, into=into)

    def summary(self, x: Tensor, where: Where | None = None, before: State = FRESH) -> State:
        """Return the stretch's keys and values; positions must be known, so `where` is needed."""
        if where is None:
            raise ValueError("attention's summary needs `where`: keys are turned to their positions")
        return self._entries(x, where)[1]

    def folded(self, x: Tensor, where: Where, before: State, tell: Callable[[State], State]) -> Tensor:
        """Mix a stretch; keys and values are computed once."""
        query, new = self._entries(x, where)
        past: Entries | None = tell(new) or None
        return self.out(self._attend(query, new, past, where).flatten(2))

    def attended(self, x: Tensor, where: Where, attend: Callable[[Tensor, Entries], Tensor]) -> Tensor:
        """Mix a stretch (B, T, D): `attend` maps its queries (B, T, H, K) and entries to means of all values."""
        return self.out(attend(*self._entries(x, where)).flatten(2))

    def advance(self, state: State, summary: State) -> State:
        """Return the state with the summary's entries appended, and trimmed to the window."""
        return joined(state or None, summary, self.window)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost: the projections, and scores and sums over the steps seen."""
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
            state_bytes=batch * kept * (2 * width // self.shared * size + 16),
            depth=4,
        )

    def _entries(self, x: Tensor, where: Where | None) -> tuple[Tensor, Entries]:
        """Return queries and entries (keys, values, ids, positions) of these steps."""
        heads = self.enter(x).unflatten(2, (-1, self.head_width))
        n = heads.shape[2] // (self.shared + 2)  # of keys, here
        batch, length = x.shape[0], x.shape[1]
        if where is None:
            position = torch.arange(length, device=x.device)[None]
            ids = position.new_ones(position.shape).expand(batch, length)
        else:
            position, ids = where.position, where.id
        if self.rotary is not None:
            cos, sin = (part.to(heads.dtype) for part in rotation(position, self.head_width, self.rotary))
            heads = rotate(heads, cos, sin, n * (self.shared + 1))
        query, key, value = heads.split([n * self.shared, n, n], dim=2)
        return query, Entries(key, value, ids, position.expand(batch, length))

    def _attend(self, query: Tensor, new: Entries, past: Entries | None, where: Where | None) -> Tensor:
        length = query.shape[1]
        regular = where is None or where.layout != "mixed"
        whole = regular and (past is None or self._goes_on(past, new, where))
        if whole and not self._sloped() and not self._dropped():
            # behind real steps the causal see no padding
            ends = not self.causal and where is not None and where.layout == "tail"
            lengths = where.real.sum(dim=1) if where is not None and ends else None
            entries = new if past is None else appended(past, new)
            key, value = (part.to(query.dtype) for part in entries[:2])  # a past may be of another type
            given = query, key, value, self.causal, self.window, lengths
            if not self._blocked(length) or attention.choose(*given) is attention.kernels["native"]:
                return attention(*given)
        # padding inside a row would push keys of a window out of the neighbouring block
        if where is not None and regular and self._blocked(length):
            return self._attend_blocks(query, new, past)
        entries = new if past is None else appended(past, new)
        mask = visible(new, entries, self.causal, self.window)[:, None]
        if self._sloped():
            mask = self._falling(new, entries, mask, query.dtype)
        return attend(query, entries.key, entries.value, mask, False, self._dropped())

    def _attend_blocks(self, query: Tensor, new: Entries, past: Entries | None) -> Tensor:
        """Attend in blocks of `window` queries to their own and the block before: linear in T."""
        window = self.window
        assert window is not None
        batch, length = query.shape[0], query.shape[1]
        n_blocks = -(-length // window)

        def blocks(entry: Tensor) -> Tensor:  # (B, T, ...) -> (B, n, W, ...), padded with zeros: id 0 is padding
            missing = n_blocks * window - length
            padded = torch.cat([entry, entry.new_zeros((batch, missing, *entry.shape[2:]))], dim=1)
            return padded.unflatten(1, (n_blocks, window))

        def with_previous(entry: Tensor, earlier: Tensor) -> Tensor:  # (B, n, W, ...), (B, S, ...) -> (B n, 2 W, ...)
            missing = earlier.new_zeros((batch, window - earlier.shape[1], *earlier.shape[2:]))
            first = torch.cat([missing, earlier], dim=1)[:, None].to(entry.dtype)
            return torch.cat([torch.cat([first, entry[:, :-1]], dim=1), entry], dim=2).flatten(0, 1)

        parts = [blocks(entry) for entry in new]
        before = [entry[:, :0] for entry in new] if past is None else past
        own = Entries(*(part.flatten(0, 1) for part in parts))
        seen = Entries(*(with_previous(part, earlier) for part, earlier in zip(parts, before, strict=True)))
        mask = visible(own, seen, True, window)[:, None]
        if self._sloped():
            mask = self._falling(own, seen, mask, query.dtype)
        y = attend(blocks(query).flatten(0, 1), seen.key, seen.value, mask, False, self._dropped())
        return y.unflatten(0, (batch, n_blocks)).flatten(1, 2)[:, :length]

    def _goes_on(self, past: Entries, new: Entries, where: Where | None) -> bool:
        """Return whether these steps, several, go on with the past's one document: then no mask is needed."""
        if where is None or where.layout != "plain" or new.id.shape[1] == 1 or new.id.device.type != "cpu":
            return False
        # a compiler and transforms cannot look at numbers
        if torch.compiler.is_compiling() or transformed():
            return False
        return bool((past.id == new.id[:, :1]).all() & (new.id == new.id[:, :1]).all())

    def _falling(self, query: Entries, entries: Entries, seen: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what ALiBi adds to scores, (B, H, T, S): -slope * distance, and -inf where nothing is seen."""
        distance = (query.position[:, :, None] - entries.position[:, None, :]).abs()
        slopes: Tensor = self.get_buffer("slopes")
        added = -slopes[:, None, None] * distance[:, None]
        return added.masked_fill(~seen, -torch.inf).to(dtype)

    def _dropped(self) -> float:
        return self.dropout if self.training else 0.0

    def _sloped(self) -> bool:
        return "slopes" in self._buffers

    def _blocked(self, length: int) -> bool:
        # a branch on the length would fix it when compiled or exported
        return (
            self.window is not None and self.causal and not torch.compiler.is_compiling() and length > 2 * self.window
        )


def alibi_slopes(heads: int) -> Tensor:
    """Return the slopes 2^(-8 i / H), i = 1 ... H, of Press et al. 2021, arXiv 2108.12409.

    A number of heads that is no power of two takes those of the next lower one, and every other of the next higher.
    """
    lower = 1 << (heads.bit_length() - 1)
    slopes = [2 ** (-8 * (i + 1) / lower) for i in range(lower)]
    slopes += [2 ** (-4 * (2 * i + 1) / lower) for i in range(heads - lower)]
    return torch.tensor(slopes)

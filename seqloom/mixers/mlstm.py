"""The matrix LSTM of xLSTM: an associative memory with exponential input gates and a normaliser."""

import math
from typing import ClassVar, NamedTuple

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import FRESH, State, Where, latest
from seqloom.mixers._terms import silenced, starts
from seqloom.model.mixer import Cut, MixerSpec, SequenceMixer
from seqloom.ops.associative import associative, product_flops
from seqloom.ops.linear import Linear

_FORGOTTEN = 1e6  # subtracted from a stabiliser where a document begins; float64 keeps ten digits beside it


class MLSTM(MixerSpec):
    """Matrix LSTM: C_t = f C_{t-1} + e^i k v^T, n_t = f n_{t-1} + e^i k, h_t = o norm(q C_t / max(|q n_t|, 1)).

    f = sigmoid, i and f one number a head. In chunks of L: work O(B T H (L + K) V), depth O(log T), state
    B H (K (V + 1) + 1) numbers. Both sides of the fraction are held divided by e^m, m_t = max(log f + m_{t-1}, i, 0),
    which changes nothing but keeps every exponent at most 0.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[str, ...]] = (
        "beck2024",
        "Beck, M. and others",
        "xLSTM: Extended Long Short-Term Memory",
        "2024",
        "arXiv:2405.04517",
    )
    heads: int = pydantic.Field(default=4, gt=0)  # memories
    forget_bias: float = 4.0  # where the forget gates' biases begin
    chunk: int = pydantic.Field(default=64, gt=0)  # steps treated at once

    def build(self, width: int) -> "MLSTMMixer":
        """Return the mixer for vectors of this width.

        Raises:
            ValueError: heads do not divide the width.
        """
        if width % self.heads:
            raise ValueError(f"MLSTM(heads={self.heads}) needs a width that is a multiple of it, got {width}")
        return MLSTMMixer(self, width)


class MLSTMState(NamedTuple):
    """Memory and normaliser, divided by e^m."""

    c: Tensor  # (B, H, K, 1, V + 1), the last column n
    m: Tensor  # (B, H)


class MLSTMMixer(SequenceMixer):
    """The module."""

    carry = "fold"
    split = {
        "enter.weight": Cut(0, parts=4),
        "gates.weight": Cut(0, parts=2),
        "gates.bias": Cut(0, parts=2),
        "norm": Cut(0),
        "out.weight": Cut(1),
    }

    def __init__(self, spec: MLSTM, width: int) -> None:
        super().__init__()
        self.head_width, self.chunk = width // spec.heads, spec.chunk
        self.enter = Linear(width, 4 * width, bias=False)  # q | k | v | o
        self.gates = Linear(width, 2 * spec.heads)  # i | f
        self.norm = nn.Parameter(torch.ones(width))  # of each head's answer
        self.out = Linear(width, width, bias=False)
        nn.init.normal_(self.gates.weight, std=0.1 / math.sqrt(width))
        with torch.no_grad():
            self.gates.bias.copy_(torch.tensor([0.0] * spec.heads + [spec.forget_bias] * spec.heads))

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract."""
        past: MLSTMState | None = state or None
        q, k, v, o, i, log_f = self._entries(x, where)
        dtype = i.dtype
        first = past.m if past else i.new_zeros((i.shape[0], i.shape[2]))
        m = stabiliser(log_f.detach(), i.detach(), first, where)
        before = torch.cat([first[:, None], m], dim=1)[:, : m.shape[1]]
        if where is not None and where.layout == "mixed":
            before = before.masked_fill(where.start[..., None], 0.0)
        # both exponents are at most 0, but for rounding
        log_decay = log_f + before - m
        key = k * ((i - m).exp()[..., None] / math.sqrt(self.head_width)).to(k.dtype)
        value = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
        answer, c = associative(
            q, key, value, log_decay, starts(where), past.c if past else None, state is not None, self.chunk
        )
        numerator, n = answer[..., :-1].to(dtype), answer[..., -1:].to(dtype)
        h = numerator / torch.maximum(n.abs(), (-m).exp()[..., None])
        h = F.rms_norm(h, (self.head_width,), eps=1e-6).flatten(2).to(x.dtype) * self.norm
        y = self.out(h * o.flatten(2).sigmoid())
        if state is None:
            return y, None
        return y, MLSTMState(c, m[:, -1].clone() if m.shape[1] else first)

    def summary(self, x: Tensor, where: Where | None = None, before: State = FRESH) -> State:
        """Return (log of what is kept of what was before (B, H), the memory of the stretch alone, its stabiliser)."""
        _, k, v, _, i, log_f = self._entries(x, where)
        first = i.new_zeros((i.shape[0], i.shape[2]))
        m = stabiliser(log_f.detach(), i.detach(), first, where)
        last = m[:, -1] if m.shape[1] else first
        total = log_f.sum(dim=1)
        weight = i + total[:, None] - log_f.cumsum(dim=1) - last[:, None]  # of what a step adds, at the end
        begun = starts(where)
        if begun is not None:
            weight = weight.masked_fill(~latest(begun)[..., None], -torch.inf)
            total = total.masked_fill(begun.any(dim=1)[:, None], -_FORGOTTEN)
        key = k.to(i.dtype) * (weight.exp()[..., None] / math.sqrt(self.head_width))
        value = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1).to(i.dtype)
        return total, torch.einsum("bthk,bthv->bhkv", key, value)[:, :, :, None], last

    def advance(self, state: State, summary: State) -> State:
        """Return the state after a stretch: both memories, brought to the larger stabiliser."""
        total, c, m = summary
        if not state:
            return MLSTMState(c, m)
        before: MLSTMState = state
        largest = torch.maximum(total.detach() + before.m, m)
        old, new = ((part - largest).exp()[..., None, None, None] for part in (total + before.m, m))
        return MLSTMState(old * before.c + new * c, largest)

    def _entries(self, x: Tensor, where: Where | None) -> tuple[Tensor, ...]:
        """Return q, k, v, o (B, T, H, K), and i and log f (B, T, H) in float32 or wider, silent at padding."""
        q, k, v, o = self.enter(x).unflatten(2, (4, -1, self.head_width)).unbind(2)
        dtype = torch.promote_types(x.dtype, torch.float32)
        i, f = self.gates(x).to(dtype).chunk(2, dim=-1)
        log_f, k, v = silenced(where, F.logsigmoid(f), k, v)
        return q, k, v, o, i, log_f

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of the products, those inside chunks and between them among them."""
        weights = self.enter.weight.numel() + self.gates.weight.numel() + self.out.weight.numel()
        width, size = self.norm.numel(), self.out.weight.element_size()
        heads, inner = width // self.head_width, self.head_width
        return Cost(
            flops=2 * batch * length * weights
            + product_flops(batch, length, heads, heads, inner, inner + 1, self.chunk),
            bytes=size * (weights + 7 * batch * length * width),
            state_bytes=batch * heads * (inner * (inner + 1) + 1) * max(size, 4),
            depth=4 + max(-(-length // self.chunk) - 1, 0).bit_length(),
        )


def stabiliser(log_f: Tensor, i: Tensor, first: Tensor, where: Where | None) -> Tensor:
    """Return m_t = max(log f_t + m_{t-1}, i_t, 0), (B, T, H), from m_0 (B, H); 0 + i where a document begins.

    With F the running sum of log f it is F_t + max(m_0, the largest max(i_s, 0) - F_s so far): no sequence of steps.
    Any m serves, so that no gradient goes through it and rounding in it does not matter.
    """
    floor = i.clamp(min=0.0)
    log_f = log_f.double()
    if where is not None and where.layout != "plain":
        floor = torch.where(where.real[..., None], floor, 0.0)
        log_f = log_f - _FORGOTTEN * where.start[..., None]
    total = log_f.cumsum(dim=1)
    highest = torch.cat([first[:, None].double(), floor - total], dim=1).cummax(dim=1).values[:, 1:]
    return (total + highest).to(i.dtype)

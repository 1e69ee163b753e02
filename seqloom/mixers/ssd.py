"""The block of Mamba-2: a selective state space whose decay is one number a head, in chunks of matrix products."""

import math
from typing import ClassVar, Literal, NamedTuple

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import FRESH, State, Where
from seqloom.mixers._terms import silenced, small_steps, starts
from seqloom.model.mixer import Cut, MixerSpec, SequenceMixer
from seqloom.ops.associative import associative, product_flops, stretch
from seqloom.ops.linear import Linear, outputs
from seqloom.ops.recurrence import gathered
from seqloom.ops.shortconv import last_steps, short_convolution, tail_after
from seqloom.ops.tape import Tape, Vector


class SSD(MixerSpec):
    """State space duality: S_t = exp(-A d_t) S_{t-1} + d_t B_t u_t^T, y_t = C_t S_t + D u_t, a head at a time.

    u, B and C are silu of a short convolution of projections of x; d_t = softplus(W_d x_t + b). The output is
    W_out norm(y silu(W_z x)), the norm over each group of heads. In chunks of L: work O(B T H (L + N) V), depth
    O(log T), state B H N V numbers.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[str, ...]] = (
        "dao2024",
        "Dao, T. and Gu, A.",
        "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space Duality",
        "2024",
        "arXiv:2405.21060",
    )
    expand: float = pydantic.Field(default=2.0, gt=0)  # inner width / width
    heads: int = pydantic.Field(default=4, gt=0)  # each with a decay of its own
    groups: int = pydantic.Field(default=1, gt=0)  # of heads that share B and C
    state_size: int = pydantic.Field(default=64, gt=0)  # N
    kernel: int = pydantic.Field(default=4, gt=0)  # steps of the convolution
    bias: bool = False  # of the projections
    eps: float = pydantic.Field(default=1e-5, gt=0)  # of the norm
    smallest: float = pydantic.Field(default=0.0, ge=0)  # d_t is held between these two
    largest: float = pydantic.Field(default=math.inf, gt=0)
    chunk: int = pydantic.Field(default=64, gt=0)  # steps treated at once

    def build(self, width: int) -> "SSDMixer":
        """Return the mixer for vectors of this width.

        Raises:
            ValueError: heads do not divide the inner width, or groups the heads.
        """
        inner = round(self.expand * width)
        if inner % self.heads or self.heads % self.groups:
            raise ValueError(
                f"SSD(heads={self.heads}, groups={self.groups}) needs an inner width that is a multiple of its heads, "
                f"got {inner}, and heads that are a multiple of its groups"
            )
        return SSDMixer(self, width, inner)


class SSDState(NamedTuple):
    """The matrices and the last steps of the convolutions."""

    s: Tensor  # (B, G, N, H / G, V)
    tail: Tensor  # (B, k - 1, inner), of u
    key_tail: Tensor  # (B, k - 1, 2 G N), of B | C


class SSDMixer(SequenceMixer):
    """The module."""

    carry = "fold"

    def __init__(self, spec: SSD, width: int, inner: int) -> None:
        super().__init__()
        keys = 2 * spec.groups * spec.state_size
        self.state_size, self.chunk, self.eps = spec.state_size, spec.chunk, spec.eps
        self.limits = (spec.smallest, spec.largest)
        self.head_width = inner // spec.heads
        self.shared = spec.groups == 1
        self.enter = Linear(width, 2 * inner, bias=spec.bias)  # z | u
        self.keys = Linear(width, keys, bias=spec.bias)  # B | C
        self.step = Linear(width, spec.heads, bias=spec.bias)  # d
        self.step_bias = nn.Parameter(torch.empty(spec.heads))
        self.conv_weight = nn.Parameter(torch.empty(inner, spec.kernel))
        self.conv_bias = nn.Parameter(torch.zeros(inner))
        self.key_conv_weight = nn.Parameter(torch.empty(keys, spec.kernel))
        self.key_conv_bias = nn.Parameter(torch.zeros(keys))
        self.log_a = nn.Parameter(torch.empty(spec.heads).uniform_(1, 16).log())
        self.skip = nn.Parameter(torch.ones(spec.heads))
        self.norm = nn.Parameter(torch.ones(inner))
        self.out = Linear(inner, width, bias=spec.bias)
        bound = 1 / math.sqrt(spec.kernel)
        nn.init.uniform_(self.conv_weight, -bound, bound)
        nn.init.uniform_(self.key_conv_weight, -bound, bound)
        with torch.no_grad():
            self.step_bias.copy_(small_steps(spec.heads))
        cut_keys: Cut | Literal["copy"] = "copy" if spec.groups == 1 else Cut(0, 2, each=spec.state_size)
        split: dict[str, Cut | Literal["copy", "once"]] = {
            "enter.weight": Cut(0, parts=2),
            "keys.weight": cut_keys,
            "step.weight": Cut(0),
            "step_bias": Cut(0),
            "conv_weight": Cut(0),
            "conv_bias": Cut(0),
            "key_conv_weight": cut_keys,
            "key_conv_bias": cut_keys,
            "log_a": Cut(0),
            "skip": Cut(0),
            "norm": Cut(0),
            "out.weight": Cut(1),
        }
        if spec.bias:
            split |= {
                "enter.bias": Cut(0, parts=2),
                "keys.bias": cut_keys,
                "step.bias": Cut(0),
                "out.bias": "once",
            }
        self.split = split

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract."""
        past: SSDState | None = state or None
        z, u = self.enter(x).chunk(2, dim=-1)
        u, tail = short_convolution(u, self.conv_weight, self.conv_bias, past.tail if past else None, where)
        keys, key_tail = short_convolution(
            self.keys(x), self.key_conv_weight, self.key_conv_bias, past.key_tail if past else None, where
        )
        b, c = F.silu(keys).unflatten(2, (2, -1, self.state_size)).unbind(2)
        u, entering, log_decay = self._terms(x, u, where)
        y, s = associative(
            c, b, entering, log_decay, starts(where), past.s if past else None, state is not None, self.chunk
        )
        y = (y + self.skip[:, None] * u).flatten(2) * F.silu(z)
        y = self.out(self._normed(y))
        return y, None if state is None else SSDState(s, tail, key_tail)

    def edge(self, x: Tensor, where: Where | None = None) -> State:
        """Return (the stretch's own tails of u and of B | C, by how many places it moves those before)."""
        steps, own, moved = last_steps(x, self.conv_weight.shape[1] - 1, where)
        dtype = torch.promote_types(x.dtype, torch.float32)
        inner = self.norm.numel()
        entering = outputs(self.enter, steps, slice(inner, 2 * inner)), self.keys(steps)
        tail, key_tail = (torch.where(own[..., None], part, 0.0).to(dtype) for part in entering)
        return tail, key_tail, moved

    def advance_edge(self, state: State, edge: State) -> State:
        """Return the state with the tails after a stretch."""
        past: SSDState | None = state or None
        tail, key_tail, moved = edge
        tail = tail_after(past.tail if past else None, tail, moved)
        key_tail = tail_after(past.key_tail if past else None, key_tail, moved)
        groups = self.keys.weight.shape[0] // (2 * self.state_size)
        shape = (tail.shape[0], groups, self.state_size, self.skip.numel() // groups, self.head_width)
        return SSDState(past.s if past else tail.new_zeros(shape), tail, key_tail)

    def summary(self, x: Tensor, where: Where | None = None, before: State = FRESH) -> State:
        """Return (product of decays, matrices from zeros): B, u and d alone tell them."""
        past: SSDState | None = before or None
        inner, half = self.norm.numel(), self.keys.weight.shape[0] // 2
        u = outputs(self.enter, x, slice(inner, 2 * inner))
        u, _ = short_convolution(u, self.conv_weight, self.conv_bias, past.tail if past else None, where)
        weight, bias = self.key_conv_weight[:half], self.key_conv_bias[:half]
        tail = past.key_tail[..., :half] if past else None
        b, _ = short_convolution(outputs(self.keys, x, slice(0, half)), weight, bias, tail, where)
        _, entering, log_decay = self._terms(x, u, where)
        return stretch(F.silu(b).unflatten(2, (-1, self.state_size)), entering, log_decay, starts(where))

    def advance(self, state: State, summary: State) -> State:
        """Return the state with decay * S + what is added."""
        past: SSDState = state
        decay, added = summary
        return SSDState(decay * past.s + added, past.tail, past.key_tail)

    def record(self, tape: Tape, x: Vector, state: State, into: Vector) -> None:
        """Write one step of one row to a tape."""
        past: SSDState = state
        both = tape.linear(self.enter, x)
        inner = both.size // 2
        z, u = both.part(0, inner), both.part(inner, 2 * inner)
        u = tape.convolve(u, self.conv_weight, self.conv_bias, past.tail[0], "silu")
        keys = tape.convolve(
            tape.linear(self.keys, x), self.key_conv_weight, self.key_conv_bias, past.key_tail[0], "silu"
        )
        d = tape.linear(self.step, x)
        y = tape.selective(u, keys, d, self.log_a, self.step_bias, self.skip, past.s[0], self.limits)
        groups = self.keys.weight.shape[0] // (2 * self.state_size)
        y = tape.normed("rms_norm", tape.gate(z, y, "silu"), self.norm, None, self.eps, groups)
        tape.linear(self.out, y, into=into)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of the products, those inside chunks and between them among them."""
        linears = (self.enter, self.keys, self.step, self.out)
        weights = sum(linear.weight.numel() for linear in linears)
        inner, size = self.norm.numel(), self.out.weight.element_size()
        heads, groups = self.skip.numel(), self.keys.weight.shape[0] // (2 * self.state_size)
        tails = (self.conv_weight.shape[1] - 1) * (inner + self.keys.weight.shape[0])
        return Cost(
            flops=2 * batch * length * weights
            + product_flops(batch, length, heads, groups, self.state_size, self.head_width, self.chunk),
            bytes=size * (weights + 6 * batch * length * inner),
            state_bytes=batch * (self.state_size * inner + tails) * max(size, 4),
            depth=5 + max(-(-length // self.chunk) - 1, 0).bit_length(),
        )

    def _terms(self, x: Tensor, u: Tensor, where: Where | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return of convolved u (B, T, H V): silu(u), d silu(u), both (B, T, H, V), and log decays (B, T, H)."""
        u = F.silu(u).unflatten(2, (-1, self.head_width))
        # decays in float32 or wider: they are multiplied along time
        dtype = torch.promote_types(x.dtype, torch.float32)
        d = F.softplus(self.step(x).to(dtype) + self.step_bias).clamp(*self.limits)
        (d,) = silenced(where, d)
        (u,) = silenced(where, u)
        return u, u * d[..., None].to(u.dtype), -self.log_a.to(dtype).exp() * d

    def _normed(self, y: Tensor) -> Tensor:
        # over each group of heads; the one group of all heads also where a tensor axis cuts it
        parts = y.unflatten(2, (self.keys.weight.shape[0] // (2 * self.state_size), -1))
        square = parts.to(torch.promote_types(y.dtype, torch.float32)).square().mean(dim=-1)
        if self.shared:
            square = gathered(square).mean(dim=-1, keepdim=True)
        scale = (square + self.eps).rsqrt().to(y.dtype)
        return (parts * scale[..., None]).flatten(2) * self.norm

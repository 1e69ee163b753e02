"""Recurrent cells at a guess of all states at once: the states after each step, and the Jacobian in its elementwise
factors. One step's Jacobian is a product with W_hh between elementwise factors, so that nothing of size H x H is kept
for a step: a tangent, a gradient and the Jacobian's diagonal all come from the same `Linear`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.ops.recurrence import CELLS

States = tuple[Tensor, ...]


class Linear(NamedTuple):
    """A cell's step about a guess, elementwise; each (B, T, H) but the slopes."""

    after: States  # the state after each step
    slope: Tensor  # (B, T, G H) of the state that each gate enters, by the part of the gate that is from the input
    carry: Tensor | float = 0.0  # of the state that is carried by itself: GRU z, LSTM f
    reset: Tensor | None = None  # GRU: r, through which the hidden part enters the third gate
    out: Tensor | None = None  # LSTM: slope of h by c
    gate: Tensor | None = None  # LSTM: o

    def hidden(self, d: Tensor) -> Tensor:
        """Return slopes or gradients (B, T, G H) by the gates' hidden part from those by their input part."""
        if self.reset is None:
            return d
        width = self.reset.shape[-1]
        return torch.cat([d[..., : 2 * width], d[..., 2 * width :] * self.reset], dim=-1)


class Problem(NamedTuple):
    """The equations h_t = cell(gates_t, W_hh h_{t-1} + b_hh, h_{t-1}) for all t."""

    cell: str
    gates: Tensor  # (B, T, G H), the part from the input
    w_hh: Tensor  # (G H, H)
    b_hh: Tensor | None
    first: States  # (B, H) each
    cut: Tensor | None  # (B, T, 1), True where the state before the step is zero and nothing flows back

    def before(self, states: States) -> States:
        """Return the states before each step."""
        return tuple(self.severed(earlier(s, first)) for s, first in zip(states, self.first, strict=True))

    def severed(self, tensor: Tensor) -> Tensor:
        """Return zeros where a step begins from zeros."""
        return tensor if self.cut is None else tensor.masked_fill(self.cut, 0.0)

    def linear(self, before: States) -> Linear:
        """Return the step about the states before each step: one matrix product over all steps."""
        return _LINEAR[self.cell](self.gates, F.linear(before[0], self.w_hh, self.b_hh), before)

    def own(self, linear: Linear) -> tuple[Tensor, Tensor]:
        """Return (own, decay): slopes of the carried state by h of the same unit before, and of a unit by itself.

        The decay is held to [-1, 1], so that no scan explodes. For one state h it is the diagonal of the Jacobian. The
        LSTM carries c, and h is c's through `out`: its block of two by two is reduced to dc_t / dc_{t-1} + dc_t /
        dh_{t-1} dh_{t-1} / dc_{t-1}; left out is what o changes in h by itself.
        """
        diagonal = _by_gate(self.w_hh, self.cell).diagonal(dim1=1, dim2=2)  # (G, H)
        gates = len(diagonal) - (linear.out is not None)  # the LSTM's last gate enters h, not c
        own = (_by_gate(linear.hidden(linear.slope), self.cell, -1)[..., :gates, :] * diagonal[:gates]).sum(dim=-2)
        if linear.out is None:
            return own, self.severed(own + linear.carry).clamp_(-1, 1)
        own = self.severed(own)
        return own, (self.carried(linear) + own * earlier(linear.out, None)).clamp_(-1, 1)

    def carried(self, linear: Linear) -> Tensor:
        """Return the slope of the carried state by itself before, given the gates."""
        assert isinstance(linear.carry, Tensor)
        return self.severed(linear.carry)

    def into_gates(self, linear: Linear, gradients: States) -> Tensor:
        """Return the gradient (B, T, G H) of the gates' input part from those of the states."""
        if linear.out is None:
            entered = gradients[0].repeat(1, 1, CELLS[self.cell].gates)
        else:
            h, c = gradients
            entered = torch.cat([c, c, c, h], dim=-1)
        return entered.mul_(linear.slope)

    def pull(self, linear: Linear, gradients: States) -> States:
        """Return the gradients of the states before each step: one matrix product over all steps."""
        d_h = F.linear(linear.hidden(self.into_gates(linear, gradients)), self.w_hh.t())
        if linear.out is None:
            return (self.severed(d_h + linear.carry * gradients[0]),)
        return self.severed(d_h), self.severed(linear.carry * gradients[1])

    def push(self, linear: Linear, tangent: States) -> States:
        """Return what becomes of a change of the states before each step."""
        parts = linear.hidden(linear.slope) * F.linear(tangent[0], self.w_hh)
        by_gate = _by_gate(parts, self.cell, -1)
        if linear.out is None:
            return (by_gate.sum(dim=-2) + linear.carry * tangent[0],)
        c = by_gate[..., :3, :].sum(dim=-2) + linear.carry * tangent[1]
        return by_gate[..., 3, :] + linear.out * c, c


def earlier(states: Tensor, first: Tensor | None) -> Tensor:
    """Return (B, T, H) moved by one step: the state before each; `first` None: zeros."""
    first = torch.zeros_like(states[:, 0]) if first is None else first
    return torch.cat([first[:, None], states[:, :-1]], dim=1)


def later(states: Tensor) -> Tensor:
    """Return (B, T, H) moved by one step the other way, with zeros at the last."""
    return torch.cat([states[:, 1:], torch.zeros_like(states[:, :1])], dim=1)


def _by_gate(tensor: Tensor, cell: str, dim: int = 0) -> Tensor:
    return tensor.unflatten(dim, (CELLS[cell].gates, -1))


def _tanh(gates: Tensor, u: Tensor, before: States) -> Linear:
    h = torch.tanh(u.add_(gates))
    return Linear((h,), 1 - h * h)


def _relu(gates: Tensor, u: Tensor, before: States) -> Linear:
    h = torch.relu(u.add_(gates))
    return Linear((h,), (h > 0).to(h.dtype))


def _gru(gates: Tensor, u: Tensor, before: States) -> Linear:
    width = before[0].shape[-1]
    r, z = torch.sigmoid(gates[..., : 2 * width] + u[..., : 2 * width]).chunk(2, dim=-1)
    u_n = u[..., 2 * width :]
    n = torch.tanh(torch.addcmul(gates[..., 2 * width :], r, u_n))
    slope = torch.empty_like(gates)
    into_r, into_z, into_n = slope.chunk(3, dim=-1)
    torch.mul(1 - z, 1 - n * n, out=into_n)
    torch.mul(into_n * u_n, r * (1 - r), out=into_r)
    away = before[0] - n
    torch.mul(away, z * (1 - z), out=into_z)
    return Linear((torch.addcmul(n, z, away),), slope, z, r)


def _lstm(gates: Tensor, u: Tensor, before: States) -> Linear:
    i, f, g, o = u.add_(gates).chunk(4, dim=-1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = torch.addcmul(f * before[1], i, g)
    squashed = torch.tanh(c)
    slope = torch.empty_like(gates)
    into_i, into_f, into_g, into_o = slope.chunk(4, dim=-1)
    torch.mul(g, i * (1 - i), out=into_i)
    torch.mul(before[1], f * (1 - f), out=into_f)
    torch.mul(i, 1 - g * g, out=into_g)
    torch.mul(squashed, o * (1 - o), out=into_o)
    return Linear((o * squashed, c), slope, f, None, o * (1 - squashed * squashed), o)


_LINEAR: dict[str, Callable[[Tensor, Tensor, States], Linear]] = {
    "tanh": _tanh,
    "relu": _relu,
    "lstm": _lstm,
    "gru": _gru,
}
assert _LINEAR.keys() == CELLS.keys()

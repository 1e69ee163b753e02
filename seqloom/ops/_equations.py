"""The equations of a recurrent cell over all steps at once, their Jacobian's diagonal, and how chaotic they are."""

import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.core.types import Where
from seqloom.ops.recurrence import CELLS, Weights

States = tuple[Tensor, ...]
WINDOW = 32  # steps run in turn to check a solution and to estimate its exponent


def _tanh_diagonal(x: Tensor, u: Tensor, before: States, after: States, w: Tensor) -> States:
    return ((1 - after[0].square()) * w[0],)


def _relu_diagonal(x: Tensor, u: Tensor, before: States, after: States, w: Tensor) -> States:
    return ((after[0] > 0) * w[0],)


def _gru_diagonal(x: Tensor, u: Tensor, before: States, after: States, w: Tensor) -> States:
    (x_r, x_z, x_n), (u_r, u_z, u_n) = x.chunk(3, dim=-1), u.chunk(3, dim=-1)
    r, z = (x_r + u_r).sigmoid(), (x_z + u_z).sigmoid()
    n = torch.tanh(x_n + r * u_n)
    into_n = (1 - z) * (1 - n.square())
    return (z + (before[0] - n) * z * (1 - z) * w[1] + into_n * (u_n * r * (1 - r) * w[0] + r * w[2]),)


def _lstm_diagonal(x: Tensor, u: Tensor, before: States, after: States, w: Tensor) -> States:
    # the two diagonal entries of the 2 x 2 block of (h, c), without what couples h to c
    i, f, g, o = (x + u).chunk(4, dim=-1)
    i, f, g, o, tanh_c = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid(), after[1].tanh()
    into_c = i * (1 - i) * g * w[0] + f * (1 - f) * before[1] * w[1] + i * (1 - g.square()) * w[2]
    return o * (1 - o) * tanh_c * w[3] + o * (1 - tanh_c.square()) * into_c, f


_DIAGONAL = {"tanh": _tanh_diagonal, "relu": _relu_diagonal, "gru": _gru_diagonal, "lstm": _lstm_diagonal}


class Equations:
    """The equations of all steps: evaluated side by side, and the diagonal of their Jacobian."""

    def __init__(self, cell: str, x: Tensor, weights: Weights, first: States, where: Where | None) -> None:
        self.cell, self.weights, self.first = cell, weights, first
        self.where = None if where is None or where.layout == "plain" else where
        self.x = F.linear(x, weights.ih, weights.b_ih)

    def before(self, states: States) -> States:
        """Return the state before each step, (B, T, H) each: shifted by one, zeros where a document begins."""
        shifted = (torch.cat([f[:, None], s[:, :-1]], dim=1) for f, s in zip(self.first, states, strict=True))
        if self.where is None:
            return tuple(shifted)
        return tuple(s.masked_fill(self.where.start[..., None], 0.0) for s in shifted)

    def step(self, before: States, steps: slice = slice(None)) -> tuple[Tensor, States]:
        """Return (hidden products, states after), from the states before, of all those steps."""
        u = F.linear(before[0], self.weights.hh, self.weights.b_hh)
        batch, length = before[0].shape[:2]
        flat = tuple(part.reshape(batch * length, -1) for part in before)
        after = CELLS[self.cell].step(self.x[:, steps].reshape(batch * length, -1), u.flatten(0, 1), flat)
        after = tuple(part.view(batch, length, -1) for part in after)
        if self.where is not None:
            real = self.where.real[:, steps, None]
            after = tuple(torch.where(real, a, b) for a, b in zip(after, before, strict=True))
        return u, after

    def diagonal(self, u: Tensor, before: States, after: States) -> States:
        """Return d after_t / d before_t on the diagonal, at most 1 in size: more would let the scan explode."""
        w = torch.stack([part.diagonal() for part in self.weights.hh.chunk(CELLS[self.cell].gates)])
        found = _DIAGONAL[self.cell](self.x, u, before, after, w)
        found = tuple(part.clamp(-1.0, 1.0) for part in found)
        if self.where is not None:
            found = tuple(torch.where(self.where.real[..., None], part, 1.0) for part in found)
            found = tuple(part.masked_fill(self.where.start[..., None], 0.0) for part in found)
        return found

    def exponent(self) -> float:
        """Estimate the largest Lyapunov exponent: how a vector grows under the second half of WINDOW Jacobians."""
        length = min(self.x.shape[1], WINDOW)
        state = tuple(part[:, None] for part in self.first)
        generator = torch.Generator(device="cpu").manual_seed(0)
        tangent = tuple(torch.randn(part.shape, generator=generator).to(part) for part in state)
        grown = []
        for t in range(length):
            if self.where is not None:
                begins = self.where.start[:, t : t + 1, None]
                state = tuple(part.masked_fill(begins, 0.0) for part in state)

            def one(*before: Tensor, t: int = t) -> States:
                return self.step(before, slice(t, t + 1))[1]

            state, tangent, *_ = torch.func.jvp(one, state, tangent)
            size = torch.stack([part.square().sum(dim=(1, 2)) for part in tangent]).sum(dim=0).sqrt()
            grown.append(size.log())
            tangent = tuple(part / size.clamp(min=1e-30)[:, None, None] for part in tangent)
        rates = torch.stack(grown[length // 2 :]).mean(dim=0)
        return float(rates.max())

    def disagreement(self, solution: States) -> float:
        """Return the largest difference from the last WINDOW steps run in turn from the solution before them."""
        length = self.x.shape[1]
        begin = max(length - WINDOW, 0)
        state = (
            tuple(part[:, None] for part in self.first)
            if begin == 0
            else tuple(s[:, begin - 1 : begin] for s in solution)
        )
        worst = 0.0
        for t in range(begin, length):
            if self.where is not None:
                state = tuple(part.masked_fill(self.where.start[:, t : t + 1, None], 0.0) for part in state)
            state = self.step(state, slice(t, t + 1))[1]
            worst = max(worst, *(float((a[:, 0] - s[:, t]).abs().max()) for a, s in zip(state, solution, strict=True)))
        return worst

"""What the nonlinear recurrent mixers share: the recurrence op behind an output projection."""

import math

import torch
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import State, Where
from seqloom.model.mixer import Cut, SequenceMixer
from seqloom.ops.linear import Linear
from seqloom.ops.recurrence import CELLS, Weights, recurrence
from seqloom.ops.tape import Tape, Vector


class RecurrentMixer(SequenceMixer):
    """y = W_out h + b_out, h the states of a recurrent cell over x.

    The weights are torch.nn's: `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh` load from and into torch.nn.GRU and kin
    (their names without the suffix `_l0`). The state is a tuple of (B, H) tensors.
    """

    def __init__(self, cell: str, width: int, hidden: int, forget_bias: float = 0.0) -> None:
        super().__init__()
        gates = CELLS[cell].gates
        self.cell = cell
        self.weight_ih = nn.Parameter(torch.empty(gates * hidden, width))
        self.weight_hh = nn.Parameter(torch.empty(gates * hidden, hidden))
        self.bias_ih = nn.Parameter(torch.empty(gates * hidden))
        self.bias_hh = nn.Parameter(torch.empty(gates * hidden))
        self.out = Linear(hidden, width)
        bound = 1 / math.sqrt(hidden)
        for parameter in (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh):
            nn.init.uniform_(parameter, -bound, bound)
        if forget_bias:
            # the forget gate begins open: Gers et al. 2000; Jozefowicz et al. 2015
            nn.init.constant_(self.bias_ih[hidden : 2 * hidden], forget_bias)
        cut = Cut(0, parts=gates)
        self.split = {
            "weight_ih": cut,
            "weight_hh": cut,
            "bias_ih": cut,
            "bias_hh": cut,
            "out.weight": Cut(1),
            "out.bias": "once",
        }

    def forward(self, x: Tensor, state: State | None = None, where: Where | None = None) -> tuple[Tensor, State | None]:
        """Mix along time under the contract."""
        h, after = recurrence(
            self.cell,
            x,
            Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh),
            state or (),
            where,
            state is not None,
        )
        return self.out(h), None if state is None else after

    def record(self, tape: Tape, x: Vector, state: State, into: Vector) -> None:
        """Write one step of one row to a tape."""
        h = Vector(state[0][0].detach().clone())
        entering = tape.product(self.weight_ih, self.bias_ih, x)
        hidden = tape.product(self.weight_hh, self.bias_hh, h)
        y = tape.cell(self.cell, entering, hidden, h, state[1][0] if len(state) > 1 else None)
        tape.linear(self.out, y, into=into)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost: G H (D + H) products a step, one step after another."""
        weights = self.weight_ih.numel() + self.weight_hh.numel() + self.out.weight.numel()
        hidden = self.weight_hh.shape[1]
        size = self.weight_hh.element_size()
        return Cost(
            flops=2 * batch * length * weights,
            bytes=size * weights + 2 * batch * length * size * self.out.weight.shape[0],
            state_bytes=batch * hidden * CELLS[self.cell].states * max(size, 4),
            depth=length + 2,
        )

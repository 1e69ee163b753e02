"""Drop-in torch.nn.RNN, LSTM, GRU and Linear on this package's kernels.

Same arguments, same shapes, same state_dict, PackedSequence in and out; `proj_size` is refused. `stream()` takes one
step of a recurrent layer at a time, without the overhead of a call for a whole sequence.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from seqloom.ops._stream import Stream
from seqloom.ops.linear import Linear
from seqloom.ops.newton import newton, pays
from seqloom.ops.recurrence import CELLS, Packed, Weights, recurrence

__all__ = ["GRU", "LSTM", "RNN", "Linear"]

States = tuple[Tensor, ...]
# step by step; all steps at once, in turn where that does not converge; whichever was measured to be faster
EVALUATIONS = ("sequential", "newton", "auto")


class _Recurrent(nn.Module):
    """Layers and directions of one cell; abstract.

    `evaluation` is the one argument beyond torch.nn's: "sequential", "newton" (all steps at once, see
    `seqloom.ops.newton`) or "auto" (the faster, measured once for each shape).
    """

    cell: ClassVar[str]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        evaluation: str = "sequential",
    ) -> None:
        super().__init__()
        if evaluation not in EVALUATIONS:
            raise ValueError(f"evaluation='{evaluation}' must be one of {', '.join(map(repr, EVALUATIONS))}")
        self.evaluation = evaluation
        if proj_size:
            raise ValueError(f"proj_size={proj_size} is not supported: use torch.nn.LSTM for projected states")
        if input_size < 1 or hidden_size < 1 or num_layers < 1:
            raise ValueError(
                f"input_size={input_size}, hidden_size={hidden_size} and num_layers={num_layers} must be at least 1"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} must be at least 0 and less than 1")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, dropout, bidirectional
        self.proj_size = 0
        self.directions = 2 if bidirectional else 1
        gates = CELLS[self._cell()].gates
        self._names: list[tuple[str, ...]] = []  # of the parameters of each layer and direction
        for layer in range(num_layers):
            entering = input_size if layer == 0 else hidden_size * self.directions
            for direction in range(self.directions):
                shapes = {"weight_ih": (gates * hidden_size, entering), "weight_hh": (gates * hidden_size, hidden_size)}
                if bias:
                    shapes |= {"bias_ih": (gates * hidden_size,), "bias_hh": (gates * hidden_size,)}
                suffix = f"_l{layer}" + ("_reverse" if direction else "")
                self._names.append(tuple(name + suffix for name in shapes))
                for name, shape in shapes.items():
                    self.register_parameter(name + suffix, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights from U(-1 / sqrt(H), 1 / sqrt(H))."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing: torch.nn's weights may want to be flattened, these do not."""

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """Return the weights of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._names]

    def _cell(self) -> str:
        return self.cell

    def _weights(self, index: int) -> Weights:
        return Weights(*(getattr(self, name) for name in self._names[index]))

    def _stack(self, x: Tensor, states: States, where: Packed | None) -> tuple[Tensor, States]:
        """Run all layers over (B, T, D) or (N, D); states (L directions, B, H) each."""
        cell, last = self._cell(), []
        for layer in range(self.num_layers):
            outputs: list[Tensor] = []
            for direction in range(self.directions):
                index = layer * self.directions + direction
                state = tuple(s[index].to(torch.promote_types(s.dtype, torch.float32)) for s in states)
                y, after = self._run(cell, x, self._weights(index), state, where, direction == 1)
                outputs.append(y)
                last.append(after)
            x = torch.cat(outputs, dim=-1) if self.bidirectional else outputs[0]
            if self.dropout and layer + 1 < self.num_layers:
                x = torch.dropout(x, self.dropout, self.training)
        # the op keeps the state in float32 or wider; torch.nn hands it back in the type of the output
        return x, tuple(torch.stack(parts).to(x.dtype) for parts in zip(*last, strict=True))

    def _run(
        self, cell: str, x: Tensor, weights: Weights, state: States, where: Packed | None, reverse: bool
    ) -> tuple[Tensor, States]:
        if self.evaluation == "newton" or (
            self.evaluation == "auto" and where is None and pays(cell, x, weights, state)
        ):
            return newton(cell, x, weights, state, where, True, reverse)[:2]
        return recurrence(cell, x, weights, state, where, True, reverse)

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | States | None = None):  # noqa: A002 torch's name
        """Run the layers, as torch.nn does.

        Args:
            input: (T, B, D), (B, T, D) with batch_first, (T, D), or a PackedSequence.
            hx: h of shape (layers * directions, B, H), for an LSTM the pair (h, c); None: zeros.

        Returns:
            (output, h), for an LSTM (output, (h, c)), shaped as torch.nn shapes them.

        Raises:
            ValueError: the input's or a state's shape or type does not suit.
        """
        states: States = () if hx is None else (hx,) if isinstance(hx, Tensor) else tuple(hx)
        if isinstance(input, PackedSequence):
            return self._packed(input, states)
        if input.dim() not in (2, 3):
            raise ValueError(
                f"input has shape {tuple(input.shape)}; {self._name()} takes (T, B, D), (B, T, D) with "
                "batch_first=True, (T, D), or a PackedSequence"
            )
        self._check(input)
        single = input.dim() == 2
        x = input[None] if single else input if self.batch_first else input.transpose(0, 1)
        states = self._checked(states, (x.shape[0],) if not single else (), x)
        y, states = self._stack(x, tuple(s[:, None] for s in states) if single else states, None)
        if single:
            return y[0], self._bundle(tuple(s[:, 0] for s in states))
        return y if self.batch_first else y.transpose(0, 1), self._bundle(states)

    def stream(self, batch_size: int = 1) -> Stream:
        """Return the layers as they are now, to be called step by step: `y = stream(x)`, x (B, D), y (B, H).

        Raises:
            ValueError: the layers are bidirectional: the other direction begins at the end.
        """
        if self.bidirectional:
            raise ValueError("a bidirectional layer cannot stream: its other direction begins at the end")
        return Stream(self._cell(), [self._weights(index) for index in range(self.num_layers)], batch_size)

    def _packed(self, packed: PackedSequence, states: States) -> tuple[PackedSequence, Tensor | States]:
        if packed.data.dim() != 2:
            raise ValueError(f"packed data has shape {tuple(packed.data.shape)}, expected (N, {self.input_size})")
        self._check(packed.data)
        states = self._checked(states, (int(packed.batch_sizes[0]),), packed.data)
        # rows of the state in the order of the packing: longest first
        if packed.sorted_indices is not None:
            states = tuple(s.index_select(1, packed.sorted_indices) for s in states)
        y, states = self._stack(packed.data, states, Packed(packed.batch_sizes))
        if packed.unsorted_indices is not None:
            states = tuple(s.index_select(1, packed.unsorted_indices) for s in states)
        result = PackedSequence(y, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return result, self._bundle(states)

    def _check(self, x: Tensor) -> None:
        if x.shape[-1] != self.input_size:
            raise ValueError(
                f"input has shape {tuple(x.shape)}, its last dimension must be input_size={self.input_size}"
            )
        weight = getattr(self, self._names[0][0])
        if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise ValueError(
                f"input is {x.dtype} and the weights are {weight.dtype}: convert one, e.g. x.to(weight.dtype)"
            )

    def _checked(self, states: States, rows: tuple[int, ...], x: Tensor) -> States:
        """Return the states, none standing for zeros, or raise for a wrong number, shape or type."""
        if not states:
            return ()
        shape = (self.num_layers * self.directions, *rows, self.hidden_size)
        wanted = CELLS[self._cell()].states
        if len(states) != wanted or any(tuple(s.shape) != shape for s in states):
            shapes = [tuple(s.shape) for s in states]
            form = "the pair (h, c)" if wanted == 2 else "one tensor h"
            raise ValueError(f"hx has shapes {shapes}, expected {form} of shape {shape}")
        if any(s.dtype != x.dtype for s in states) and not torch.is_autocast_enabled(x.device.type):
            raise ValueError(f"hx is {states[0].dtype} and the input is {x.dtype}: convert one")
        return states

    def _bundle(self, states: States) -> Tensor | States:
        return states[0] if len(states) == 1 else states

    def _name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """Return the arguments that differ from torch's defaults."""
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        parts += [
            f"{name}={getattr(self, name)}" for name, default in defaults.items() if getattr(self, name) != default
        ]
        return ", ".join(parts)


class GRU(_Recurrent):
    """torch.nn.GRU's arguments and state_dict; see `seqloom.mixers.gru` for the equation and its source."""

    cell = "gru"


class LSTM(_Recurrent):
    """torch.nn.LSTM's arguments and state_dict; see `seqloom.mixers.lstm` for the equation and its source."""

    cell = "lstm"


class RNN(_Recurrent):
    """torch.nn.RNN's arguments and state_dict; `nonlinearity` is "tanh" or "relu"."""

    cell = "tanh"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        evaluation: str = "sequential",
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity='{nonlinearity}' must be 'tanh' or 'relu'")
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype, evaluation
        )

    def _cell(self) -> str:
        return self.nonlinearity

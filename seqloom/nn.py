"""Drop-in torch.nn.RNN, LSTM and GRU on this package's kernels.

Same arguments, same shapes, same state_dict, PackedSequence in and out; `proj_size` is refused.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqloom.core.types import Where, fresh_place, locate, reorder, reversal
from seqloom.ops.recurrence import CELLS, recurrence

__all__ = ["GRU", "LSTM", "RNN"]

States = tuple[Tensor, ...]


class _Recurrent(nn.Module):
    """Layers and directions of one cell; abstract."""

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
    ) -> None:
        super().__init__()
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
        self.directions = 2 if bidirectional else 1
        gates = CELLS[self._cell()].gates
        bound = 1 / math.sqrt(hidden_size)
        for layer in range(num_layers):
            entering = input_size if layer == 0 else hidden_size * self.directions
            for direction in range(self.directions):
                shapes = {"weight_ih": (gates * hidden_size, entering), "weight_hh": (gates * hidden_size, hidden_size)}
                if bias:
                    shapes |= {"bias_ih": (gates * hidden_size,), "bias_hh": (gates * hidden_size,)}
                for name, shape in shapes.items():
                    value = torch.empty(shape, device=device, dtype=dtype).uniform_(-bound, bound)
                    self.register_parameter(name + _suffix(layer, direction), nn.Parameter(value))

    def _cell(self) -> str:
        return self.cell

    def _layer(
        self, x: Tensor, state: States, where: Where | None, layer: int, direction: int
    ) -> tuple[Tensor, States]:
        suffix = _suffix(layer, direction)
        weights = [getattr(self, name + suffix) for name in ("weight_ih", "weight_hh")]
        biases = [getattr(self, name + suffix) if self.bias else None for name in ("bias_ih", "bias_hh")]
        return recurrence(self._cell(), x, *weights, *biases, state, where, True)

    def _stack(self, x: Tensor, states: States, where: Where | None) -> tuple[Tensor, States]:
        """Run all layers over (B, T, D); states (L directions, B, H) each."""
        order = None if where is None else reversal(where.real)
        last: list[States] = []
        for layer in range(self.num_layers):
            outputs: list[Tensor] = []
            for direction in range(self.directions):
                state = tuple(s[layer * self.directions + direction] for s in states)
                turned = _turn(x, order) if direction else x
                y, after = self._layer(turned, state, where, layer, direction)
                outputs.append(_turn(y, order) if direction else y)
                last.append(after)
            x = torch.cat(outputs, dim=2) if self.bidirectional else outputs[0]
            if self.dropout and layer + 1 < self.num_layers:
                x = torch.dropout(x, self.dropout, self.training)
        return x, tuple(torch.stack(parts) for parts in zip(*last, strict=True))

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | States | None = None):  # noqa: A002 torch's name
        """Run the layers, as torch.nn does.

        Args:
            input: (T, B, D), (B, T, D) with batch_first, (T, D), or a PackedSequence.
            hx: h of shape (layers * directions, B, H), for an LSTM the pair (h, c); None: zeros.

        Returns:
            (output, h), for an LSTM (output, (h, c)), shaped as torch.nn shapes them.

        Raises:
            ValueError: the input's or a state's shape does not suit.
        """
        states: States = () if hx is None else (hx,) if isinstance(hx, Tensor) else tuple(hx)
        if isinstance(input, PackedSequence):
            return self._packed(input, states)
        single = input.dim() == 2
        if input.dim() not in (2, 3) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"input has shape {tuple(input.shape)}, expected two or three dimensions, the last {self.input_size}"
            )
        x = input[None] if single else input if self.batch_first else input.transpose(0, 1)
        states = tuple(s[:, None] for s in states) if single else states
        y, states = self._stack(x, self._complete(states, x), None)
        if single:
            return y[0], self._bundle(tuple(s[:, 0] for s in states))
        return y if self.batch_first else y.transpose(0, 1), self._bundle(states)

    def _packed(self, packed: PackedSequence, states: States) -> tuple[PackedSequence, Tensor | States]:
        # rows in the order of the packing: longest first
        x, lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes), batch_first=True)
        if packed.sorted_indices is not None:
            states = tuple(s.index_select(1, packed.sorted_indices) for s in states)
        segment = (torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]).long()
        where, _ = locate(segment, fresh_place(x.shape[0], x.device), x.shape[0], x.shape[1])
        y, states = self._stack(x, self._complete(states, x), where)
        data = pack_padded_sequence(y, lengths, batch_first=True)
        if packed.unsorted_indices is not None:
            states = tuple(s.index_select(1, packed.unsorted_indices) for s in states)
        result = PackedSequence(data.data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return result, self._bundle(states)

    def _complete(self, states: States, x: Tensor) -> States:
        shape = (self.num_layers * self.directions, x.shape[0], self.hidden_size)
        n_states = CELLS[self._cell()].states
        if not states:
            return tuple(x.new_zeros(shape) for _ in range(n_states))
        if len(states) != n_states or any(tuple(s.shape) != shape for s in states):
            shapes = [tuple(s.shape) for s in states]
            raise ValueError(f"hx has shapes {shapes}, expected {n_states} of {shape}")
        return states

    def _bundle(self, states: States) -> Tensor | States:
        return states[0] if len(states) == 1 else states

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
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity='{nonlinearity}' must be 'tanh' or 'relu'")
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )

    def _cell(self) -> str:
        return self.nonlinearity


def _suffix(layer: int, direction: int) -> str:
    return f"_l{layer}" + ("_reverse" if direction else "")


def _turn(x: Tensor, order: Tensor | None) -> Tensor:
    """Reverse time; the reversal is its own inverse on real steps, and padding stays where it is."""
    return x.flip(1) if order is None else reorder(x, order)

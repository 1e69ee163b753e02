"""A stack of recurrent layers one step at a time, weights packed once: decoding and live input without overhead."""

import ctypes
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seqloom.ops import _native
from seqloom.ops.recurrence import CELLS, Weights, recurrence
from seqloom.ops.recurrence_native import CODES, TYPES, Call

MOST_LAYERS = 64


class Stream:
    """Layers that go on from step to step; the weights are those of the moment it was made.

    Not differentiable. Work of a step O(B G H (D + H)); with the native kernels one call of two addresses.
    """

    def __init__(self, cell: str, layers: list[Weights], batch: int) -> None:
        """Begin from zeros.

        Args:
            cell: a key of CELLS.
            layers: weights of each layer, the first reads the input.
            batch: sequences that go on side by side.

        Raises:
            ValueError: batch < 1.
        """
        if batch < 1:
            raise ValueError(f"batch_size={batch} must be at least 1")
        self.cell, self.batch = cell, batch
        self._layers = [Weights(*map(_copy, layer)) for layer in layers]
        first = self._layers[0]
        self.input_size, self.hidden_size = first.ih.shape[1], first.hh.shape[1]
        self.dtype, self.device = first.ih.dtype, first.ih.device
        # (states, layers, B, H), updated in place
        self._state = first.ih.new_zeros((CELLS[cell].states, len(layers), batch, self.hidden_size))
        self._shape = (batch, self.input_size)
        self._like = self._state.new_empty((batch, self.hidden_size))  # the quickest way to a new tensor
        self._take: Callable[[int, int, int], None] | None = None
        self._address = 0
        if not self._why_not():
            self._open()

    def __call__(self, x: Tensor) -> Tensor:
        """Take one step.

        Args:
            x: (B, D), of the weights' type.

        Returns:
            (B, H), h of the last layer.

        Raises:
            ValueError: x has another shape or type.
        """
        if x.shape != self._shape or x.dtype is not self.dtype:
            raise ValueError(
                f"a step takes {self._shape} of {self.dtype}, got {tuple(x.shape)} of {x.dtype}: "
                "one row for each sequence, without a dimension for time"
            )
        if self._take is None:
            return self._by_op(x)
        y = torch.empty_like(self._like)
        self._take(self._address, x.contiguous().data_ptr(), y.data_ptr())
        return y

    @property
    def state(self) -> tuple[Tensor, ...]:
        """Return a copy of the state: (h,) or (h, c), each (layers, B, H)."""
        return tuple(part.clone() for part in self._state)

    def reset(self, *state: Tensor) -> None:
        """Go on from another state, (h,) or (h, c) of shape (layers, B, H); none: from zeros.

        Raises:
            ValueError: number or shape of the parts.
        """
        if not state:
            self._state.zero_()
            return
        wanted = tuple(self._state.shape[1:])
        if len(state) != len(self._state) or any(tuple(part.shape) != wanted for part in state):
            shapes = [tuple(part.shape) for part in state]
            raise ValueError(f"state has shapes {shapes}, expected {len(self._state)} of {wanted}")
        self._state.copy_(torch.stack(state))

    def _why_not(self) -> list[str]:
        reasons = list(_native.why_not())
        if self.dtype not in TYPES or self.device.type != "cpu":
            reasons.append(f"It runs float32 and float64 on a CPU, not {self.dtype} on '{self.device.type}'.")
        if len(self._layers) > MOST_LAYERS:
            reasons.append(f"It runs at most {MOST_LAYERS} layers.")
        return reasons

    def _by_op(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for i, weights in enumerate(self._layers):
                state = tuple(part[i] for part in self._state)
                y, after = recurrence(self.cell, x[:, None], weights, state, None, True)
                for part, new in zip(state, after, strict=True):
                    part.copy_(new)
                x = y[:, 0]
        return x.clone()

    def _open(self) -> None:
        kind = TYPES[self.dtype]
        calls = (Call * len(self._layers))(*(self._call(i) for i in range(len(self._layers))))
        handle = ctypes.c_void_p()
        _native.function(f"stream_open_{kind}")(calls, ctypes.c_int64(len(calls)), ctypes.byref(handle))
        weakref.finalize(self, _native.function(f"stream_close_{kind}"), ctypes.c_void_p(handle.value))
        take: Any = _native.function(f"stream_step_{kind}")
        take.argtypes = [ctypes.c_void_p] * 3
        self._take, self._address = take, handle.value or 0

    def _call(self, layer: int) -> Call:
        weights = self._layers[layer]
        addresses = [0 if weight is None else weight.data_ptr() for weight in weights]
        return Call(
            cell=CODES[self.cell][0], threads=1, batch=self.batch, steps=1, inputs=weights.ih.shape[1],
            hidden=self.hidden_size, count=self.batch, slot_of_step=self.batch, slot_of_row=1,
            w_ih=addresses[0], w_hh=addresses[1], b_ih=addresses[2], b_hh=addresses[3],
            first=self._state[0, layer].data_ptr(), last=self._state[-1, layer].data_ptr(),
        )  # fmt: skip


def _copy(weight: Any) -> Any:
    return None if weight is None else weight.detach().clone(memory_format=torch.contiguous_format)

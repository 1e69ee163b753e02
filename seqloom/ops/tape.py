"""A model's step recorded once and played natively: decoding one row without the framework's overhead.

Modules write their step to a `Tape` as instructions on vectors; `Decoder` plays them in C++ (csrc/decode.cpp). Weights
are read where they stand, so that nothing is packed or copied; states are copied when recorded.
"""

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqloom.ops import _native
from seqloom.ops.linear import Linear

_OPERATIONS = (
    "embed", "layer_norm", "rms_norm", "linear", "gate", "rotate", "attend", "cell", "convolve", "selective",
)  # fmt: skip
_ACTIVATIONS = ("identity", "relu", "gelu", "gelu_tanh", "silu", "sigmoid")
_CELLS = ("tanh", "relu", "lstm", "gru")
_INTEGERS = ("operation", "activation", "n", "m", "k", "groups", "adds")
_NUMBERS = ("number", "other")
_ADDRESSES = ("a", "b", "c", "d", "x", "z", "y", "state", "more")


class Unrecorded(Exception):
    """A step that has no native form; the message says why."""


class Instruction(ctypes.Structure):
    """One instruction, as csrc/decode.cpp declares it."""

    _fields_ = (
        [(name, ctypes.c_int64) for name in _INTEGERS]
        + [(name, ctypes.c_double) for name in _NUMBERS]
        + [(name, ctypes.c_void_p) for name in _ADDRESSES]
    )


class Vector(NamedTuple):
    """A vector of the program: a stretch of memory."""

    memory: Tensor  # (n,) float32

    def part(self, begin: int, end: int) -> "Vector":
        """Return a stretch of it."""
        return Vector(self.memory[begin:end])

    @property
    def size(self) -> int:
        """Return its length."""
        return self.memory.shape[0]


class Tape:
    """Instructions in the order in which they are recorded."""

    def __init__(self, steps: int) -> None:
        """Begin a program that will be played `steps` times at most: caches have room for so many.

        Raises:
            Unrecorded: there are no native kernels.
        """
        if _native.why_not():
            raise Unrecorded(" ".join(_native.why_not()))
        self.steps = steps
        self._instructions: list[Instruction] = []
        self._kept: list[Tensor] = []

    def vector(self, size: int) -> Vector:
        """Return a new vector."""
        return Vector(torch.zeros(size))

    def embed(self, table: Tensor, places: Tensor | None, factor: float) -> Vector:
        """Record the look-up of the token in (V, D), times a factor, plus the row of its position."""
        y = self.vector(table.shape[1])
        self._add("embed", m=y.size, number=factor, a=table, b=places, y=y)
        return y

    def norm(self, module: nn.Module, x: Vector) -> Vector:
        """Record torch.nn.LayerNorm or RMSNorm."""
        if type(module) is nn.LayerNorm:
            return self.normed("layer_norm", x, module.weight, module.bias, module.eps)
        if type(module) is nn.RMSNorm and module.eps is not None:
            return self.normed("rms_norm", x, module.weight, None, module.eps)
        raise Unrecorded(f"{type(module).__name__} has no native step.")

    def normed(self, kind: str, x: Vector, weight: Tensor, bias: Tensor | None, eps: float, groups: int = 1) -> Vector:
        """Record a norm of each of `groups` stretches of x."""
        y = self.vector(x.size)
        self._add(kind, n=x.size // groups, groups=groups, number=eps, a=weight, b=bias, x=x, y=y)
        return y

    def linear(self, module: nn.Module, x: Vector, activation: str = "identity", into: Vector | None = None) -> Vector:
        """Record torch.nn.Linear, its answer activated, or added to a vector."""
        if not isinstance(module, nn.Linear) or type(module) not in (nn.Linear, Linear):
            raise Unrecorded(f"{type(module).__name__} in place of Linear has no native step.")
        return self.product(module.weight, module.bias, x, activation, into)

    def product(
        self, weight: Tensor, bias: Tensor | None, x: Vector, activation: str = "identity", into: Vector | None = None
    ) -> Vector:
        """Record W x + b."""
        y = self.vector(weight.shape[0]) if into is None else into
        self._add(
            "linear", activation=_ACTIVATIONS.index(activation), n=weight.shape[0], m=weight.shape[1],
            adds=int(into is not None), a=weight, b=bias, x=x, y=y,
        )  # fmt: skip
        return y

    def gate(self, x: Vector, z: Vector, activation: str) -> Vector:
        """Record activation(x) z."""
        y = self.vector(x.size)
        self._add("gate", activation=_ACTIVATIONS.index(activation), n=x.size, x=x, z=z, y=y)
        return y

    def rotate(self, heads: Vector, width: int, base: float) -> None:
        """Record the turning, in place, of heads of a width to their position."""
        self._add("rotate", n=heads.size // width, k=width, number=base, y=heads)

    def attend(self, entering: Vector, key: Tensor, value: Tensor, heads: int, window: int | None) -> Vector:
        """Record attention of `heads` to what was seen, key and value (S, G, K), and to the step itself.

        `entering` holds q | k | v of the step.
        """
        seen, groups, width = key.shape
        room = seen + self.steps
        caches = [torch.zeros((groups, room, width)) for _ in range(2)]
        for cache, part in zip(caches, (key, value), strict=True):
            cache[:, :seen] = part.transpose(0, 1)
        y = self.vector(heads * width)
        self._add(
            "attend", n=heads, m=room, k=width, groups=groups, adds=window or 0, number=width**-0.5,
            x=entering, z=self.vector(room), y=y, state=caches[0], more=caches[1],
        )  # fmt: skip
        return y

    def cell(self, name: str, entering: Vector, hidden: Vector, h: Vector, c: Tensor | None) -> Vector:
        """Record a recurrent cell from both parts of its gates; h is read by the next step's product, and updated."""
        y = self.vector(h.size)
        more = None if c is None else c.detach().float().clone()
        self._add("cell", n=h.size, k=_CELLS.index(name), x=entering, z=hidden, y=y, state=h.memory, more=more)
        return y

    def convolve(self, x: Vector, weight: Tensor, bias: Tensor | None, tail: Tensor, activation: str) -> Vector:
        """Record a short convolution, weight (C, k), tail (k - 1, C)."""
        y = self.vector(x.size)
        self._add(
            "convolve", activation=_ACTIVATIONS.index(activation), n=x.size, k=weight.shape[1],
            a=weight.t().contiguous(), b=bias, x=x, y=y, state=tail.float().clone(),
        )  # fmt: skip
        return y

    def selective(
        self, u: Vector, keys: Vector, d: Vector, log_a: Tensor, bias: Tensor, skip: Tensor, state: Tensor,
        limits: tuple[float, float],
    ) -> Vector:  # fmt: skip
        """Record Mamba-2's step; the state (G, N, H / G, V)."""
        y = self.vector(u.size)
        groups, size, share, width = state.shape
        held = state.float().clone(memory_format=torch.contiguous_format)
        self._add(
            "selective", n=groups * share, m=size, k=width, groups=groups, number=limits[0], other=limits[1],
            a=log_a, b=bias, c=d, d=skip, x=u, z=keys, y=y, state=held,
        )  # fmt: skip
        return y

    def _add(self, operation: str, **fields: Any) -> None:
        found: dict[str, Any] = {"operation": _OPERATIONS.index(operation)}
        for name, value in fields.items():
            if isinstance(value, Vector):
                value = value.memory
            if isinstance(value, Tensor):
                if value.dtype != torch.float32 or value.device.type != "cpu" or not value.is_contiguous():
                    raise Unrecorded(f"The native step takes contiguous float32 on a CPU, not {value.dtype}.")
                self._kept.append(value)
                value = value.data_ptr()
            found[name] = value
        self._instructions.append(Instruction(**found))

    def play(self, answer: Vector, position: int, seen: int) -> "Decoder":
        """Return the decoder of what was recorded, which begins at a position with so many steps in the caches."""
        return Decoder(self, (Instruction * len(self._instructions))(*self._instructions), answer, position, seen)


class Decoder:
    """Plays a tape: token after token."""

    def __init__(self, tape: Tape, program: Any, answer: Vector, position: int, seen: int) -> None:
        self._tape, self._program, self._answer = tape, program, answer
        self._position, self._seen, self._left = position, seen, tape.steps
        play: Any = _native.function("decode_f32")
        play.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 4]
        self._play, self._address = play, ctypes.addressof(program)

    def __call__(self, token: int) -> Tensor:
        """Return the answer (V,) after one more token; it is overwritten by the next."""
        assert self._left > 0, "more steps than the tape has room for"
        self._play(self._address, len(self._program), token, self._position, self._seen)
        self._position, self._seen, self._left = self._position + 1, self._seen + 1, self._left - 1
        return self._answer.memory

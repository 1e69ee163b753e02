"""A model's step recorded once and played natively: decoding one row without the framework's overhead.

Modules write their step to a `Tape` as instructions on vectors; `Decoder` plays them in C++ (csrc/decode.cpp). Weights
are read where they stand, so that nothing is packed or copied; states are copied when recorded. What attention keeps
grows by doubling up to its window, so that memory follows the steps played, not those that might be.
"""

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqloom.ops import _native
from seqloom.ops.linear import Linear
from seqloom.ops.rmsnorm import RMSNorm

_OPERATIONS = (
    "embed", "layer_norm", "rms_norm", "linear", "gate", "rotate", "attend", "cell", "convolve", "selective",
)  # fmt: skip
_ACTIVATIONS = ("identity", "relu", "gelu", "gelu_tanh", "silu", "sigmoid")
ROOM = 64  # steps that a cache holds at first, at least
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


class Cache:
    """Keys and values (G, room, K) of one attention, step t at place t % room, and room for as many scores."""

    def __init__(self, instruction: int, kept: list[Tensor], seen: int, window: int | None) -> None:
        """Take over keys and values (S, G, K) of the last S of the steps seen."""
        self._instruction, self._window = instruction, window
        self.room = self._within(max(2 * seen, ROOM))
        self._tensors = [self._empty(part) for part in kept]
        for cache, part in zip(self._tensors, kept, strict=True):
            last = part[max(len(part) - self.room, 0) :]
            cache[:, torch.arange(seen - len(last), seen) % self.room] = last.transpose(0, 1)
        self._scores = torch.empty(self.room, dtype=torch.float32, device="cpu")

    def grow(self, program: Any) -> None:
        """Double the room of a full cache, up to the window, and tell the program where it stands now."""
        held, self.room = self._tensors, self._within(2 * self.room)
        self._tensors = [self._empty(part.transpose(0, 1)) for part in held]
        for cache, part in zip(self._tensors, held, strict=True):
            cache[:, : part.shape[1]] = part
        self._scores = torch.empty(self.room, dtype=torch.float32, device="cpu")
        self.place(program)

    def place(self, program: Any) -> None:
        """Write the room and the addresses into the program."""
        instruction = program[self._instruction]
        instruction.m, instruction.z = self.room, self._scores.data_ptr()
        instruction.state, instruction.more = (part.data_ptr() for part in self._tensors)

    def full(self, seen: int) -> bool:
        """Return whether one more step would push out one that is still seen."""
        return seen >= self.room and self.room != self._window

    def _within(self, room: int) -> int:
        return room if self._window is None else min(room, self._window)

    def _empty(self, like: Tensor) -> Tensor:
        # not zeros: pages that no step has reached stay untouched
        return torch.empty((like.shape[1], self.room, like.shape[2]), dtype=torch.float32, device="cpu")


class Tape:
    """Instructions in the order in which they are recorded."""

    def __init__(self, seen: int) -> None:
        """Begin a program that goes on after so many steps of one document.

        Raises:
            Unrecorded: there are no native kernels.
        """
        if _native.why_not():
            raise Unrecorded(" ".join(_native.why_not()))
        self.seen = seen
        self.tokens = 0  # rows of the table: the tokens that can be looked up
        self.places: int | None = None  # positions that can be looked up; None: any
        self._instructions: list[Instruction] = []
        self._caches: list[Cache] = []
        self._kept: list[Tensor] = []

    def vector(self, size: int) -> Vector:
        """Return a new vector."""
        return Vector(torch.zeros(size, dtype=torch.float32, device="cpu"))

    def embed(self, table: Tensor, places: Tensor | None, factor: float) -> Vector:
        """Record the look-up of the token in (V, D), times a factor, plus the row of its position."""
        y = self.vector(table.shape[1])
        self.tokens, self.places = len(table), None if places is None else len(places)
        self._add("embed", m=y.size, number=factor, a=table, b=places, y=y)
        return y

    def norm(self, module: nn.Module, x: Vector) -> Vector:
        """Record torch.nn.LayerNorm or RMSNorm."""
        if type(module) is nn.LayerNorm:
            return self.normed("layer_norm", x, module.weight, module.bias, module.eps)
        if isinstance(module, nn.RMSNorm) and type(module) in (nn.RMSNorm, RMSNorm) and module.eps is not None:
            return self.normed("rms_norm", x, module.weight, None, module.eps)
        raise Unrecorded(f"{type(module).__name__} has no native step.")

    def normed(self, kind: str, x: Vector, weight: Tensor, bias: Tensor | None, eps: float, groups: int = 1) -> Vector:
        """Record a norm of each of `groups` stretches of x."""
        y = self.vector(x.size)
        self._add(kind, n=x.size // groups, groups=groups, number=eps, a=weight, b=bias, x=x, y=y)
        return y

    def linear(
        self,
        module: nn.Module,
        x: Vector,
        activation: str = "identity",
        into: Vector | None = None,
        bias: Tensor | None = None,
    ) -> Vector:
        """Record torch.nn.Linear and one more bias, its answer activated, or added to a vector."""
        if not isinstance(module, nn.Linear) or type(module) not in (nn.Linear, Linear):
            raise Unrecorded(f"{type(module).__name__} in place of Linear has no native step.")
        biases = [each for each in (module.bias, bias) if each is not None]
        return self.product(module.weight, sum(biases[1:], biases[0]) if biases else None, x, activation, into)

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
        """Record attention of `heads` to the last `window` steps (None: all), the step's own among them.

        `entering` holds q | k | v of the step; key and value (S, G, K) are those of the last S steps seen.
        """
        held, groups, width = key.shape
        if held < (self.seen if window is None else min(self.seen, window - 1)):
            raise Unrecorded("The state holds fewer steps than attention sees.")
        y = self.vector(heads * width)
        self._caches.append(Cache(len(self._instructions), [key, value], self.seen, window))
        self._add("attend", n=heads, k=width, groups=groups, number=width**-0.5, x=entering, y=y)
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

    def play(self, answer: Vector) -> "Decoder":
        """Return the decoder of what was recorded."""
        program = (Instruction * len(self._instructions))(*self._instructions)
        for cache in self._caches:
            cache.place(program)
        return Decoder(self, program, self._caches, answer)


class Decoder:
    """Plays a tape: token after token."""

    def __init__(self, tape: Tape, program: Any, caches: list[Cache], answer: Vector) -> None:
        self._tape, self._program, self._caches, self._answer = tape, program, caches, answer
        self._seen = tape.seen
        play: Any = _native.function("decode_row_f32")
        play.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3]
        self._play, self._address = play, ctypes.addressof(program)

    def __call__(self, token: int) -> Tensor:
        """Return the answer (V,) after one more token; it is overwritten by the next.

        Raises:
            ValueError: the token is not in the table, or its position is behind the last one learnt.
        """
        if not 0 <= token < self._tape.tokens:
            raise ValueError(f"token {token} is not among the {self._tape.tokens} that the model knows")
        if self._tape.places is not None and self._seen >= self._tape.places:
            raise ValueError(f"step {self._seen + 1} is behind the {self._tape.places} positions learnt")
        for cache in self._caches:
            if cache.full(self._seen):
                cache.grow(self._program)
        self._play(self._address, len(self._program), token, self._seen)
        self._seen += 1
        return self._answer.memory

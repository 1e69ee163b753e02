"""The one door to torch.distributed: collectives along a mesh axis, each counted, and their gradients.

Counted are calls and payload bytes of this process: of a reduction the tensor, of a gathering the own part, of a
message what is sent. What a backend does with a call (a ring's steps, say) is its own affair.
"""

import contextlib
import json
import math
from collections import Counter, defaultdict, deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from seqloom.parallel.plan import AXES, Plan
from seqloom.parallel.world import processes

# torch 2.13 renamed them, and warns of the earlier names
all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
reduce_scatter: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
_ON_THEIR_WAY = 4  # messages: enough to compute on while a neighbour is late, few enough to be held


class Count(NamedTuple):
    """How often an operation was called, and with how many bytes."""

    calls: int
    bytes: int


class Call(NamedTuple):
    """One call through the door."""

    axis: str
    operation: str
    bytes: int
    peer: int | None  # index on the axis of the process that is sent to or received from; None: all of it


@dataclass
class Traffic:
    """What went through the door, by axis and operation."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    waited_s: float = 0.0  # in calls that return when others have done their part
    log: list[Call] | None = None  # every call in its order, where one is wanted

    def add(self, axis: str, operation: str, tensor: Tensor, peer: int | None = None) -> None:
        """Count one call."""
        self.note(axis, operation, tensor, peer)
        self.calls[axis, operation] += 1
        self.bytes[axis, operation] += tensor.numel() * tensor.element_size()

    def note(self, axis: str, operation: str, tensor: Tensor, peer: int | None = None) -> None:
        """Write a call down, if there is a log."""
        if self.log is not None:
            self.log.append(Call(axis, operation, tensor.numel() * tensor.element_size(), peer))

    @contextlib.contextmanager
    def waiting(self) -> Generator[None, None, None]:
        """Count the time inside as waiting."""
        began = perf_counter()
        try:
            yield
        finally:
            self.waited_s += perf_counter() - began

    def clear(self, log: bool = False) -> None:
        """Forget what went through; keep a log from now on, or none."""
        self.calls.clear()
        self.bytes.clear()
        self.waited_s, self.log = 0.0, [] if log else None

    def counts(self) -> dict[str, dict[str, Count]]:
        """Return axis -> operation -> Count."""
        found: dict[str, dict[str, Count]] = {}
        for axis, operation in sorted(self.calls):
            found.setdefault(axis, {})[operation] = Count(self.calls[axis, operation], self.bytes[axis, operation])
        return found


class Axis:
    """One axis of the mesh as a process sees it; an axis of one process sends nothing.

    Args:
        name: of the axis.
        ranks: processes along it, in order.
        rank: this process.
        group: their group; None for one process.
        traffic: where its calls are counted.
    """

    def __init__(self, name: str, ranks: Sequence[int], rank: int, group: Any, traffic: Traffic) -> None:
        self.name, self.ranks, self.group, self.traffic = name, tuple(ranks), group, traffic
        self.size, self.index = len(ranks), list(ranks).index(rank)
        self._going: deque[tuple[Any, Tensor]] = deque()  # messages on their way, oldest first
        self._coming: defaultdict[int, deque[tuple[Any, Tensor]]] = defaultdict(deque)  # awaited, by who sends them

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over the axis, in the tensor given."""
        if self.size > 1:
            self.traffic.add(self.name, "sum", tensor)
            with self.traffic.waiting():
                dist.all_reduce(tensor, group=self.group)
        return tensor

    def largest(self, tensor: Tensor) -> Tensor:
        """Return the elementwise maximum over the axis, in the tensor given."""
        if self.size > 1:
            self.traffic.add(self.name, "largest", tensor)
            with self.traffic.waiting():
                dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.group)
        return tensor

    def sum_later(self, tensor: Tensor) -> "torch.futures.Future[Tensor]":
        """Return a future of the sum over the axis, for gradients that go while others are still computed."""
        self.traffic.add(self.name, "sum", tensor)
        work = dist.all_reduce(tensor, group=self.group, async_op=True)
        assert work is not None
        return work.get_future().then(lambda done: tensor)  # summed in place: no backend's form of a value

    def gather(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all, (size, ...)."""
        if self.size == 1:
            return tensor[None]
        self.traffic.add(self.name, "gather", tensor)
        whole = tensor.new_empty((self.size, *tensor.shape))
        with self.traffic.waiting():
            all_gather(whole.view(-1), tensor.contiguous().view(-1), group=self.group)
        return whole

    def scatter_sum(self, tensor: Tensor) -> Tensor:
        """Return this process's part [index] of the sum of tensors (size, ...) over the axis."""
        if self.size == 1:
            return tensor[0]
        self.traffic.add(self.name, "scatter_sum", tensor)
        part = torch.empty_like(tensor[0])
        with self.traffic.waiting():
            reduce_scatter(part.view(-1), tensor.contiguous().view(-1), group=self.group)
        return part

    def send(self, tensors: Sequence[Tensor], to: int) -> None:
        """Send tensors to the process at an index of the axis; it must receive as many, of these shapes.

        They go while this process computes on, and must not be changed until `sent`. A few may be on their way; then
        the oldest is waited for. Two that send to each other before either receives wait for ever on nccl, which does
        one after the other.
        """
        for tensor in tensors:
            self.traffic.add(self.name, "send", tensor, to)
            whole = tensor.detach().contiguous()
            self._going.append((dist.isend(whole, self.ranks[to], group=self.group), whole))
        self._wait(_ON_THEIR_WAY)

    def sent(self) -> None:
        """Wait until all that was sent has gone."""
        self._wait(0)

    def _wait(self, most: int) -> None:
        with self.traffic.waiting():
            while len(self._going) > most:
                self._going.popleft()[0].wait()

    def tell(self, tensor: Tensor, source: int = 0) -> Tensor:
        """Return the tensor of the process at an index of the axis on all, in the tensor given."""
        if self.size > 1:
            self.traffic.add(self.name, "tell", tensor)
            with self.traffic.waiting():
                dist.broadcast(tensor, self.ranks[source], group=self.group)
        return tensor

    def meet(self) -> None:
        """Wait until all are here; not counted."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(()), group=self.group)

    def tell_data(self, data: Any, source: int = 0) -> Any:
        """Return the JSON data of the process at an index of the axis on all."""
        if self.size == 1:
            return data
        told = json.dumps(data).encode() if self.index == source else b""
        length = int(self.tell(torch.tensor(len(told)), source))
        words = torch.zeros(length, dtype=torch.uint8)
        if self.index == source:
            words.copy_(torch.frombuffer(bytearray(told), dtype=torch.uint8))
        return json.loads(self.tell(words, source).numpy().tobytes())

    def expect(self, likes: Sequence[Tensor], source: int) -> None:
        """Let tensors of these shapes and types come while this process computes; the next to `receive` has them."""
        for like in likes:
            tensor = torch.empty_like(like, memory_format=torch.contiguous_format)
            self._coming[source].append((dist.irecv(tensor, self.ranks[source], group=self.group), tensor))

    def receive(self, likes: Sequence[Tensor], source: int) -> list[Tensor]:
        """Return tensors of the shapes and types given, from the process at an index of the axis."""
        found: list[Tensor] = []
        self.expect(likes[len(self._coming[source]) :], source)
        for like in likes:
            work, tensor = self._coming[source][0]
            assert (tensor.shape, tensor.dtype) == (like.shape, like.dtype), "another message was expected"
            self._coming[source].popleft()
            self.traffic.note(self.name, "receive", tensor, source)
            with self.traffic.waiting():
                work.wait()
            found.append(tensor)
        return found


class Mesh:
    """The processes of a plan, laid out: tensor fastest, then sequence, data, pipeline: neighbours talk most.

    Args:
        plan: whose degrees multiply to the number of processes.

    Raises:
        ValueError: there are more or fewer processes than that.
    """

    def __init__(self, plan: Plan) -> None:
        world = processes()
        reasons = plan.why_not(world)
        if reasons:
            raise ValueError("; ".join(reasons))
        self.plan, self.traffic = plan, Traffic()
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        degrees = plan.degrees()
        layout = np.arange(world).reshape([degrees[axis] for axis in AXES])
        self.axes = {axis: self._axis(axis, layout, (place,)) for place, axis in enumerate(AXES)}
        # those who hold the same parameters and see other rows or other steps
        self.replicas = self._axis("replicas", layout, (AXES.index("data"), AXES.index("sequence")))
        self.world = self._axis("world", layout, tuple(range(len(AXES))))
        self.alone = Axis("alone", [self.rank], self.rank, None, self.traffic)

    def __getitem__(self, axis: str) -> Axis:
        return self.axes[axis]

    def _axis(self, name: str, layout: np.ndarray, along: tuple[int, ...]) -> Axis:
        """Return the axis through this process; every process makes every group, in the same order."""
        others = [place for place in range(layout.ndim) if place not in along]
        size = math.prod(layout.shape[place] for place in along)
        lines = layout.transpose(*others, *along).reshape(-1, size)
        mine: Axis | None = None
        for line in lines.tolist():
            group = dist.new_group(line, timeout=timedelta(seconds=self.plan.timeout_s)) if len(line) > 1 else None
            if self.rank in line:
                mine = Axis(name, line, self.rank, group, self.traffic)
        assert mine is not None
        return mine


class _Copied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.axis.sum(grads[0].contiguous().clone()), None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        return axis.sum(x.contiguous().clone())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        return axis.gather(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.axis.scatter_sum(grads[0].contiguous()), None


def copied(x: Tensor, axis: Axis) -> Tensor:
    """Return x, which is the same on all of the axis and goes into what each does a part of: gradients are summed."""
    return x if axis.size == 1 else _Copied.apply(x, axis)


def summed(x: Tensor, axis: Axis) -> Tensor:
    """Return the sum of all parts, the same on all of the axis: its gradient is every part's."""
    return x if axis.size == 1 else _Summed.apply(x, axis)


def gathered(x: Tensor, axis: Axis) -> Tensor:
    """Return the parts of all, (size, ...), of which each does something else: gradients are summed and shared out."""
    return _Gathered.apply(x, axis)


class _Handed(torch.autograd.Function):
    """Send tensors on; `anchor` comes back as it is, so that the way back passes here."""

    @staticmethod
    def forward(ctx: Any, axis: Axis, to: int, before: Tensor | None, anchor: Tensor, *parts: Tensor) -> Tensor:
        ctx.axis, ctx.to, ctx.before = axis, to, before
        ctx.save_for_backward(*parts)
        axis.send(parts, to)
        return anchor.view_as(anchor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        wanted = [part for part in ctx.saved_tensors if part.is_floating_point()]
        back = iter(ctx.axis.receive(wanted, ctx.to))
        found = [next(back) if part.is_floating_point() else None for part in ctx.saved_tensors]
        if ctx.before is not None:
            ctx.axis.expect([ctx.before], ctx.to)
        return None, None, None, grads[0], *found


class _Taken(torch.autograd.Function):
    """Receive tensors like `likes`; their gradients are sent back."""

    @staticmethod
    def forward(ctx: Any, axis: Axis, source: int, anchor: Tensor, *likes: Tensor) -> tuple[Tensor, ...]:
        ctx.axis, ctx.source = axis, source
        found = axis.receive(likes, source)
        ctx.mark_non_differentiable(*(part for part in found if not part.is_floating_point()))
        return anchor.view_as(anchor), *found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        sent = [grad for grad in grads[1:] if grad is not None and grad.is_floating_point()]
        ctx.axis.send(sent, ctx.source)
        return None, None, grads[0], *([None] * (len(grads) - 1))


def handed(anchor: Tensor, parts: Sequence[Tensor], axis: Axis, to: int, before: Tensor | None = None) -> Tensor:
    """Send parts to the process at an index and return the anchor, whose gradient waits for theirs.

    The anchor must take part in the loss: else the way back never comes here, and the other side waits in vain.
    `before` is what was handed over before this, if its gradient is what comes next on the way back: it can come
    while others are computed.
    """
    return _Handed.apply(axis, to, None if before is None else before.detach(), anchor, *parts)


def taken(anchor: Tensor, likes: Sequence[Tensor], axis: Axis, source: int) -> tuple[Tensor, list[Tensor]]:
    """Return the anchor and parts like those given, from the process at an index, to which their gradients go back."""
    anchor, *found = _Taken.apply(axis, source, anchor, *likes)
    return anchor, found


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds: of one that is not shared out, all."""
    held: Any = tensor
    return held.to_local() if is_shared_out(tensor) else tensor


def is_shared_out(tensor: Tensor) -> bool:
    """Return whether a tensor is a DTensor, whose class takes most of a second to import."""
    return hasattr(tensor, "to_local")

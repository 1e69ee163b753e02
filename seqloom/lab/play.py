"""Play: a process of a plan takes a training step of shapes alone, so that what it sends and holds is known exactly.

Nothing is computed and nobody answers: torch's fake tensors have a shape and no numbers, its fake group of processes
has no others. So a step of any size, under a plan for any number of devices, takes a second and no memory.
"""

import contextlib
from collections.abc import Generator, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from seqloom.lab.planner import Prediction, waits_each_step
from seqloom.lab.steps import RATE, Step
from seqloom.measure.memory import peak_live_bytes
from seqloom.model.model import ModelSpec
from seqloom.parallel._door import Count, Traffic
from seqloom.parallel.check import alone
from seqloom.parallel.cluster import Cluster
from seqloom.parallel.plan import Plan
from seqloom.parallel.world import processes
from seqloom.train.experiment import Optimizer
from seqloom.train.learner import learner

_LONGER = 32  # steps of a row, the longer of two lengths that are played step by step


class Played(NamedTuple):
    """What a process does in a training step, from the second on."""

    traffic: dict[str, dict[str, Count]]  # axis -> operation -> Count
    memory_bytes: int  # most bytes of tensors at one time: parameters, gradients, moments and what the way back needs

    @property
    def messages(self) -> int:
        """Return how often the process calls."""
        return sum(count.calls for found in self.traffic.values() for count in found.values())

    @property
    def sent_bytes(self) -> int:
        """Return how many bytes it sends, or adds to a sum."""
        return sum(count.bytes for found in self.traffic.values() for count in found.values())


def play(spec: ModelSpec, plan: Plan, rank: int, batch: int, length: int) -> Played:
    """Take a training step of one process of a plan, in shapes.

    Args:
        spec: a model of tokens, of any size.
        plan: for any number of processes.
        rank: which of them.
        batch: rows of a step, of all replicas together.
        length: tokens of a row.

    Raises:
        ValueError: the plan does not suit the model, with all reasons; or processes of a run have joined already.

    Complexity: about 0.1 ms for each operation of the step, whatever the sizes; no memory to speak of.
    """
    if processes() > 1:
        raise ValueError("a plan is played outside a run of several processes, which it would be taken for")
    with _alone(rank, plan.processes), _Shapes(allow_non_fake_inputs=True):
        learns: Any = learner(spec.build(0), lambda: spec.build(0), Optimizer(learning_rate=RATE), plan)
        step = Step(learns, spec, batch, length)
        step()  # moments are made, and the order is seen in which gradients come
        traffic = Traffic() if plan.processes == 1 else learns.layout.mesh.traffic
        traffic.clear()
        peak = peak_live_bytes(step)
        return Played(traffic.counts(), peak.total_bytes)


class Sent(NamedTuple):
    """What a step under a plan sends and holds, by the process that sends or holds most."""

    messages: int
    sent_bytes: int
    memory_bytes: float


def count(spec: ModelSpec, plan: Plan, batch: int, length: int) -> Sent:
    """Count what a step under a plan sends and holds: the places that differ along its axes are played.

    A nonlinear recurrence in columns sends at every step and would be played step by step. Two short lengths are, and
    messages go on to grow as from one to the other, which is exact; as many tokens in more and shorter rows tell the
    memory, which is near.

    Arguments and errors as those of `play`.
    """
    with torch.device("meta"):
        blocks = spec.build(0).get_submodule("backbone.blocks").children()
    steps = -(-length // plan.sequence)
    if plan.tensor == 1 or steps <= _LONGER or not any(waits_each_step(block) for block in blocks):
        return _count(spec, plan, batch, length)
    at, on = (_count(spec, plan, batch, n * plan.sequence) for n in (_LONGER // 2, _LONGER))
    times = steps / _LONGER * 2 - 1
    messages, sent = (a + (b - a) * times for a, b in zip(at[:2], on[:2], strict=True))
    as_many = _count(spec, plan, round(batch * steps / _LONGER), _LONGER * plan.sequence)
    return Sent(round(messages), round(sent), as_many.memory_bytes)


def counted(
    spec: ModelSpec, found: Sequence[Prediction], batch: int, length: int, cluster: Cluster, budget_s: float = 20.0
) -> list[Prediction]:
    """Return predictions with messages, bytes and memory counted: the fastest ones first, while the budget lasts.

    What turns out not to fit a device is told so, and goes to the end.
    """
    began = perf_counter()
    rows: list[Prediction] = []
    for each in found:
        if each.why_not or (rows and perf_counter() - began > budget_s):
            rows.append(each)
            continue
        sent = count(spec, Plan.parse(each.plan), batch, length)
        lacks = cluster.lacks(sent.memory_bytes)
        rows.append(each._replace(**sent._asdict(), why_not=[lacks] if lacks else []))
    return sorted(rows, key=lambda each: bool(each.why_not))


def _count(spec: ModelSpec, plan: Plan, batch: int, length: int) -> Sent:
    found = [play(spec, plan, rank, batch, length) for rank in _places(plan)]
    return Sent(*(max(getattr(each, name) for each in found) for name in Sent._fields))


def _places(plan: Plan) -> list[int]:
    """Return processes between which all others stand: they do what one of these does."""
    size = plan.tensor * plan.data  # neighbours along these do alike
    stages, stretches = ({0, min(1, n - 1), n - 1} for n in (plan.pipeline, plan.sequence))
    found = {stage * plan.sequence * size + stretch * plan.tensor for stage in stages for stretch in stretches}
    return sorted(found)


class _Shapes(FakeTensorMode):
    """Fake tensors; where a number is asked for, it is one."""

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return True if args[0].dtype == torch.bool else 1.0 if args[0].dtype.is_floating_point else 1
        return super().dispatch(func, types, args, kwargs)


@contextlib.contextmanager
def _alone(rank: int, processes: int) -> Generator[None, None, None]:
    """Be a process of a group whose others do not exist."""
    if processes == 1:
        yield
        return
    with alone(rank, processes):
        yield

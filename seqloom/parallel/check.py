"""Check a plan without its machines: every process of it runs a step here, one after the other, and nobody answers.

Messages go nowhere, so the numbers are meaningless; what is compared is who calls what, in which order, and with how
many bytes: where two processes of an axis disagree, a run would wait for ever.
"""

import contextlib
from collections import defaultdict
from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from seqloom.data.batches import Batch
from seqloom.model.model import ModelSpec
from seqloom.parallel._door import Axis, Call, Count, Mesh
from seqloom.parallel.layout import Layout, why_not
from seqloom.parallel.plan import Plan

ROWS, STEPS = 4, 8  # of a process


class Checked(NamedTuple):
    """What a check found."""

    processes: int
    disagreements: list[str]
    traffic: dict[str, dict[str, Count]]  # of the process that sends most bytes in a step: axis -> operation -> Count


class _Seen(NamedTuple):
    calls: list[Call]
    axes: dict[str, Axis]
    traffic: dict[str, dict[str, Count]]


def check(spec: ModelSpec, plan: Plan) -> Checked:
    """Run a training step of each of a plan's processes and compare their calls.

    Args:
        spec: a model of tokens; small, since all of it is computed for every process.
        plan: for any number of processes.

    Raises:
        ValueError: the plan does not suit the model, with all reasons; or processes of a run have joined already.

    Complexity: work O(processes), one after the other; memory of one.
    """
    with torch.device("meta"):
        reasons = why_not(plan, spec.build(0))
    if dist.is_initialized():
        reasons = [*reasons, "a check plays all processes itself: run it outside a run of several"]
    if reasons:
        raise ValueError("; ".join(reasons))
    seen = [_step(spec, plan, rank) for rank in range(plan.processes)]
    most = max(seen, key=lambda each: sum(count.bytes for found in each.traffic.values() for count in found.values()))
    return Checked(plan.processes, _disagreements(seen), most.traffic)


def _step(spec: ModelSpec, plan: Plan, rank: int) -> _Seen:
    with alone(rank, plan.processes):
        layout = Layout(plan, spec.build(0))
        traffic = layout.mesh.traffic
        traffic.log = []
        rows, steps = ROWS * plan.data, STEPS * plan.sequence
        words = torch.zeros((rows, steps + 1), dtype=torch.int64)
        mine = layout.share(np.arange(rows))
        source = None if spec.encoder is None else words[mine]
        batch = Batch(words[mine, :-1], None, words[mine, 1:], torch.from_numpy(mine), source)
        layout.gradients([batch], [len(mine) * steps])
        layout.norm()
        return _Seen(traffic.log, _axes(layout.mesh), traffic.counts())


def _axes(mesh: Mesh) -> dict[str, Axis]:
    return {**mesh.axes, "replicas": mesh.replicas, "world": mesh.world}


@contextlib.contextmanager
def alone(rank: int, processes: int) -> Generator[None, None, None]:
    """Be a process of a group whose others do not exist."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=processes)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _disagreements(seen: Sequence[_Seen]) -> list[str]:
    """Return where processes of an axis do not call the same, and where a message is not awaited as it is sent."""
    found: list[str] = []
    sent: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    awaited: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    for rank, each in enumerate(seen):
        for call in each.calls:
            if call.peer is not None:
                peer = each.axes[call.axis].ranks[call.peer]
                if call.operation == "send":
                    sent[call.axis, rank, peer].append(call.bytes)
                else:
                    awaited[call.axis, peer, rank].append(call.bytes)
        for axis in each.axes.values():
            first = axis.ranks[0]
            mine, theirs = (_together(who.calls, axis.name) for who in (each, seen[first]))
            if mine != theirs:
                where = next((n for n, pair in enumerate(zip(mine, theirs, strict=False)) if pair[0] != pair[1]), -1)
                found.append(
                    f"along {axis.name}, processes {first} and {rank} differ from call {where} on"
                    if where >= 0
                    else f"along {axis.name}, process {first} calls {len(theirs)} times, process {rank} {len(mine)}"
                )
    for key in sorted(sent.keys() | awaited.keys()):
        if sent[key] != awaited[key]:
            axis, source, to = key
            found.append(
                f"along {axis}, process {source} sends {len(sent[key])} messages to {to}, which awaits "
                f"{len(awaited[key])}, or of other sizes"
            )
    return found


def _together(calls: Sequence[Call], axis: str) -> list[tuple[str, int]]:
    return [(call.operation, call.bytes) for call in calls if call.axis == axis and call.peer is None]

"""Schedules: the orders in which the stages of a pipeline take parts of a batch, forward and back; torch runs them.

`torch.distributed.pipelining` has the orders and sends; here stands what a stage computes, and messages are counted.
Imported only under such a plan.

Source: Narayanan et al. 2021, arXiv 2104.04473 (1F1B, interleaved); Qi et al. 2023, arXiv 2401.10241 (zero bubble).
"""

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining import schedules as orders

from seqloom.core.types import IGNORED
from seqloom.parallel._door import Axis
from seqloom.parallel._later import Work, put_off, taken
from seqloom.parallel._objective import Objective
from seqloom.parallel.plan import Plan


class Scheduled:
    """Runs batches through this process's stages, forward and back.

    Args:
        objective: of a model that was cut along the pipeline under this plan.
        plan: its schedule is not gpipe.
    """

    def __init__(self, objective: Objective, plan: Plan) -> None:
        model: Any = objective.model
        self._objective, self._plan, self._runs = objective, plan, _runs(model.backbone.blocks)
        self._later: Work | None = [] if plan.schedule == "zero_bubble" else None
        if self._later is not None:
            put_off(model, self._later)

    def __call__(self, batch: Any, weight: float, bf16: bool = False) -> Tensor:
        """Add a batch's gradients, on every process; return its weighted loss, zero but on the last stage.

        Args:
            batch: this replica's rows, the same on all of the pipeline.
            weight: of these rows in the whole batch.
            bf16: whether products are in bfloat16.

        Complexity: all parts have as many rows as the largest; rows that fill up are computed and do not count.
        Messages: the vectors of a part over each boundary of stages, and their gradient back.
        """
        objective, axis = self._objective, self._objective.mesh["pipeline"]
        parts = _parts(batch, weight, self._plan.parts)
        with torch.no_grad():
            x = objective.enter(_rows(batch, [0])).x
        shape = (len(parts[0].batch.inputs), *x.shape[1:])
        vectors = torch.empty(shape, dtype=x.dtype, device="meta", requires_grad=True)
        size = axis.size * len(self._runs)
        stages: list[_Stage] = []
        for run, blocks in enumerate(self._runs):
            number = axis.index + run * axis.size
            part = _Computed(objective, blocks, parts, number == 0, number == size - 1, x.dtype, bf16)
            stages.append(_Stage(part, number, size, axis, vectors, x.device, self._later))
        losses: list[Tensor] = []
        numbers = torch.arange(len(parts))
        try:
            _order(self._plan.schedule, stages, len(parts)).step(
                number=numbers, target=numbers, losses=losses, return_outputs=False
            )
        except RuntimeError as error:
            raise error.__cause__ or error from None  # what went wrong itself, which torch wraps in a dump of arguments
        return torch.stack(losses).sum().detach() if losses else x.new_zeros(())


class _Part(NamedTuple):
    """Rows that go through the stages together."""

    batch: Any
    real: int  # how many of the rows count, the first ones
    weight: float  # of these in the whole batch


class _Computed(nn.Module):
    """What a stage makes of a part: vectors for the next stage, or the last stage's loss."""

    def __init__(
        self,
        objective: Objective,
        blocks: Sequence[nn.Module],
        parts: Sequence[_Part],
        first: bool,
        last: bool,
        dtype: torch.dtype,
        bf16: bool,
    ) -> None:
        super().__init__()
        self._objective, self._blocks, self._parts = objective, tuple(blocks), parts
        self._first, self._last, self._dtype, self._bf16 = first, last, dtype, bf16

    def forward(self, *received: Tensor, number: Tensor) -> Tensor:
        """Map a part.

        Args:
            received: vectors (B, T, D) of the stage before; nothing on the first.
            number: (1,) which part.
        """
        batch, real, weight = self._parts[int(number)]
        model: Any = self._objective.model
        device = batch.inputs.device
        with torch.autocast(device.type, torch.bfloat16) if self._bf16 else contextlib.nullcontext():
            # each stage looks places up itself; on the first the frontend learns too
            with contextlib.nullcontext() if self._first else torch.no_grad():
                entered = self._objective.enter(batch)
            reads = any(block.get_submodule("mixer").reads for block in self._blocks)
            memory = self._objective.memory(batch) if reads else None
            (y,) = received or (entered.x,)
            for block in self._blocks:
                y = block(y, None, entered.place, memory)[0]
            if not self._last:
                return y.to(self._dtype)
            if not real:
                return y.sum() * 0.0
            segment = None if entered.segment is None else entered.segment[:real]
            counting = entered._replace(segment=segment, target=entered.target[:real])
            return self._objective.loss(model.backbone.norm(y[:real]), counting, weight)


class _Stage(PipelineStage):
    """A stage whose messages are counted, and which knows its shapes, so that it need not agree on them with others."""

    def __init__(
        self,
        part: nn.Module,
        number: int,
        size: int,
        axis: Axis,
        vectors: Tensor,
        device: torch.device,
        later: Work | None,
    ) -> None:
        given = () if number == 0 else vectors
        answer = vectors.sum() if number == size - 1 else vectors
        # called after the way back through a part, whose work alone is there
        put = None if later is None else partial(taken, later)
        super().__init__(part, number, size, device, given, answer, group=axis.group, dw_builder=put)
        self._axis = axis

    def get_fwd_send_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        """Return what sends a part's vectors on."""
        return self._sent(super().get_fwd_send_ops(fwd_chunk_id))

    def get_bwd_send_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        """Return what sends a part's gradient back."""
        return self._sent(super().get_bwd_send_ops(bwd_chunk_id))

    def get_fwd_recv_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        """Return what receives a part's vectors."""
        return self._awaited(super().get_fwd_recv_ops(fwd_chunk_id))

    def get_bwd_recv_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        """Return what receives a part's gradient."""
        return self._awaited(super().get_bwd_recv_ops(bwd_chunk_id))

    def _sent(self, messages: list[dist.P2POp]) -> list[dist.P2POp]:
        for each in messages:
            each.tensor = each.tensor.contiguous()  # gloo takes no other
            self._axis.traffic.add(self._axis.name, "send", each.tensor, self._axis.ranks.index(each.peer))
        return messages

    def _awaited(self, messages: list[dist.P2POp]) -> list[dist.P2POp]:
        for each in messages:
            self._axis.traffic.note(self._axis.name, "receive", each.tensor, self._axis.ranks.index(each.peer))
        return messages

    def _warmup_forward_vote(self, has_backward: bool, received_acc: Tensor | None = None) -> Tensor:
        return torch.ones(1, dtype=torch.int32)  # shapes are known on all stages: no messages to find out

    def _warmup_backward_result(self, received_result: Tensor | None = None) -> Tensor:
        return torch.ones(1, dtype=torch.int32)


def _order(schedule: str, stages: list[_Stage], parts: int) -> Any:
    """Return torch's schedule of these stages."""
    if schedule == "1f1b":
        return orders.Schedule1F1B(stages[0], parts, _itself, scale_grads=False)
    several = orders.ScheduleInterleaved1F1B if schedule == "interleaved" else orders.ScheduleInterleavedZeroBubble
    return several([*stages], parts, _itself, scale_grads=False)


def _itself(loss: Tensor, target: Tensor) -> Tensor:
    return loss


def _runs(blocks: nn.ModuleDict) -> list[list[nn.Module]]:
    """Return blocks that follow each other, run by run: between them stand other processes' blocks."""
    runs: dict[int, list[nn.Module]] = {}
    for place, (name, block) in enumerate(blocks.items()):
        runs.setdefault(int(name) - place, []).append(block)
    return list(runs.values())


def _parts(batch: Any, weight: float, parts: int) -> list[_Part]:
    """Return a batch in parts, all of as many rows; of one with few rows some may not count at all."""
    rows = len(batch.inputs)
    edges = [round(number * rows / parts) for number in range(parts + 1)]
    shares = [list(range(a, b)) for a, b in zip(edges, edges[1:], strict=False)]
    most, targets = max(map(len, shares)), _targets(batch.target)
    return [
        _Part(
            _rows(batch, share + [0] * (most - len(share))),
            len(share),
            weight * (_targets(batch.target[share]) / max(targets, 1)),
        )
        for share in shares
    ]


def _targets(target: Tensor) -> int:
    return target.numel() if target.is_floating_point() else int((target != IGNORED).sum())


def _rows(batch: Any, rows: list[int]) -> Any:
    return type(batch)(*(None if each is None else each[rows] for each in batch))

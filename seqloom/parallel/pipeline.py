"""Pipeline parallel: each process holds some of the blocks, and parts of the work follow each other through them."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqloom.core.types import FRESH, State, Where
from seqloom.model.mixer import Memory
from seqloom.parallel._door import Axis, handed, taken
from seqloom.parallel._marked import also_summed
from seqloom.parallel.plan import Plan, Strategy

Cuts = Literal["rows", "time"]

RUNS = {"gpipe": 1, "1f1b": 1, "interleaved": 2, "zero_bubble": 2}  # of blocks that a process holds, by schedule
_STEPS = {"gpipe": 1, "1f1b": 1, "interleaved": 2, "zero_bubble": 6}  # of a part among which a wait is one


class PipelineParallel(Strategy):
    """Stages of blocks, one a process; what a stage answers is handed on to the next.

    Parts that follow each other are groups of rows (GPipe: Huang et al. 2019, arXiv 1811.06965), or stretches of time:
    a recurrent stage goes on from the state in which it left the stretch before, so that the wavefront is exact, with
    the batch whole (Appleyard et al. 2016, arXiv 1604.01946, inside one machine). The way back goes through the parts
    in reverse. Of P stages and M parts the share (P - 1) / (M + P - 1) of the time is idle. Other orders of the parts
    are in `schedules.py`; in some a process holds two runs of blocks, and others' stand between them.
    """

    def why_not(self, model: nn.Module, plan: Plan) -> list[str]:
        """Return why the blocks cannot be shared out, or cannot be run stretch by stretch."""
        blocks = list(model.get_submodule("backbone.blocks").children())
        reasons: list[str] = []
        runs = RUNS[plan.schedule]
        if plan.pipeline * runs > len(blocks):
            each = "" if runs == 1 else f" ({runs} a process under schedule={plan.schedule})"
            reasons.append(
                f"pipeline={plan.pipeline} leaves stages{each} without a block: the model has {len(blocks)}; take at "
                f"most pipeline={len(blocks) // runs}, or more layers"
            )
        if plan.cuts == "time" and not all(block.get_submodule("mixer").causal for block in blocks):
            reasons.append("cuts=time goes on from states, and the model sees the future; take cuts=rows")
        return reasons + _unordered(plan)

    def apply(self, model: nn.Module, axis: Axis) -> None:
        """Leave this process its blocks; the frontend learns on the first stage, the head on the last."""
        backbone: Any = model.get_submodule("backbone")
        blocks = list(backbone.blocks)
        runs = RUNS[self.plan.schedule]
        stages = [stage(len(blocks), axis.index + run * axis.size, runs * axis.size) for run in range(runs)]
        numbered = {str(number): blocks[number] for mine in stages for number in mine}
        backbone.blocks = nn.ModuleDict(numbered)  # under their own names
        first, last = axis.index == 0, axis.index == axis.size - 1
        whole: Any = model
        tied = getattr(whole.spec.head, "tied", False)
        # an encoder is run by every stage, each of which reads its part of the answer's use
        everywhere = [part for part in (whole.encoder, whole.source_frontend) if part is not None]
        shared = tied or (bool(everywhere) and whole.source_frontend is None)
        if shared:
            everywhere.append(whole.frontend)
        for part in everywhere:
            for parameter in part.parameters():
                also_summed(parameter, "pipeline")
        whole.frontend.requires_grad_(first or (bool(whole.encoder) and shared))
        if tied and last:
            whole.frontend.embedding.weight.requires_grad_()  # the last stage uses the tied vectors alone
        whole.head.requires_grad_(last)
        backbone.norm.requires_grad_(last)


def _unordered(plan: Plan) -> list[str]:
    """Return why a plan's schedule cannot order its parts."""
    reasons: list[str] = []
    if plan.schedule == "gpipe":
        return reasons
    if plan.cuts == "time":
        reasons.append(
            f"schedule={plan.schedule} goes back through the first parts before the last are begun, and with cuts=time "
            "the way back begins at the last, whose gradient each part before it awaits; take cuts=rows, or gpipe"
        )
    if plan.parts < plan.pipeline:
        reasons.append(
            f"schedule={plan.schedule} keeps {plan.pipeline} stages at work on different parts, and there are "
            f"{plan.parts}; take at least parts={plan.pipeline}"
        )
    elif RUNS[plan.schedule] > 1 and plan.parts % (plan.parts // plan.pipeline):
        fitting = plan.parts // plan.pipeline * plan.pipeline
        reasons.append(
            f"schedule={plan.schedule} takes parts in rounds of equal size; take parts={fitting} or "
            f"{fitting + plan.pipeline}, multiples of pipeline={plan.pipeline}"
        )
    return reasons


def idle_share(plan: Plan, parts: int) -> float:
    """Return the share of the time in which a stage waits for others (docs/parallel.md, schedules of a pipeline)."""
    waits = plan.pipeline - 1
    return waits / (_STEPS[plan.schedule] * parts + waits)


def kept_share(plan: Plan, parts: int) -> float:
    """Return the share of the parts that a stage keeps for the way back at one time, at most."""
    stages = plan.pipeline
    kept = {"gpipe": parts, "interleaved": (3 * stages - 1) / 2}.get(plan.schedule, stages)
    return min(kept / parts, 1.0)


def stage(blocks: int, index: int, size: int) -> range:
    """Return which blocks a stage holds: as many as others, the earlier stages one more where they do not divide."""
    share, more = divmod(blocks, size)
    begin = index * share + min(index, more)
    return range(begin, begin + share + (index < more))


def through(
    model: Any, x: Tensor, where: Where, memory: Memory | None, axis: Axis, parts: int, cuts: Cuts
) -> tuple[Tensor | None, Tensor]:
    """Send x (B, T, D) through all stages.

    Args:
        model: whose backbone has this stage's blocks.
        x: what the frontend gave; on all but the first stage its shape alone counts.
        where: the place of each step.
        memory: what an encoder gave, on all stages.
        axis: the pipeline.
        parts: how many follow each other.
        cuts: groups of rows, or stretches of time for causal blocks.

    Returns:
        (the last stage's answer (B, T, D), None on the others; a zero whose gradient must be asked for on these).
    """
    blocks, states = list(model.backbone.blocks.values()), [FRESH] * len(model.backbone.blocks)
    first, last = axis.index == 0, axis.index == axis.size - 1
    # what keeps the way back together on a stage that has no loss of its own
    anchor = x.new_zeros(()).requires_grad_()
    answers: list[Tensor] = []
    cut = _parts(x.shape[0] if cuts == "rows" else x.shape[1], parts)
    entering = [x[:, part] if cuts == "time" else x[part] for part in cut]
    handed_on: Tensor | None = None
    for turn, (part, y) in enumerate(zip(cut, entering, strict=True)):
        place = where.select(part) if cuts == "time" else _rows(where, part)
        read = () if memory is None else (memory if cuts == "time" else Memory(memory.x[part], memory.id[part]),)
        if not first:
            anchor, (y,) = taken(anchor, [y.detach()], axis, axis.index - 1)
            axis.expect([each.detach() for each in entering[turn + 1 : turn + 2]], axis.index - 1)
        for number, block in enumerate(blocks):
            before: State = states[number] if cuts == "time" else None
            y, states[number] = block(y, before, place, *(read or (None,)))
        if last:
            answers.append(y)
        else:
            anchor = handed(anchor, [y], axis, axis.index + 1, handed_on)
            handed_on = y
    whole = torch.cat(answers, dim=1 if cuts == "time" else 0) if last else None
    return whole, anchor


def _parts(length: int, parts: int) -> list[slice]:
    edges = [round(number * length / parts) for number in range(parts + 1)]
    return [slice(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]


def _rows(where: Where, rows: slice) -> Where:
    return Where(where.id[rows], where.real[rows], where.start[rows], where.position[rows], where.layout)

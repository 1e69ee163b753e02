"""What every process of a plan computes: its part of a batch's loss."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqloom.core.types import IGNORED, Where, fresh_place, locate
from seqloom.model.mixer import Memory
from seqloom.parallel._door import Axis, Mesh, gathered
from seqloom.parallel._norms import all_steps, own_steps
from seqloom.parallel._vocabulary import LogitsInParts, TokensInParts
from seqloom.parallel.pipeline import Cuts, through


class Entered(NamedTuple):
    """Rows on their way into the backbone."""

    x: Tensor  # (B, T / P, D) this process's stretch of time; with sequence_norms its stretch of that
    place: Where  # of its steps
    segment: Tensor | None  # (B, T)
    target: Tensor  # as the head wants it, of all steps
    mine: slice  # which of them are this process's


class Objective(nn.Module):
    """This process's part of a loss: parts add up, over data and sequence, to the mean over a batch's targets.

    Args:
        model: a Model, cut by the strategies.
        mesh: where this process stands.
        parts: groups of rows, or stretches of time, that follow each other through a pipeline.
        cuts: which of the two.
    """

    def __init__(self, model: nn.Module, mesh: Mesh, parts: int = 4, cuts: Cuts = "rows") -> None:
        super().__init__()
        self.model, self.mesh, self.parts = model, mesh, parts
        self.cuts: Cuts = cuts

    def forward(self, batch: Any, weight: float) -> tuple[Tensor, Tensor]:
        """Return (what to go back from, the part of the loss, detached).

        The two differ where a process of a pipeline has no loss of its own but takes part in the way back.

        Args:
            batch: this process's rows, with every step of them.
            weight: of these rows in the whole batch; 0 for rows that only keep the process company.
        """
        model: Any = self.model
        pipeline = self.mesh["pipeline"]
        memory = self.memory(batch)
        entered = self.enter(batch)
        if pipeline.size == 1:
            extra = (memory,) if model.backbone.reads else ()
            loss = self.loss(model.backbone(entered.x, None, entered.place, *extra)[0], entered, weight)
            return loss, loss.detach()
        y, anchor = through(model, entered.x, entered.place, memory, pipeline, self.parts, self.cuts)
        if y is None:
            return anchor * 0.0, anchor.detach()
        loss = self.loss(model.backbone.norm(y), entered, weight)
        return loss + anchor * 0.0, loss.detach()

    @property
    def between(self) -> Axis | None:
        """Return the axis over which what stands between layers is cut along time; None: it is not."""
        return self.mesh["tensor"] if self.mesh.plan.sequence_norms else None

    def memory(self, batch: Any) -> Memory | None:
        """Return what an encoder makes of a batch's source; None without one."""
        model: Any = self.model
        return None if batch.source is None else model.encode(batch.source, batch.source_segment)

    def enter(self, batch: Any) -> Entered:
        """Return a batch's rows as they enter the backbone, this process's stretch of them."""
        model: Any = self.model
        axis = self.mesh["sequence"]
        x, segment = model.frontend(batch.inputs, batch.segment)
        between = self.between
        parts = axis.size * (between.size if between else 1)
        x, segment, target = _padded(x, segment, batch.target, parts, model.head.scope)
        where, _ = locate(segment, fresh_place(x.shape[0], x.device), x.shape[0], x.shape[1])
        x = model.frontend.place(x, where)
        steps = x.shape[1] // axis.size
        mine = slice(axis.index * steps, (axis.index + 1) * steps)
        x, place = (x, where) if axis.size == 1 else (x[:, mine], where.select(mine))
        return Entered(own_steps(x, between) if between else x, place, segment, target, mine)

    def _table(self) -> Tensor | None:
        """Return the token vectors for a tied head: those that are here."""
        model: Any = self.model
        embedding = getattr(model.frontend, "embedding", None)
        return embedding.weight if isinstance(embedding, TokensInParts) else model.table

    def loss(self, y: Tensor, entered: Entered, weight: float) -> Tensor:
        """Return the weighted loss of vectors (B, T / P, D), so that the stretches of time add up.

        Where there is no target the gradients are awaited all the same, and are zeros.
        """
        model: Any = self.model
        axis = self.mesh["sequence"]
        _, _, segment, target, mine = entered
        if self.between and not isinstance(model.head, LogitsInParts):
            y = all_steps(y, self.between)
        if axis.size == 1 or model.head.scope != "step":
            whole = y if axis.size == 1 else gathered(y, axis).transpose(0, 1).flatten(1, 2)
            output = model.head(whole, segment, self._table())
            return model.head.loss(output, target) * (weight / axis.size) if weight else output.sum() * 0.0
        wanted = target[:, mine]
        share = weight * int((wanted != IGNORED).sum()) / max(int((target != IGNORED).sum()), 1)
        output = model.head(y, None if segment is None else segment[:, mine], self._table())
        return model.head.loss(output, wanted) * share if share else output.sum() * 0.0


def _padded(
    x: Tensor, segment: Tensor | None, target: Tensor, parts: int, scope: str
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return x, segment and target with padding behind, so that time divides into parts."""
    lacking = -x.shape[1] % parts
    if not lacking:
        return x, segment, target
    if segment is None:
        segment = torch.ones(x.shape[:2], dtype=torch.int64, device=x.device)
    x = nn.functional.pad(x, (0, 0, 0, lacking))
    segment = nn.functional.pad(segment, (0, lacking))
    return x, segment, nn.functional.pad(target, (0, lacking), value=IGNORED) if scope == "step" else target

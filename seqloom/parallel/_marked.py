"""Parameters of which each process of an axis sees a part of the use: their gradients are summed along it."""

import torch
from torch import Tensor

from seqloom.parallel._door import Mesh, local
from seqloom.parallel.plan import AXES


def also_summed(parameter: Tensor, axis: str) -> None:
    """Mark a parameter of which each process of an axis sees a part of its use: its gradient is summed along it."""
    parameter.summed_along = (*getattr(parameter, "summed_along", ()), axis)  # type: ignore[attr-defined]


def sum_marked(module: torch.nn.Module, mesh: Mesh) -> None:
    """Sum the gradients of marked parameters along their axes, after the way back; none given counts as zeros.

    Those of an axis and a type go in one message. Axes follow each other in one order on all processes: a parameter
    that is marked along two has its whole sum only so.
    """
    marked: dict[tuple[str, torch.dtype], list[torch.nn.Parameter]] = {}
    for parameter in module.parameters():
        for axis in getattr(parameter, "summed_along", ()):
            if mesh[axis].size > 1:
                marked.setdefault((axis, parameter.dtype), []).append(parameter)
    for axis, kind in sorted(marked, key=lambda key: (AXES.index(key[0]), str(key[1]))):
        parameters = marked[axis, kind]
        totals = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        joined = torch.cat([local(total).flatten() for total in totals])
        mesh[axis].sum(joined)
        parts = joined.split([local(total).numel() for total in totals])
        for parameter, total, part in zip(parameters, totals, parts, strict=True):
            local(total).copy_(part.view_as(local(total)))
            parameter.grad = total if parameter.requires_grad else None

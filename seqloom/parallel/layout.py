"""Layout: a model laid out over the processes of a plan, and all of a training step that they do together."""

import contextlib
import importlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqloom.core import registry
from seqloom.model.mixer import Cut
from seqloom.parallel._door import Axis, Mesh, is_shared_out, local
from seqloom.parallel._marked import sum_marked
from seqloom.parallel._norms import cut_norms
from seqloom.parallel._objective import Objective
from seqloom.parallel._vocabulary import in_vocabulary
from seqloom.parallel.data import replicated, sum_gradients
from seqloom.parallel.plan import Plan, Strategy
from seqloom.parallel.sequence import InTime
from seqloom.parallel.tensor import cut, splits, whole_of

_ORDER = ("tensor", "sequence", "pipeline", "data")  # of application: what is cut first is what later ones wrap

_WRAPPED = re.compile(r"\.inner(?=\.)")  # what strategies put around a mixer does not show in names

Weights = dict[str, Tensor]


class Layout:
    """One process's part of a model under a plan.

    Args:
        plan: whose degrees multiply to the number of processes.
        model: whole, the same on every process; it is changed in place.
        apart: whether replicas learn each by itself: rows given are of one, and nothing is summed over them.

    Raises:
        ValueError: the plan does not suit the processes or the model; all reasons are told.
    """

    def __init__(self, plan: Plan, model: nn.Module, apart: bool = False) -> None:
        self.plan, self.model = plan, model
        self.mesh = Mesh(plan)
        # over which rows are shared out, and over which gradients are summed
        self._rows, self._sums = (
            (self.mesh.alone, self.mesh["sequence"]) if apart else (self.mesh["data"], self.mesh.replicas)
        )
        self.shares = self._rows.size
        reasons = why_not(plan, model)
        if reasons:
            raise ValueError("; ".join(reasons))
        self.names = list(dict(model.named_parameters()))  # of the whole model
        self._device = next(model.parameters()).device
        self._splits = {**splits(model), **in_vocabulary(model, plan.tensor)} if plan.tensor > 1 else {}
        for axis in _ORDER:
            if self.mesh[axis].size > 1:
                strategy(axis, plan).apply(model, self.mesh[axis])
        if plan.sequence_norms:
            cut_norms(model, self.mesh["tensor"])  # last: around what lets states cross cuts of time
        self.parameters = {_WRAPPED.sub("", name): part for name, part in model.named_parameters()}
        self._held = self._owners()
        objective = Objective(model, self.mesh, plan.parts, plan.cuts)
        self.sharded = plan.sharded and self._sums.size > 1
        self._scheduled = None if plan.schedule == "gpipe" else _schedules().Scheduled(objective, plan)
        if self.sharded:
            self._objective = _sharded().shard(objective, model.get_submodule("backbone.blocks"), self._sums)
            self.parameters = {_WRAPPED.sub("", name): part for name, part in model.named_parameters()}
        elif self._scheduled is None:
            partly = plan.pipeline > 1
            self._objective = replicated(objective, self._sums, plan.bucket_mb, plan.bf16_gradients, partly)

    def share(self, rows: np.ndarray) -> np.ndarray:
        """Return this process's share of a batch's rows; others of its replica have the same."""
        return np.array_split(rows, self._rows.size)[self._rows.index]

    def gradients(self, batches: Sequence[Any], counts: Sequence[int], bf16: bool = False) -> Tensor:
        """Add the gradient of the mean loss over the batches of all processes; return that loss.

        Args:
            batches: this process's rows, in parts that follow each other; as many on every process.
            counts: targets in each; 0 for rows that only keep the others company.
            bf16: whether products are in bfloat16.
        """
        device = next(self.model.parameters()).device
        total = float(self._rows.sum(torch.tensor(float(sum(counts)), dtype=torch.float64)))
        losses: list[Tensor] = []
        for number, (batch, count) in enumerate(zip(batches, counts, strict=True)):
            weight = count / total if total else math.nan
            if self._scheduled is not None:
                losses.append(self._scheduled(batch.to(device), weight, bf16))
                continue
            waits = number + 1 < len(batches) and self._sums.size > 1
            if self.sharded:
                _sharded().synchronised(self._objective, not waits)
            later = self._objective.no_sync() if waits and not self.sharded else contextlib.nullcontext()  # type: ignore[operator]
            low = torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()
            with later:
                with low:
                    back, loss = self._objective(batch.to(device), weight)
                back.backward()
            losses.append(loss)
        if self._scheduled is not None:
            sum_gradients(self.model, self._sums, self.plan.bucket_mb, self.plan.bf16_gradients)
        for axis in self.mesh.axes.values():
            axis.sent()
        sum_marked(self.model, self.mesh)
        loss = torch.stack(losses).sum()
        return self.mesh["pipeline"].sum(self._sums.sum(loss))

    def norm(self) -> Tensor:
        """Return the norm of the whole gradient: parts are added, copies count once."""
        squares = torch.zeros((), dtype=torch.float64, device=self._device)
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                squares += local(parameter.grad).double().square().sum() / self._copies(name)
        if self.sharded:
            self._sums.sum(squares)
        return self.mesh["tensor"].sum(self.mesh["pipeline"].sum(squares)).sqrt()

    def notices(self) -> list[str]:
        """Return what the parts of the model have to say of their calls so far, in their order; of this replica."""
        told = (part.notice() for part in self.model.modules() if isinstance(part, InTime))
        mine = [sentence for sentence in told if sentence]
        stages = self.mesh["pipeline"]
        return [sentence for index in range(stages.size) for sentence in stages.tell_data(mine, index)]

    def whole(self, part: Callable[[nn.Parameter], Tensor | None] = lambda parameter: parameter.detach()) -> Weights:
        """Return what each parameter has, of the whole model, on every process; in the whole model's order.

        Args:
            part: what is asked of this process's part of a parameter, of its shape or a number; None: nothing.
        """
        found: Weights = {}
        for name in self.names:
            parameter = self.parameters.get(name)
            mine = parameter is not None and self._held[name][0] == self.mesh["pipeline"].index
            value = part(parameter) if mine and parameter is not None else None
            value = value.full_tensor() if value is not None and is_shared_out(value) else value  # type: ignore[operator]
            value = _of_holder(value, self.mesh["pipeline"], self._device)
            how, tensor = self._splits.get(name), self.mesh["tensor"]
            if how == "once":
                value = _of_holder(value if tensor.index == 0 else None, tensor, self._device)
            if value is not None:
                found[name] = whole_of(value, how, tensor) if isinstance(how, Cut) and value.ndim else value.clone()
        return found

    def load(self, weights: Weights) -> None:
        """Take this process's part of whole weights."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                local(parameter).copy_(local(self.part(name, weights[name])))

    def part(self, name: str, whole: Tensor) -> Tensor:
        """Return this process's part of what belongs to a parameter of the whole model; a number belongs to all."""
        how, tensor = self._splits.get(name), self.mesh["tensor"]
        mine = whole if how is None or whole.ndim == 0 else cut(whole, how, tensor.index, tensor.size)
        shared = is_shared_out(self.parameters[name]) and whole.ndim > 0
        return _sharded().shared_like(mine, self.parameters[name]) if shared else mine

    def _owners(self) -> dict[str, tuple[int, int]]:
        """Return of each parameter (the first stage that learns it, how many stages do)."""
        axis = self.mesh["pipeline"]
        learnt = torch.zeros((axis.size, len(self.names)), dtype=torch.int64)
        for number, name in enumerate(self.names):
            parameter = self.parameters.get(name)
            kept = parameter is not None and (parameter.requires_grad or self._splits.get(name) == "once")
            learnt[axis.index, number] = kept
        axis.sum(learnt)
        return {
            name: (int(learnt[:, n].argmax()), max(int(learnt[:, n].sum()), 1)) for n, name in enumerate(self.names)
        }

    def _copies(self, name: str) -> int:
        """Return how many processes of a replica hold the same gradient of a parameter."""
        how = self._splits.get(name)
        alike = 1 if isinstance(how, Cut) or how == "once" else self.mesh["tensor"].size
        return alike * self._held[name][1]


def _of_holder(value: Tensor | None, axis: Axis, device: torch.device) -> Tensor | None:
    """Return the value that one process of an axis has, on all; None where none has."""
    if axis.size == 1:
        return value
    about = torch.zeros(10, dtype=torch.int64)  # whether there is one, in float64, its dimensions and their sizes
    if value is not None:
        about[: value.ndim + 3] = torch.tensor([1, value.dtype == torch.float64, value.ndim, *value.shape])
    there, wide, dimensions, *sizes = axis.sum(about).tolist()
    if not there:
        return None
    empty = torch.zeros(sizes[:dimensions], dtype=torch.float64 if wide else torch.float32, device=device)
    return axis.sum(empty if value is None else value.detach().clone())


def _sharded() -> Any:
    return importlib.import_module("seqloom.parallel._sharded")


def _schedules() -> Any:
    return importlib.import_module("seqloom.parallel.schedules")


def strategy(axis: str, plan: Plan) -> Strategy:
    """Return the strategy of an axis of a plan."""
    entry = registry.look_up("parallel", axis)
    return getattr(importlib.import_module(entry.module), entry.cls)(plan)


def why_not(plan: Plan, model: nn.Module) -> list[str]:
    """Return why a whole model cannot be laid out by a plan; empty: it can."""
    axes = [axis for axis in _ORDER if plan.degrees()[axis] > 1]
    return [reason for axis in axes for reason in strategy(axis, plan).why_not(model, plan)]

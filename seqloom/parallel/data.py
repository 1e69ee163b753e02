"""Data parallel: each process has its share of a batch's rows, and gradients are summed while others are computed."""

import contextlib
from collections.abc import Generator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parallel import DistributedDataParallel

from seqloom.parallel._door import Axis
from seqloom.parallel.plan import Plan, Strategy

BUCKET_MB = 4.0  # gradients that go together: large enough to be worth a message, small enough to begin early


class DataParallel(Strategy):
    """Replicas of the model, each with its share of the rows.

    With `sharded` a replica keeps its share of the parameters alone (`_sharded.py`).

    Source: Li et al. 2020, PyTorch Distributed, arXiv 2006.15704 (buckets that go while the way back goes on).
    """

    def why_not(self, model: nn.Module, plan: Plan) -> list[str]:
        """Return what sharing out does not go together with: any model has replicas."""
        reasons: list[str] = []
        if plan.sharded and plan.pipeline > 1:
            reasons.append("sharded gathers a block anew for each part of a pipeline; take pipeline=1, or no sharding")
        if plan.sharded and plan.bf16_gradients:
            reasons.append("bf16_gradients are of whole replicas; take one of it and sharded")
        return reasons

    def apply(self, model: nn.Module, axis: Axis) -> None:
        """Leave the model as it is: `replicated` sums the gradients of what computes the loss."""


def replicated(
    objective: nn.Module, axis: Axis, bucket_mb: float = BUCKET_MB, bf16: bool = False, partly: bool = False
) -> nn.Module:
    """Return what computes a loss so that its gradients are summed over an axis, bucket by bucket.

    Args:
        objective: a module whose answer is this process's part of a loss.
        axis: along which the parts add up to the loss.
        bucket_mb: size of a bucket in MB.
        bf16: send gradients in bfloat16: half the bytes, and three digits.
        partly: whether some parameters may have no part in the loss here, as on a stage of a pipeline.
    """
    if axis.size == 1:
        return objective
    if isinstance(next(objective.parameters()), FakeTensor):
        return _Counted(objective, axis, bucket_mb, bf16, partly)
    wrapped = DistributedDataParallel(
        objective,
        process_group=axis.group,
        bucket_cap_mb=bucket_mb,
        gradient_as_bucket_view=True,
        forward_sync_buffers=False,
        find_unused_parameters=partly,
    )
    wrapped.register_comm_hook(None, _hook(axis, bf16))
    return wrapped


def sum_gradients(module: nn.Module, axis: Axis, bucket_mb: float = BUCKET_MB, bf16: bool = False) -> None:
    """Sum the gradients of a module over an axis, bucket by bucket, after the way back; none given counts as zeros.

    Args:
        module: the same on all of the axis.
        axis: along which the parts of a loss add up.
        bucket_mb: size of a bucket in MB.
        bf16: send gradients in bfloat16.
    """
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if axis.size == 1:
        return
    gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in learning]
    sum_tensors(gradients, axis, bucket_mb, bf16)
    for each, gradient in zip(learning, gradients, strict=True):
        each.grad = gradient


def sum_tensors(tensors: list[Tensor], axis: Axis, bucket_mb: float = BUCKET_MB, bf16: bool = False) -> None:
    """Sum tensors over an axis, in place, bucket by bucket; arguments as those of `sum_gradients`."""
    if axis.size == 1 or not tensors:
        return
    by_size = dist._compute_bucket_assignment_by_size  # pyright: ignore[reportPrivateImportUsage]
    for bucket in by_size(tensors, [int(bucket_mb * 2**20)])[0]:
        those = [tensors[number] for number in bucket]
        sent = torch.cat([each.flatten() for each in those])
        sent = axis.sum(sent.bfloat16() if bf16 else sent)
        for each, part in zip(those, sent.split([each.numel() for each in those]), strict=True):
            each.copy_(part.view_as(each))


def _hook(axis: Axis, bf16: bool) -> Any:
    def add(state: object, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        sent = bucket.buffer()
        if not bf16:
            return axis.sum_later(sent)
        return axis.sum_later(sent.bfloat16()).then(lambda done: sent.copy_(done.value()))

    return add


class _Counted(nn.Module):
    """Counts what DistributedDataParallel would send where tensors have a shape alone, which its C++ does not take.

    Its buckets are filled in the order in which gradients came in the first step, in which all go together; where some
    may not come, in the order of the model from the first step on.
    """

    def __init__(self, objective: nn.Module, axis: Axis, bucket_mb: float, bf16: bool, partly: bool) -> None:
        super().__init__()
        self.objective, self._axis = objective, axis
        self._dtype = torch.bfloat16 if bf16 else torch.float32
        self._limit, self._rebuilt = int(bucket_mb * 2**20), not partly
        self._sends, self._first = True, not partly
        self._order = [p for p in objective.parameters() if p.requires_grad]
        self._came: list[nn.Parameter] = []
        self._gradients = {
            p: torch.zeros_like(p) for p in self._order
        }  # the buckets' memory, which is never given back
        for parameter in self._order:
            parameter.register_post_accumulate_grad_hook(self._arrived)

    def forward(self, *arguments: Any) -> Any:
        """Answer as the objective does, and count the sums of the way back."""
        if self._sends:
            for sent in self._buckets():
                self._axis.traffic.add(self._axis.name, "sum", torch.empty(sent, dtype=self._dtype))
            self._first = False
        return self.objective(*arguments)

    @contextlib.contextmanager
    def no_sync(self) -> Generator[None, None, None]:
        """Send nothing in ways back inside."""
        self._sends = False
        try:
            yield
        finally:
            self._sends = True

    def _arrived(self, parameter: nn.Parameter) -> None:
        self._came.append(parameter)
        if self._sends:
            parameter.grad = self._gradients[parameter].view_as(parameter)

    def _buckets(self) -> list[int]:
        """Return the numbers of each bucket."""
        if self._first:
            return [sum(p.numel() for p in self._order)]
        order: list[Tensor] = [*(self._came[: len(self._order)] if self._rebuilt else self._order)]
        by_size = dist._compute_bucket_assignment_by_size  # pyright: ignore[reportPrivateImportUsage]
        return [sum(order[n].numel() for n in bucket) for bucket in by_size(order, [self._limit])[0]]

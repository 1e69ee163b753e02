"""Data parallel: each process has its share of a batch's rows, and gradients are summed while others are computed."""

from typing import Any

import torch
from torch import nn
from torch._C._distributed_c10d import GradBucket
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


def _hook(axis: Axis, bf16: bool) -> Any:
    def add(state: object, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
        sent = bucket.buffer()
        if not bf16:
            return axis.sum_later(sent)
        return axis.sum_later(sent.bfloat16()).then(lambda done: sent.copy_(done.value()))

    return add

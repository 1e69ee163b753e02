"""Sharded data parallel: parameters, gradients and moments are shared out, and gathered block by block when needed.

torch's FSDP2 (`fully_shard`; Zhao et al. 2023, arXiv 2304.11277), its messages through our door. What is shared out
is a DTensor: here stand the few things that must know. Imported only under such a plan: FSDP takes most of a second.
"""

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from seqloom.parallel._door import Axis, all_gather, reduce_scatter

_NUMBERS = itertools.count()


def shard(objective: nn.Module, blocks: nn.Module, axis: Axis) -> nn.Module:
    """Share out an objective's parameters over an axis: each block's are gathered while it computes, the rest once.

    Gradients are summed, as the objective's parts add up.
    """
    device = next(objective.parameters()).device.type
    with unset_fake_temporarily():  # a mesh looks at its numbers, also where tensors have none
        # Numbered: torch keeps what it found out about a mesh for all that equal it, and one of another group (a plan
        # that was played before, as another process) would equal it but for its place.
        mesh = DeviceMesh.from_group(axis.group, device, mesh_dim_names=(f"{axis.name} {next(_NUMBERS)}",))
    marks = {name: getattr(p, "summed_along", ()) for name, p in objective.named_parameters()}
    for block in blocks.children():
        fully_shard(block, mesh=mesh)
    fully_shard(objective, mesh=mesh)
    for name, parameter in objective.named_parameters():
        if marks[name]:
            parameter.summed_along = marks[name]  # type: ignore[attr-defined]
    for module in objective.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)
            module.set_gradient_divide_factor(1.0)
            module.set_custom_all_gather(_Gather(axis))  # type: ignore[arg-type]
            module.set_custom_reduce_scatter(_ScatterSum(axis))  # type: ignore[arg-type]
    return objective


def synchronised(objective: nn.Module, last: bool) -> None:
    """Say whether the next way back is the last of a step, which sums gradients."""
    assert isinstance(objective, FSDPModule)
    objective.set_requires_gradient_sync(last)


def shared_like(whole: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor shared out as a parameter is."""
    assert isinstance(parameter, DTensor)
    return distribute_tensor(whole, parameter.device_mesh, [Shard(0)], src_data_rank=None)


class _Gather:
    """FSDP's gathering, through the door."""

    def __init__(self, axis: Axis) -> None:
        self.axis = axis

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, async_op: bool = False) -> Any:
        self.axis.traffic.add(self.axis.name, "gather", input_tensor)
        with self.axis.traffic.waiting():  # for all of it, unless it goes on beside what is computed
            return all_gather(output_tensor, input_tensor, group=group, async_op=async_op)


class _ScatterSum(_Gather):
    """FSDP's summing and sharing out, through the door."""

    def __call__(  # type: ignore[override]
        self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False
    ) -> Any:
        self.axis.traffic.add(self.axis.name, "scatter_sum", output_tensor)
        with self.axis.traffic.waiting():
            return reduce_scatter(output_tensor, input_tensor, op=op, group=group, async_op=async_op)

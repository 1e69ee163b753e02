"""What an update is made of: gradients of a step's rows, and AdamW; nothing moves unless all is finite."""

import contextlib
import hashlib
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch, Examples
from seqloom.parallel._door import local
from seqloom.tasks.task import respond
from seqloom.train.experiment import Optimizer

_TINY = 1e-6
_SHOWN = 32  # rows named in a message

Weights = dict[str, Tensor]


class NonFiniteError(FloatingPointError):
    """The loss or its gradient is not finite; the parameters are those before the step."""

    def __init__(self, step: int, epoch: int, index: int, rows: np.ndarray, loss: float, norm: float) -> None:
        self.step, self.epoch, self.index = step, epoch, index
        self.rows = [int(row) for row in rows]
        what = f"loss is {loss}" if not math.isfinite(loss) else f"gradient's norm is {norm} (loss {loss:.4g})"
        shown = ", ".join(map(str, self.rows[:_SHOWN])) + (", …" if len(self.rows) > _SHOWN else "")
        super().__init__(
            f"the {what} at step {step} (epoch {epoch}, batch {index}, training rows {shown}). The step was not taken "
            "and the last checkpoint is intact; look at these rows, lower --learning-rate, or lower --clip"
        )


def adamw(model: nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices alone: shrinking a bias or a gain towards zero has no sense."""
    named = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in named if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in named if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.learning_rate, betas=settings.betas, fused=True
    )


def moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> Weights:
    """Return the optimizer's tensors as "slot/parameter"; none before the first step."""
    return {
        f"{slot}/{name}": tensor
        for name, parameter in model.named_parameters()
        for slot, tensor in optimizer.state.get(parameter, {}).items()
    }


def set_moments(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, tensors: Weights) -> None:
    """Give an optimizer, for parameters by name, the tensors that `moments` returned."""
    optimizer.state.clear()
    for key, tensor in tensors.items():
        slot, _, name = key.partition("/")
        optimizer.state[parameters[name]][slot] = tensor.to(parameters[name].device, copy=True)


def norm_of(optimizer: torch.optim.Optimizer) -> Tensor:
    """Return the norm of the gradient of all that an optimizer moves."""
    return nn.utils.get_total_norm([p.grad for p in _moved(optimizer) if p.grad is not None])


def apply(
    optimizer: torch.optim.Optimizer, loss: Tensor, norm: Tensor, clip: float | None, rate: float
) -> tuple[float, float]:
    """Take a step along the gradient, clipped to a norm, unless loss or norm are not finite; return both."""
    values = torch.stack((loss, norm.to(loss.dtype))).tolist()  # one wait for both
    if math.isfinite(values[0]) and math.isfinite(values[1]):
        if clip is not None and values[1] > clip:
            _shorten(optimizer, clip, norm)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    return values[0], values[1]


def _shorten(optimizer: torch.optim.Optimizer, clip: float, norm: Tensor) -> None:
    """Scale the gradient to a norm; of what is shared out over processes, the part that is here."""
    slopes = [local(p.grad) for p in _moved(optimizer) if p.grad is not None]
    torch._foreach_mul_(slopes, min(clip / (float(norm) + _TINY), 1.0))  # pyright: ignore[reportPrivateImportUsage]


def _moved(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def n_targets(batch: Batch) -> int:
    """Return how many targets a batch has."""
    return batch.target.numel() if batch.target.is_floating_point() else int((batch.target != IGNORED).sum())


def gradients(model: Any, examples: Examples, rows: np.ndarray, settings: Optimizer) -> Tensor:
    """Add the gradient of the mean loss over rows, in `accumulate` parts; return that loss, detached.

    Each part weighs by its number of targets, so that the parts make the loss of the whole.
    """
    parts = [rows] if settings.accumulate == 1 else np.array_split(rows, settings.accumulate)
    batches = [examples.batch(part) for part in parts if len(part)]
    losses: list[Tensor] = []
    device = next(model.parameters()).device
    for batch, weight in _weighted(batches):
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16) if settings.bf16 else contextlib.nullcontext():
            loss = model.head.loss(respond(model, batch), batch.target)
        loss = loss if weight is None else loss * weight
        loss.backward()
        losses.append(loss.detach())
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def _weighted(batches: list[Batch]) -> list[tuple[Batch, float | None]]:
    if len(batches) == 1:
        return [(batches[0], None)]
    counts = [n_targets(batch) for batch in batches]
    if not any(counts):
        return [(batches[0], None)]  # a mean over nothing: not a number, as without parts
    return [(batch, count / sum(counts)) for batch, count in zip(batches, counts, strict=True) if count]


def draw_from(seed: int, step: int, device: torch.device, part: int = 0) -> None:
    """Seed the generators that dropout draws from by (seed, step): no step's draws depend on what ran before it.

    So a resumed run draws as an uninterrupted one, and trainings that take turns in one process do not disturb each
    other, with no generator state to keep.
    """
    named = f"{seed}/{step}" if part == 0 else f"{seed}/{step}/{part}"  # a part: of a plan's rows, steps or blocks
    number = int.from_bytes(hashlib.sha256(named.encode()).digest()[:8], "little")
    torch.default_generator.manual_seed(number)  # torch.manual_seed asks every kind of device: 0.1 ms a step
    if device.type == "cuda":
        torch.cuda.manual_seed(number)

"""Gradient flow: how much of the last step's loss reaches the steps before it.

For a model with hidden vectors h_t at the input of a block, and L_T the loss at the last step alone, this measures
||dL_T / dh_{T-lag}|| relative to lag 0. Along a recurrence it is a product of `lag` Jacobians, so it shrinks or grows
as a power of the lag: gradients vanish or explode. Sources: Bengio, Simard and Frasconi 1994 (IEEE Transactions on
Neural Networks 5:2); Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch
from seqloom.measure.ledger import Label, Measurement
from seqloom.measure.statistics import Interval, median_interval
from seqloom.model.model import Model
from seqloom.tasks.task import as_one

FACTOR = 10.0  # over the lags measured, less than this is neither vanishing nor exploding


@dataclass(frozen=True)
class Flow:
    """Gradient norms of one block's input, relative to lag 0."""

    layer: int
    relative: np.ndarray  # (rows, lags): lag 0 is 1; NaN where a row does not go back so far
    slope: Interval | None  # of log norm, per step, from lag 1 on: median over rows; None with fewer than two such lags

    @property
    def longest(self) -> int:
        """Return the longest lag, which at least half of the rows reach."""
        return self.relative.shape[1] - 1

    @property
    def norms(self) -> np.ndarray:
        """Return the median over rows, (lags,)."""
        return np.nanmedian(self.relative, axis=0)

    @property
    def reach(self) -> int:
        """Return the longest lag from which the loss depends on the step at all."""
        return int(np.flatnonzero(self.norms > 0)[-1])

    @property
    def verdict(self) -> str:
        """Return "vanishing", "exploding" or "neither".

        With s the slope of the logarithm of the norm per step and K the longest lag: vanishing if by the whole 95 %
        interval of s the norm falls more than FACTOR-fold from lag 1 to lag K, s (K - 1) < -log FACTOR, or if
        it is 0 before lag K; exploding if by the whole interval it rises as much; else neither. The verdict is of
        these lags: a gradient that is neither over 50 steps may vanish over 500. Bengio et al. 1994 and Pascanu et al.
        2013 bound the norm by a power of the lag, hence a straight line of its logarithm; the factor is ours.
        """
        if self.reach < self.longest:
            return "vanishing"
        if self.slope is None:
            return "neither"
        span = max(self.longest - 1, 1)
        if self.slope.high * span < -math.log(FACTOR):
            return "vanishing"
        return "exploding" if self.slope.low * span > math.log(FACTOR) else "neither"


def measure(
    model: Model,
    inputs: Tensor,
    target: Tensor,
    segment: Tensor | None = None,
    layers: Sequence[int] = (0,),
    source: Tensor | None = None,
    source_segment: Tensor | None = None,
) -> list[Flow]:
    """Measure the gradient flow of one loss per row, at the input of some blocks (0: what the frontend hands over).

    The loss is the head's own at one vector: that of the last real step, or of the last with a target where the head
    answers every step. A head that pools over time sees this vector alone, else every step would have a short cut to
    the loss. A model that sees the future is measured alike: backwards from its last step. The model is copied, in
    float64 so that small gradients are no zeros, without dropout; it is left as it was.

    Args:
        model: any.
        inputs, target, segment: a batch of the model's task.
        layers: blocks.
        source, source_segment: what an encoder reads; the flow is measured in what reads the inputs.

    Returns:
        A Flow for each layer.

    Raises:
        ValueError: a layer that does not exist, a loss that is of all steps together (the head's scope is "whole"), or
            no row whose loss has a gradient.

    Complexity: one forward and one backward pass over the batch.
    """
    twin: Model = copy.deepcopy(model).to(device="cpu", dtype=torch.float64).eval()
    blocks = twin.backbone.blocks
    for layer in layers:
        if not 0 <= layer < len(blocks):
            raise ValueError(f"layer {layer}: the model has blocks 0 to {len(blocks) - 1}")
    if twin.head.scope == "whole":
        raise ValueError(f"the loss of a {twin.spec.head.kind} head is of all steps together: it has no last step")
    inputs, target = inputs.cpu(), target.cpu()
    memory = None
    if source is not None:
        source = source.cpu().double() if source.is_floating_point() else source.cpu()
        with torch.no_grad():
            memory = twin.encode(source, None if source_segment is None else source_segment.cpu())
    per_step = twin.head.scope == "step"
    if inputs.is_floating_point():
        inputs = inputs.double()
    seen: dict[int, Tensor] = {}
    hooks = [blocks[layer].register_forward_pre_hook(_keeper(seen, layer)) for layer in set(layers)]
    with torch.enable_grad():
        y, _, segment = twin.hidden(inputs, None, None if segment is None else segment.cpu(), memory)
        at, document = _last(y, target if per_step else None, segment)
        rows = torch.arange(len(y))
        output = twin.head(y[rows, at.clamp(min=0)][:, None], None, twin.table)
        if per_step:
            target = target[rows, at.clamp(min=0)][:, None]
        loss = twin.head.loss(output, target) * (at >= 0).sum()  # the sum over rows: each has its own
        gradients = torch.autograd.grad(loss, [seen[layer] for layer in layers])
    for hook in hooks:
        hook.remove()
    norms = [gradient.norm(dim=2).masked_fill(~document, math.nan).numpy() for gradient in gradients]
    return [_flow(layer, norm, at.numpy()) for layer, norm in zip(layers, norms, strict=True)]


def gradient_flow(
    model: Model,
    batch: Batch,
    labels: Mapping[str, Label],
    *,
    layers: Sequence[int] = (0,),
    machine: str = "",
) -> list[Measurement]:
    """Return the gradient flow of a model on a batch as rows of the ledger.

    Args:
        model, batch: as in `measure`; eight rows are enough. A source is read in front where no encoder reads it.
        labels: go on every row: model, family, when ("initial" or "trained"), task.
        layers: blocks; rows of those above 0 have a label `layer`.
        machine: its digest.

    Returns:
        `gradient_norm`, label lag: norm relative to lag 0, median over rows with its interval; and `gradient_decay`:
        the slope of its logarithm per step with its interval, labels verdict, longest (lag) and reach (the longest lag
        with any gradient). No `gradient_decay` where there are too few lags for a slope.
    """
    found: list[Measurement] = []
    batch = batch if model.encoder is not None else as_one(batch)
    source = (batch.source, batch.source_segment)
    for flow in measure(model, batch.inputs, batch.target, batch.segment, layers, *source):
        about = {**labels, **({"layer": flow.layer} if flow.layer else {})}
        for lag in thinned(flow.longest):
            samples = flow.relative[:, lag]
            samples = samples[~np.isnan(samples)]
            value, low, high = median_interval(samples)
            found.append(
                Measurement(
                    what="gradient_norm", value=value, unit="1", low=low, high=high, n=len(samples),
                    labels={**about, "lag": lag}, spec=model.spec.digest(), machine=machine,
                )
            )  # fmt: skip
        if flow.slope is not None:
            verdict: dict[str, Label] = {"verdict": flow.verdict, "longest": flow.longest, "reach": flow.reach}
            found.append(
                Measurement(
                    what="gradient_decay", value=flow.slope.value, unit="1/step", low=flow.slope.low,
                    high=flow.slope.high, n=len(flow.relative), labels={**about, **verdict},
                    spec=model.spec.digest(), machine=machine,
                )
            )  # fmt: skip
    return found


def thinned(longest: int) -> list[int]:
    """Return lags from 0 to the longest: all small ones, then about three to a doubling."""
    lags = {0, longest} | {round(2 ** (k / 3)) for k in range(3 * max(longest, 1).bit_length() + 1)}
    return sorted(lag for lag in lags if lag <= longest)


def _keeper(seen: dict[int, Tensor], layer: int):
    def keep(_: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = args[0] if args[0].requires_grad else args[0].detach().requires_grad_()
        seen[layer] = x
        return (x, *args[1:])

    return keep


def _last(y: Tensor, target: Tensor | None, segment: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the step (B,) whose loss is taken, -1 for a row without one, and the steps (B, T) of its document."""
    real = torch.ones(y.shape[:2], dtype=torch.bool) if segment is None else segment != 0
    steps = torch.arange(y.shape[1])
    scored = real if target is None else real & (target != IGNORED)
    at = torch.where(scored, steps, -1).amax(dim=1)
    before = real & (steps <= at[:, None])
    if segment is None:
        return at, before
    return at, before & (segment == segment.gather(1, at.clamp(min=0)[:, None]))


def _flow(layer: int, norms: np.ndarray, at: np.ndarray) -> Flow:
    """Turn norms (B, T) by step into norms relative to lag 0 by lag."""
    kept = [row for row in range(len(norms)) if at[row] >= 0 and norms[row, at[row]] > 0]
    if not kept:
        raise ValueError("no row's loss has a gradient at its own step: nothing to measure against")
    by_lag = np.full((len(kept), norms.shape[1]), math.nan)
    for i, row in enumerate(kept):
        back = norms[row, at[row] :: -1]
        back = back[~np.isnan(back)]  # padding inside is no lag
        by_lag[i, : len(back)] = back / back[0]
    reached = np.sum(~np.isnan(by_lag), axis=0) * 2 >= len(kept)
    by_lag = by_lag[:, : int(np.flatnonzero(reached)[-1]) + 1]
    slopes = [slope for row in by_lag if (slope := _slope(row)) is not None]
    return Flow(layer, by_lag, median_interval(slopes) if slopes else None)


def _slope(row: np.ndarray) -> float | None:
    """Return the least-squares slope of log norm over lag, from lag 1 on; lags with no gradient are left out."""
    lags = np.flatnonzero(np.nan_to_num(row) > 0)
    lags = lags[lags > 0]
    if len(lags) < 2:
        return None
    x = lags - lags.mean()
    return float(x @ np.log(row[lags]) / (x @ x))

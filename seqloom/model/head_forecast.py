"""The head that forecasts: the next H steps of one or several series, as their mean or as quantiles.

A target holds, for each series, its next H values normalised as the window is, NaN where missing, and two columns more:
the scale that the window was divided by, and the error of the seasonal naive forecast on the training data. By them
losses and scores are in the units of the standardised series, though every window is normalised by itself.
"""

from typing import Literal, Self

import pydantic
import torch
from torch import Tensor, nn

from seqloom.core.spec import Spec
from seqloom.model.pooling import Scope, Scored, pooled
from seqloom.ops.linear import Linear

EXTRA = 2  # columns of a target behind its H values: the window's scale, and the seasonal naive error


class Forecast(Spec):
    """The next H steps of K series, from the last vector, or from all of them side by side."""

    kind: Literal["forecast"] = "forecast"
    horizon: int = pydantic.Field(default=24, gt=0)
    series: int = pydantic.Field(default=1, gt=0)
    quantiles: tuple[float, ...] = ()  # levels, rising, with 0.5 among them; (): one value, as the loss makes it
    loss: Literal["mse", "mae"] = "mse"  # without quantiles: of the mean, or of the median
    pool: Literal["last", "flatten"] = "last"
    steps: int | None = pydantic.Field(default=None, gt=0)  # vectors of a window, to flatten
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        levels = self.quantiles
        if levels and (list(levels) != sorted(set(levels)) or not 0 < levels[0] <= levels[-1] < 1 or 0.5 not in levels):
            raise ValueError(f"quantiles {levels}: give rising levels between 0 and 1, 0.5 among them, as 0.1,0.5,0.9")
        if levels and self.loss != "mse":
            raise ValueError(f"loss {self.loss} has no effect with quantiles, which have their own; leave one out")
        if (self.pool == "flatten") != (self.steps is not None):
            raise ValueError(f"steps {self.steps} with pool={self.pool}: flatten needs their number, last has none")
        return self

    def build(self, width: int) -> "ForecastHead":
        """Return the module."""
        return ForecastHead(self, width)


class ForecastHead(nn.Module):
    """Pool or flatten, then a linear map to (B, K, H, Q), Q = 1 without quantiles.

    Flattened vectors: Nie et al. 2023 (PatchTST), arXiv 2211.14730.
    """

    def __init__(self, spec: Forecast, width: int) -> None:
        super().__init__()
        self.spec = spec
        # vectors side by side have no step of their own: their loss is of all of them
        self.scope: Scope = "row" if spec.pool == "last" else "whole"
        self.dropout = nn.Dropout(spec.dropout)
        self.project = Linear(width * (spec.steps or 1), spec.series * spec.horizon * max(len(spec.quantiles), 1))
        levels = torch.tensor(spec.quantiles or (0.5,), dtype=torch.float32)
        self.register_buffer("levels", levels, persistent=False)
        self.point = spec.quantiles.index(0.5) if spec.quantiles else 0  # the column that is the forecast

    def forward(self, x: Tensor, segment: Tensor | None, table: Tensor | None = None) -> Tensor:
        """Map (B, T, D) to (B, K, H, Q).

        Raises:
            ValueError: another number of vectors than is flattened.
        """
        spec = self.spec
        if spec.steps is not None and x.shape[1] != spec.steps:
            raise ValueError(
                f"{x.shape[1]} vectors of a window, where the head flattens {spec.steps}; give such windows"
            )
        vector = pooled(x, segment, "last") if spec.steps is None else x.flatten(1)
        return self.project(self.dropout(vector)).unflatten(1, (spec.series, spec.horizon, -1))

    def rearranged(self, output: Tensor) -> Tensor:
        """Return outputs (..., Q) with quantiles that cross put in order, which never makes their pinball loss larger.

        Source: Chernozhukov, Fernandez-Val and Galichon 2010 (Econometrica 78:1093).
        """
        return output.sort(dim=-1).values

    def matrices(self, table: Tensor | None) -> list[Tensor]:
        """Return the matrix that the pooled vector is multiplied with, or each of those that are flattened."""
        return [self.project.weight[:, : self.project.weight.shape[1] // (self.spec.steps or 1)]]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss over all places of a target (B, K, H + 2): squared, absolute or pinball error.

        A missing value counts as hit, so that each known one weighs the same in every batch and in every part of one.
        Pinball loss: Koenker and Bassett 1978 (Econometrica 46:33).
        """
        error, _, _ = self._errors(output.float(), target.float())
        if self.spec.quantiles:
            return self._pinball(error).mean()
        error = error[..., 0]
        return error.square().mean() if self.spec.loss == "mse" else error.abs().mean()

    def scores(self, output: Tensor, target: Tensor) -> Scored:
        """Return MSE, MAE and MASE by row, of the median where there are quantiles, and then the CRPS.

        MASE: absolute error over the mean absolute error of the seasonal naive forecast on the training data (Hyndman
        and Koehler 2006); series that this forecasts without error are left out. CRPS: twice the mean pinball loss over
        the quantiles, which approaches it as they get denser (Gneiting and Raftery 2007).
        """
        error, known, naive = self._errors(self.rearranged(output.double()), target.double())
        point = error[..., self.point]
        count = known.sum(dim=(1, 2)).double()
        able = known & (naive > 0)
        scaled = torch.where(able, point.abs() / naive.where(naive > 0, 1.0), 0.0)
        scores = {
            "mse": (point.square().sum(dim=(1, 2)), count),
            "mae": (point.abs().sum(dim=(1, 2)), count),
            "mase": (scaled.sum(dim=(1, 2)), able.sum(dim=(1, 2)).double()),
        }
        if self.spec.quantiles:
            scores["crps"] = (2 * self._pinball(error).mean(dim=-1).sum(dim=(1, 2)), count)
        return scores

    def _errors(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return target - output (B, K, H, Q), 0 where missing; which are known (B, K, H); naive errors (B, K, 1)."""
        values, scale, naive = target.split([self.spec.horizon, 1, 1], dim=2)
        known = ~values.isnan()
        error = (values.nan_to_num(nan=0.0)[..., None] - output) * scale[..., None]
        return torch.where(known[..., None], error, 0.0), known, naive

    def _pinball(self, error: Tensor) -> Tensor:
        levels: Tensor = self.levels.to(error.dtype)  # type: ignore[assignment, operator]
        return torch.maximum(levels * error, (levels - 1) * error)

"""The forecast head's loss and scores are those of the standardised series, by hand and by torchmetrics."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics

from seqloom.model.frontend import Patches
from seqloom.model.head import Forecast
from seqloom.model.head_forecast import EXTRA, ForecastHead
from seqloom.model.model import Model
from seqloom.zoo.gru import GRUStack
from seqloom.zoo.transformer import Transformer

LEVELS = (0.1, 0.5, 0.9)


def made(seed: int = 0, rows: int = 5, series: int = 2, horizon: int = 4, **settings: Any):
    """Return a head, an output, a target with missing values, and both in standardised units."""
    torch.manual_seed(seed)
    head = Forecast(horizon=horizon, series=series, **settings).build(8)
    output = head(torch.randn(rows, 3, 8), None)
    values = torch.randn(rows, series, horizon)
    values[0, 1, 2:] = torch.nan
    values[2] = torch.nan
    scale, naive = torch.rand(2, rows, series, 1) + 0.5
    target = torch.cat([values, scale, naive], dim=2)
    return head, output, target, output.detach() * scale[..., None], values * scale


def value(head: ForecastHead, output: torch.Tensor, target: torch.Tensor, metric: str) -> float:
    top, bottom = head.scores(output.detach(), target)[metric]
    return float(top.sum() / bottom.sum())


def test_errors_are_in_standardised_units_and_missing_targets_are_left_out() -> None:
    head, output, target, guess, truth = made()
    known = ~truth.isnan()
    mse, mae = torchmetrics.MeanSquaredError(), torchmetrics.MeanAbsoluteError()
    assert value(head, output, target, "mse") == pytest.approx(float(mse(guess[..., 0][known], truth[known])), rel=1e-6)
    assert value(head, output, target, "mae") == pytest.approx(float(mae(guess[..., 0][known], truth[known])), rel=1e-6)
    assert [float(count) for count in head.scores(output, target)["mse"][1]] == [6, 8, 0, 8, 8]


def test_mase_is_of_the_naive_error_and_leaves_series_without_one_out() -> None:
    head, output, target, guess, truth = made()
    target[:, 0, -1] = 0.0
    error = (truth - guess[..., 0])[:, 1] / target[:, 1, -1:]
    assert value(head, output, target, "mase") == pytest.approx(float(error.abs().nanmean()), rel=1e-6)


def test_crps_is_twice_the_pinball_loss_by_hand() -> None:
    head, output, target, guess, truth = made(quantiles=LEVELS)
    total, count = 0.0, 0
    guess = guess.sort(dim=-1).values  # quantiles that cross are put in order
    for place in np.argwhere(~truth.isnan().numpy()):
        y = float(truth[tuple(place)])
        for level, q in zip(LEVELS, guess[tuple(place)].tolist(), strict=True):
            total += 2 * (level * (y - q) if y >= q else (1 - level) * (q - y)) / len(LEVELS)
        count += 1
    assert value(head, output, target, "crps") == pytest.approx(total / count, rel=1e-6)
    median = (truth - guess[..., 1]).abs().nanmean()
    assert value(head, output, target, "mae") == pytest.approx(float(median), rel=1e-6)


def test_the_crps_of_many_quantiles_approaches_that_of_the_normal_distribution() -> None:
    levels = tuple((np.arange(199) + 1) / 200)
    normal = torch.distributions.Normal(0.0, 1.0)
    head = Forecast(horizon=1, quantiles=levels).build(4)
    output = normal.icdf(torch.tensor(levels)).reshape(1, 1, 1, -1)
    target = torch.tensor([[[0.7, 1.0, 1.0]]])
    y, density = 0.7, math.exp(-(0.7**2) / 2) / math.sqrt(2 * math.pi)
    exact = y * (2 * float(normal.cdf(torch.tensor(y))) - 1) + 2 * density - 1 / math.sqrt(math.pi)
    assert value(head, output, target, "crps") == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("settings", [{}, {"loss": "mae"}, {"quantiles": LEVELS}])
def test_the_loss_of_parts_is_that_of_the_whole_and_missing_targets_move_nothing(settings: dict[str, Any]) -> None:
    head, output, target, _, _ = made(**settings)
    first, second = (head.loss(output[rows], target[rows]) for rows in (slice(0, 2), slice(2, 5)))
    torch.testing.assert_close((2 * first + 3 * second) / 5, head.loss(output, target))
    output.retain_grad()
    head.loss(output, target).backward()
    assert output.grad is not None and torch.isfinite(output.grad).all()
    missing = target[..., :-EXTRA].isnan()
    assert (output.grad[missing] == 0).all() and (output.grad[~missing] != 0).all()


def test_pinball_loss_is_least_at_the_quantiles() -> None:
    head = Forecast(horizon=1, quantiles=LEVELS).build(4)
    values = torch.linspace(0, 1, 1001)[:, None, None]
    target = torch.cat([values, torch.ones_like(values), torch.ones_like(values)], dim=2)
    best = min(
        (head.loss(torch.tensor([low, 0.5, high]).expand(1001, 1, 1, 3), target).item(), low, high)
        for low in (0.05, 0.1, 0.15)
        for high in (0.85, 0.9, 0.95)
    )
    assert best[1:] == (0.1, 0.9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantiles": (0.1, 0.9)}, "0.5 among them"),
        ({"quantiles": (0.9, 0.5)}, "rising levels"),
        ({"quantiles": (0.0, 0.5)}, "between 0 and 1"),
        ({"quantiles": LEVELS, "loss": "mae"}, "no effect"),
        ({"pool": "flatten"}, "flatten needs their number"),
        ({"steps": 3}, "last has none"),
    ],
)
def test_settings_that_make_no_head_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Forecast(**settings)


@pytest.mark.parametrize("pool", ["last", "flatten"])
def test_it_stands_on_any_backbone_and_tells_its_cost(pool: str) -> None:
    head = Forecast(horizon=6, series=3, pool=pool, steps=5 if pool == "flatten" else None)
    for architecture in (GRUStack(width=16, layers=1), Transformer(width=16, layers=1)):
        model: Model = architecture.model(Patches(channels=3, size=4), head, causal=False).build(seed=0)
        assert model(torch.randn(2, 20, 3))[0].shape == (2, 3, 6, 1)
        bare = model.backbone.cost(2, 5) + model.frontend.cost(2, 5)
        assert model.cost(2, 5).flops - bare.flops == 2 * 2 * model.head.project.weight.numel()
    if pool == "flatten":
        with pytest.raises(ValueError, match="6 vectors of a window, where the head flattens 5"):
            model(torch.randn(2, 24, 3))

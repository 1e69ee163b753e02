"""What forecasts are held against, and how they are scored: floors that need no model, and scores by blocks of time."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from seqloom.data.batches import Examples
from seqloom.data.windows import SeriesWindows, Window
from seqloom.measure import baselines
from seqloom.measure.scores import Scores
from seqloom.tasks.task import evaluate, sample_rows

_PIECE, _FITTED = 2048, 60_000  # windows at a time, and at most, that the linear floor is fitted on
_BLOCKS = 8  # of the test part at least, where it is long enough: what an interval is drawn from


def floors(parts: list[SeriesWindows], season: int) -> dict[str, float]:
    """Return the mean squared error on test, in standardised units, of forecasts that need no model."""
    plain = Window(parts[0].window.length, parts[0].window.horizon, True, parts[0].window.normalise)
    train, validation, test = (part.all_as(plain) for part in parts)
    fit = baselines.ridge(
        _pieces(train.select(sample_rows(len(train), _FITTED))),
        _pieces(validation.select(sample_rows(len(validation), _FITTED))),
    )
    filled = {steps: baselines.season_filled(test.values, steps) for steps in {1, season}}
    sums = {name: np.zeros(2) for name in ("naive", "seasonal naive", "linear")}
    for start in range(0, len(test), _PIECE):
        part = test.select(np.arange(start, min(start + _PIECE, len(test))))
        inputs, target, scale = next(_pieces(part))
        truth = part.truth()
        for name, steps in (("naive", 1), ("seasonal naive", season)):
            guess = baselines.seasonal(filled[steps], steps, part.series, part.starts, plain.horizon)
            sums[name] += baselines.squared(guess, truth, np.ones(len(truth)))
        if fit is not None:
            sums["linear"] += baselines.squared(fit(inputs), target, scale)
    kept = {name: found for name, found in sums.items() if found[1] and (name != "seasonal naive" or season > 1)}
    return {name: float(found[0] / found[1]) for name, found in kept.items()}


def _pieces(part: SeriesWindows) -> Iterator[baselines.Piece]:
    horizon = part.window.horizon
    for start in range(0, len(part), _PIECE):
        batch = part.batch(np.arange(start, min(start + _PIECE, len(part))))
        target = batch.target.numpy()[:, 0]
        yield batch.inputs.numpy()[:, :, 0], target[:, :horizon], target[:, horizon]


def block(test: SeriesWindows, horizon: int) -> int:
    """Return how many steps in a row are drawn together: a horizon, fewer where the test part is short."""
    return max(1, min(horizon, len(np.unique(test.starts)) // _BLOCKS))


def by_block(model: Any, examples: Examples, *, limit: int | None = None, steps: int) -> Scores:
    """Score a model by blocks of windows, all series of them together.

    Windows that begin a step apart forecast almost the same values, so that drawing them one by one would make the
    intervals of their scores far too narrow (block bootstrap: Künsch 1989, Annals of Statistics 17:3).
    """
    part = examples.select(sample_rows(len(examples), limit))
    assert isinstance(part, SeriesWindows)
    scores = evaluate(model, part)
    _, at = np.unique(part.starts // steps, return_inverse=True)
    sums = {
        name: np.stack([np.bincount(at, weights=column) for column in table.T], axis=1)
        for name, table in scores.parts.items()
    }
    return Scores(sums, scores.formulas)

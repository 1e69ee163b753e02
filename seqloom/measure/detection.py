"""Detection: how well a score tells what belongs from what does not, as a formula of sums over examples.

The area under the ROC curve is the chance that what belongs scores higher than what does not, and needs all pairs. Of
counts by bins of the score it is a formula, so that it merges and is bootstrapped as all metrics are; two in one bin
count as equal, half a win.
"""

import numpy as np

BINS = 64
_LOWEST, _WIDTH = -4.0, 0.25  # of log odds: from a chance of 0.02 up to one of 1 - 6e-6


def counted(log_odds: np.ndarray, belongs: np.ndarray) -> np.ndarray:
    """Return (n, 2 BINS): each example's bin, in the first half if it belongs, else in the second.

    Args:
        log_odds: (n,) log(p / (1 - p)) of the chance p that the example belongs.
        belongs: (n,) whether it does.
    """
    bins = np.clip(np.floor((log_odds - _LOWEST) / _WIDTH), 0, BINS - 1).astype(np.int64)
    found = np.zeros((len(log_odds), 2 * BINS))
    found[np.arange(len(log_odds)), bins + BINS * ~belongs] = 1.0
    return found


def auroc(sums: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of sums (..., 2 BINS); NaN where there is nothing of one kind."""
    inside, outside = np.split(sums, 2, axis=-1)
    above = inside.sum(axis=-1, keepdims=True) - np.cumsum(inside, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (outside * (above + inside / 2)).sum(axis=-1) / (inside.sum(axis=-1) * outside.sum(axis=-1))

"""Splits: which rows are for training, validation and test."""

from collections.abc import Sequence

import numpy as np

from seqloom.data.batches import shuffled, stream


def stratified(labels: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Return the rows of each part, ascending, every class shared out alike and at least one row of it to each part.

    Args:
        labels: (n,) class numbers.
        shares: of each part; they sum to 1.
        seed: the same one gives the same split.

    Raises:
        ValueError: a class has fewer rows than there are parts.
    """
    words, last = stream(seed), len(shares) - 1
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < len(shares):
            raise ValueError(f"class {label} has {len(rows)} rows, too few to share out to {len(shares)} parts")
        rows = rows[shuffled(words, len(rows))]
        cuts = np.round(np.cumsum(shares)[:-1] * len(rows)).astype(int)
        for i in range(last):
            cuts[i] = max(cuts[i], i + 1, cuts[i - 1] + 1 if i else 1)
        cuts = np.minimum(cuts, len(rows) - last + np.arange(last))
        for part, piece in zip(parts, np.split(rows, cuts), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]

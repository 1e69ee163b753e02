"""Rankings: metrics of the rank at which the item asked for stands, and two baselines: the popular, and what followed.

Source of the metrics: Jarvelin and Kekalainen 2002 (NDCG; here one item is relevant, so the ideal gain is 1); full
rankings, not sampled ones: Krichene and Rendle 2020, On Sampled Metrics for Item Recommendation.
"""

from collections.abc import Sequence

import numpy as np

CUTS = (1, 5, 10)


def ranked(rank: np.ndarray) -> dict[str, np.ndarray]:
    """Return hr@k, ndcg@k and mrr of ranks (n,), from 1, by example: each (n, 2), a numerator and 1.

    hr@k = [rank <= k], ndcg@k = [rank <= k] / log2(1 + rank), mrr = 1 / rank.
    """
    gain = 1 / np.log2(1.0 + rank)
    found = {f"hr@{k}": (rank <= k).astype(np.float64) for k in CUTS}
    found |= {f"ndcg@{k}": np.where(rank <= k, gain, 0.0) for k in CUTS[1:]}
    found["mrr"] = 1.0 / rank
    return {name: np.stack([value, np.ones(len(rank))], axis=1) for name, value in found.items()}


class Popular:
    """Rank items by how often they stand in training; of equals the one with the smaller number goes first."""

    name = "the most popular items in training"

    def __init__(self, sequences: Sequence[np.ndarray], items: int) -> None:
        counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *sequences]), minlength=items)
        self.place = np.empty(items, dtype=np.int64)  # from 0
        self.place[np.argsort(-counts, kind="stable")] = np.arange(items)

    def rank(self, history: np.ndarray, target: int, left_out: np.ndarray) -> int:
        """Return the rank of a target, from 1, among all items but those left out (distinct). Work O(left out)."""
        return 1 + int(self.place[target]) - int(np.sum(self.place[left_out] < self.place[target]))


class Following:
    """Rank items by how often they came next after the last one in training; equals as `Popular` does.

    A Markov chain of first order: Rendle et al. 2010, Factorizing Personalized Markov Chains, section 3.
    """

    name = "what most often followed the last item in training"

    def __init__(self, sequences: Sequence[np.ndarray], items: int) -> None:
        self._popular = Popular(sequences, items)
        pairs = [np.stack([s[:-1], s[1:]], axis=1) for s in sequences if len(s) > 1]
        found = np.concatenate([np.zeros((0, 2), np.int64), *pairs])
        key, self._times = np.unique(found[:, 0] * items + found[:, 1], return_counts=True)
        self._next = key % items
        self._starts = np.searchsorted(key // items, np.arange(items + 1))

    def rank(self, history: np.ndarray, target: int, left_out: np.ndarray) -> int:
        """Return the rank of a target, from 1, among all items but those left out. Work O(followers + left out)."""
        row = slice(*self._starts[[history[-1], history[-1] + 1]])
        known = ~np.isin(self._next[row], left_out)
        followers, times = self._next[row][known], self._times[row][known]
        place = self._popular.place
        at = np.flatnonzero(followers == target)
        if len(at):
            mine = times[at[0]]
            before = (times > mine) | ((times == mine) & (place[followers] < place[target]))
            return 1 + int(before.sum())
        # behind all that followed, and there by popularity
        return self._popular.rank(history, target, left_out) + int(np.sum(place[followers] > place[target]))

"""Metrics of ranks are those of scikit-learn and torchmetrics' definitions, and baselines rank as spelt-out ones do."""

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, top_k_accuracy_score

from seqloom.measure.ranking import Following, Popular, ranked
from seqloom.measure.scores import Scores


def test_metrics_of_ranks_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    scores, target = generator.normal(size=(200, 40)), generator.integers(0, 40, size=200)
    scores[np.arange(200), target] += 1.5
    rank = 1 + np.sum(scores > scores[np.arange(200), target][:, None], axis=1)
    wanted = np.eye(40)[target]
    values = Scores(ranked(rank)).values()
    for k in (1, 5, 10):
        assert values[f"hr@{k}"] == pytest.approx(top_k_accuracy_score(target, scores, k=k, labels=np.arange(40)))
    for k in (5, 10):
        assert values[f"ndcg@{k}"] == pytest.approx(ndcg_score(wanted, scores, k=k))
    assert values["mrr"] == pytest.approx(label_ranking_average_precision_score(wanted.astype(int), scores))


def test_a_target_that_is_not_ranked_is_a_miss_everywhere() -> None:
    assert set(Scores(ranked(np.array([np.inf]))).values().values()) == {0.0}


def spelt_out(sequences: list[np.ndarray], items: int, history: np.ndarray, left_out: np.ndarray) -> list[int]:
    counts, followed = np.zeros(items), np.zeros(items)
    for sequence in sequences:
        np.add.at(counts, sequence, 1)
        for one, other in zip(sequence[:-1], sequence[1:], strict=True):
            followed[other] += one == history[-1]
    order = sorted(range(items), key=lambda item: (-followed[item], -counts[item], item))
    return [item for item in order if item not in left_out]


def test_baselines_rank_as_sorting_all_items_does() -> None:
    generator = np.random.default_rng(1)
    sequences = [generator.integers(0, 15, size=generator.integers(1, 12)) for _ in range(40)]
    popular, following = Popular(sequences, 20), Following(sequences, 20)
    for _ in range(200):
        history = generator.integers(0, 20, size=4)
        for left_out in (np.unique(history), history[:0]):
            order = spelt_out(sequences, 20, history, left_out)
            # without anything that followed, the order is by popularity alone
            plain = spelt_out([s[i : i + 1] for s in sequences for i in range(len(s))], 20, history, left_out)
            assert [following.rank(history, item, left_out) for item in order] == list(range(1, len(order) + 1))
            assert [popular.rank(history, item, left_out) for item in plain] == list(range(1, len(plain) + 1))

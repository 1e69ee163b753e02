"""The area under the ROC curve is scikit-learn's, of the scores by bins, and merges over parts."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from seqloom.measure.detection import auroc, counted
from seqloom.measure.scores import Scores


def drawn(n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    belongs = generator.random(n) < 0.8
    return generator.normal(loc=np.where(belongs, 4.0, 2.0), scale=2.0), belongs


def test_it_is_that_of_scikit_learn() -> None:
    odds, belongs = drawn()
    value = float(auroc(counted(odds, belongs).sum(axis=0)))
    assert value == pytest.approx(roc_auc_score(belongs, np.clip(np.floor(4 * odds), -16, 47)), abs=1e-12)
    assert value == pytest.approx(roc_auc_score(belongs, odds), abs=2e-3)  # bins of a quarter hide little


def test_parts_merge_to_the_whole() -> None:
    odds, belongs = drawn()
    whole, one, other = (
        Scores({"oos_auroc": counted(odds[rows], belongs[rows])}, {"oos_auroc": auroc})
        for rows in (slice(None), slice(0, 1000), slice(1000, None))
    )
    assert other.merge(one).value("oos_auroc") == whole.value("oos_auroc") != one.value("oos_auroc")


def test_extremes_are_told_and_one_kind_alone_is_of_nothing() -> None:
    belongs = np.array([True, True, False])
    assert auroc(counted(np.array([99.0, np.inf, -np.inf]), belongs).sum(axis=0)) == 1.0
    assert auroc(counted(np.zeros(3), belongs).sum(axis=0)) == 0.5
    assert np.isnan(auroc(counted(np.zeros(3), belongs)[:2].sum(axis=0)))

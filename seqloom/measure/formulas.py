"""Formulas: metrics that are no ratio of two sums; each maps sums (..., k) to values (...).

They are formulas of sums over examples, so that such metrics merge and are bootstrapped as all others are.
"""

import numpy as np

_ORDERS = 4  # of BLEU's n-grams
_CHARACTERS = 6  # of chrF's n-grams
_RECALL = 4.0  # beta^2: how much chrF2 weighs recall
BINS = 15  # of confidences, as most papers have it


def share(sums: np.ndarray) -> np.ndarray:
    """Return first / second of sums (..., 2); 0 where there is nothing to have a share of, as precision of no finds."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[..., 1] != 0, sums[..., 0] / sums[..., 1], 0.0)


def perplexity(sums: np.ndarray) -> np.ndarray:
    """Return 2^(bits / tokens) of sums (..., 2); NaN where there is no token."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.exp2(np.where(sums[..., 1] != 0, sums[..., 0] / sums[..., 1], np.nan))


def bleu(sums: np.ndarray) -> np.ndarray:
    """Return corpus BLEU in per cent, of sums (..., 10): length, length of references, n-grams matched and made.

    BLEU = min(1, e^(1 - r / c)) (p_1 p_2 p_3 p_4)^(1/4); an order without a match counts as 1/2, 1/4, ... matches, one
    after the other, and 0 if there is no match at all: sacreBLEU's default.

    Source: Papineni et al. 2002; Post 2018, arXiv 1804.08771; smoothing: Chen and Cherry 2014.
    """
    length, wanted = sums[..., 0], sums[..., 1]
    matched, made = sums[..., 2 : 2 + _ORDERS], sums[..., 2 + _ORDERS :]
    halved = np.where(matched == 0, np.cumsum(matched == 0, axis=-1), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = np.where(made > 0, np.where(matched == 0, 0.5**halved, matched) / made, 0.0)
        brevity = np.where(length > 0, np.exp(np.minimum(0.0, 1 - wanted / length)), 0.0)
        value = 100 * brevity * np.exp(np.log(chance).mean(axis=-1))
    return np.where((matched > 0).any(axis=-1), value, 0.0)


def chrf(sums: np.ndarray) -> np.ndarray:
    """Return chrF2 in per cent, of sums (..., 18): n-grams made, wanted and matched, for n = 1 to 6.

    chrF = 5 P R / (4 P + R) of the mean precision and recall over the orders that both sides have: sacreBLEU's default.

    Source: Popovic 2015, chrF: character n-gram F-score for automatic MT evaluation.
    """
    made, wanted, matched = (sums[..., part::3] for part in range(3))
    assert made.shape[-1] == _CHARACTERS
    both = (made > 0) & (wanted > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        orders = np.maximum(both.sum(axis=-1), 1)
        precision = np.where(both, matched / made, 0.0).sum(axis=-1) / orders
        recall = np.where(both, matched / wanted, 0.0).sum(axis=-1) / orders
        value = 100 * (1 + _RECALL) * precision * recall / (_RECALL * precision + recall)
    return np.where(precision + recall > 0, value, 0.0)


def macro_f1(sums: np.ndarray) -> np.ndarray:
    """Return the mean of the classes' F1, of sums (..., 2 C): right answers, then answers and targets, by class.

    F1 = 2 TP / (answers + targets), 0 for a class that is never right. A class that neither answers nor targets hold
    does not count: as scikit-learn's f1_score(average="macro").
    """
    right, said = np.split(sums, 2, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = np.where(said > 0, 2 * right / said, 0.0)
        return f1.sum(axis=-1) / (said > 0).sum(axis=-1)


def calibration_error(sums: np.ndarray) -> np.ndarray:
    """Return the expected calibration error, of sums (..., BINS + 1): confidence less accuracy by bin, and examples.

    ECE = sum over bins of |sum of (confidence - right)| / n, bins of equal width by the likeliest class's probability.

    Source: Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(sums[..., :BINS]).sum(axis=-1) / sums[..., BINS]

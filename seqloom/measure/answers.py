"""Answers: exact match and F1 of texts as SQuAD's and CMRC's scripts have them, and the precision of rankings.

Sources: Rajpurkar et al. 2016 (arXiv 1606.05250), evaluate-v1.1; Cui et al. 2019 (arXiv 1810.07366), cmrc2018_evaluate;
average precision and reciprocal rank: trec_eval, and Voorhees 1999.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")  # that CMRC's script leaves out
_MIXED = re.compile(r"[\u4e00-\u9fa5]|[^\s\u4e00-\u9fa5]+")  # characters of Chinese, words of all else

Match = tuple[float, float]  # exact match, F1


def match_words(said: str, right: Sequence[str]) -> Match:
    """Return exact match and F1 over words with the nearest right answer; case, articles and punctuation do not count.

    No right answer means that there is none: then nothing ("") is right.
    """
    return _nearest(said, right, _plain, _shared_words)


def match_characters(said: str, right: Sequence[str]) -> Match:
    """Return exact match and F1 over Chinese characters (and words of other scripts) with the nearest right answer.

    F1 is of the longest stretch in common, as in CMRC's script, which splits other scripts by NLTK; here by spaces.
    """
    return _nearest(said, right, lambda text: "".join(c for c in text.lower().strip() if c not in _MARKS), _stretch)


def _nearest(
    said: str, right: Sequence[str], plain: Callable[[str], str], shared: Callable[[str, str], tuple[int, int, int]]
) -> Match:
    given = plain(said)
    exact = f1 = 0.0
    for answer in right or ("",):
        wanted = plain(answer)
        exact = max(exact, float(given == wanted))
        both, made, asked = shared(given, wanted)
        if not made or not asked:
            f1 = max(f1, float(made == asked))
        elif both:
            f1 = max(f1, 2 * both / (made + asked))
    return exact, f1


def _plain(text: str) -> str:
    without = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", without).split())


def _shared_words(given: str, wanted: str) -> tuple[int, int, int]:
    made, asked = given.split(), wanted.split()
    return sum((Counter(made) & Counter(asked)).values()), len(made), len(asked)


def _stretch(given: str, wanted: str) -> tuple[int, int, int]:
    """Return the length of the longest common stretch, and both lengths. Work O(product of the lengths)."""
    made, asked = _MIXED.findall(given), _MIXED.findall(wanted)
    longest, row = 0, [0] * (len(asked) + 1)
    for one in made:
        row = [0, *(row[i] + 1 if one == other else 0 for i, other in enumerate(asked))]
        longest = max(longest, *row)
    return longest, len(made), len(asked)


def average_precision(score: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Return (average precision, reciprocal rank of the first right one) of a ranking by falling score.

    Equal scores come in a drawn order, the same each time: never the file's, in which right ones often stand first.

    Args:
        score: (n,) of each candidate.
        right: (n,) whether it is right; with none of them both values are 0.
    """
    drawn = np.random.default_rng(len(score)).permutation(len(score))
    order = drawn[np.argsort(-score[drawn], kind="stable")]
    found = np.flatnonzero(right[order] != 0) + 1  # ranks of the right ones
    if not len(found):
        return 0.0, 0.0
    return float(np.mean(np.arange(1, len(found) + 1) / found)), float(1 / found[0])


def rankings(score: np.ndarray, right: np.ndarray, group: np.ndarray) -> dict[str, np.ndarray]:
    """Return map and mrr of each group, in the order of their first rows: each (groups, 2), a value and 1.

    `map` and `mrr` leave out groups without a right or without a wrong candidate, which no ranking can do well or badly
    (the "clean" convention; Rao et al. 2016): these are 0 of 0. `map_all` and `mrr_all` are of all groups, one without
    a right candidate counting 0.
    """
    names, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    parts = {name: np.zeros((len(names), 2)) for name in ("map", "mrr", "map_all", "mrr_all")}
    for place, number in enumerate(np.argsort(first)):
        rows = members[number]
        values = average_precision(score[rows], right[rows])
        clean = 0 < right[rows].sum() < len(rows)
        for name, value in zip(("map", "mrr"), values, strict=True):
            parts[f"{name}_all"][place] = value, 1
            parts[name][place] = (value, 1) if clean else (0, 0)
    return parts

"""Overlap of a text with its reference: the counts that BLEU and chrF are formulas of, made by sacreBLEU.

Tokenizing and counting are sacreBLEU's own, sentence by sentence; `seqloom.measure.formulas` makes the metric of sums.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

# those that need nothing else installed; "zh" cuts Chinese into characters, "char" any text
TOKENIZERS = ("13a", "intl", "zh", "char", "none")


def bleu_parts(answers: Sequence[str], references: Sequence[str], tokenize: str) -> np.ndarray:
    """Return (n, 10) of n texts: length, length of the reference, n-grams matched, n-grams made, n = 1 to 4.

    Source: Post 2018, A Call for Clarity in Reporting BLEU Scores, arXiv 1804.08771.
    """
    return _parts(_bleu(tokenize), answers, references, 10)


def chrf_parts(answers: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Return (n, 18) of n texts: n-grams of characters made, wanted and matched, n = 1 to 6."""
    return _parts(_chrf(), answers, references, 18)


def signatures(tokenize: str) -> dict[str, str]:
    """Return how BLEU and chrF are computed, as sacreBLEU writes it, so that figures can be compared."""
    found: dict[str, str] = {}
    for name, metric in (("bleu", _bleu(tokenize)), ("chrf", _chrf())):
        metric.corpus_score(["a"], [["a"]])  # a signature tells the number of references, known once there are some
        found[name] = str(metric.get_signature())
    return found


def _bleu(tokenize: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    # `force` but silences a warning about texts that look tokenized, which some corpora are
    return BLEU(tokenize=tokenize, force=True)


def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _parts(metric: Any, answers: Sequence[str], references: Sequence[str], columns: int) -> np.ndarray:
    rows = metric._extract_corpus_statistics(list(answers), [list(references)])
    return np.array(rows, dtype=np.float64).reshape(len(answers), columns)

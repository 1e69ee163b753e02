"""Formulas of sums equal the libraries that defined them, of a whole, of parts, and row by row."""

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from seqloom.measure import formulas
from seqloom.measure.overlap import bleu_parts, chrf_parts, signatures
from seqloom.measure.scores import Scores
from seqloom.measure.statistics import of_sums

WORDS = [
    "a",
    "the",
    "cat",
    "dog,",
    "sees",
    "hears",
    "(old)",
    "young.",
    "It's",
    "near;",
    "3.5",
    "of",
    "1,000",
    "in",
    "Köln",
]
HAN = "一二三四五六七八九十人大小中国，。"
EMPTY = [("", "a b"), ("a b", "a b"), ("a", "a"), ("b", "a"), ("a b c d", "d c b a")]


def texts(n: int, seed: int, characters: bool = False) -> tuple[list[str], list[str]]:
    draw = np.random.default_rng(seed)
    symbols, space = (list(HAN), "") if characters else (WORDS, " ")
    references = [[symbols[i] for i in draw.integers(len(symbols), size=draw.integers(1, 15))] for _ in range(n)]
    answers = [[word for word in words if draw.random() < 0.7] + list(draw.choice(symbols, 1)) for words in references]
    return [space.join(words) for words in answers], [space.join(words) for words in references]


@pytest.mark.parametrize("tokenize", ["13a", "zh", "char", "intl", "none"])
@pytest.mark.parametrize("n", [1, 3, 50])
def test_bleu_of_sums_is_that_of_sacrebleu(tokenize: str, n: int) -> None:
    for seed in range(5):
        answers, references = texts(n, seed, characters=tokenize == "zh")
        found = Scores({"bleu": bleu_parts(answers, references, tokenize)}, {"bleu": formulas.bleu}).value("bleu")
        wanted = BLEU(tokenize=tokenize, force=True).corpus_score(answers, [references]).score
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_chrf_of_sums_is_that_of_sacrebleu() -> None:
    for seed in range(5):
        answers, references = texts(20, seed, characters=seed % 2 == 1)
        found = Scores({"chrf": chrf_parts(answers, references)}, {"chrf": formulas.chrf}).value("chrf")
        assert found == pytest.approx(CHRF().corpus_score(answers, [references]).score, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("answer, reference", EMPTY)
def test_texts_that_are_empty_short_or_foreign_score_as_sacrebleu_says(answer: str, reference: str) -> None:
    parts = bleu_parts([answer], [reference], "13a")[0]
    wanted = BLEU(force=True).corpus_score([answer], [[reference]]).score
    assert formulas.bleu(parts) == pytest.approx(wanted, abs=1e-9)
    parts = chrf_parts([answer], [reference])[0]
    assert formulas.chrf(parts) == pytest.approx(CHRF().corpus_score([answer], [[reference]]).score, abs=1e-9)


def test_formulas_map_many_sums_at_once() -> None:
    answers, references = texts(12, 0)
    for parts, formula in ((bleu_parts(answers, references, "13a"), formulas.bleu), (chrf_parts(answers, references),
                                                                                     formulas.chrf)):  # fmt: skip
        assert formula(parts).tolist() == [float(formula(row)) for row in parts]
        interval = of_sums(parts, formula, resamples=200)
        assert interval.low < interval.value < interval.high


def test_perplexity_is_two_to_the_bits_of_a_token() -> None:
    assert formulas.perplexity(np.array([30.0, 10.0])) == 8.0
    assert np.isnan(formulas.perplexity(np.array([0.0, 0.0])))


def test_signatures_say_the_tokenizer() -> None:
    assert "tok:zh" in signatures("zh")["bleu"] and "smooth:exp" in signatures("13a")["bleu"]
    assert signatures("13a")["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6")

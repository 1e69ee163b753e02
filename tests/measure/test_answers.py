"""Exact match, F1 and the precision of rankings equal those of well-kept libraries, and of CMRC's script by hand."""

import numpy as np
import pytest
import torch

from seqloom.measure.answers import average_precision, match_characters, match_words, rankings

SAID = ["the Eiffel Tower", "Paris, France", "in 1889", "", "a an the", "It was built by Gustave Eiffel.", "state-of"]
RIGHT = [["Eiffel tower!"], ["Paris", "France"], ["1889", "in the year 1889"], ["something"], ["the"],
         ["Gustave  Eiffel", "Eiffel"], ["state of the art"]]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_words_match_as_torchmetrics_squad_does() -> None:
    squad = pytest.importorskip("torchmetrics.functional.text").squad
    for said, right in zip(SAID, RIGHT, strict=True):
        wanted = squad(
            {"prediction_text": said, "id": "1"},
            {"answers": {"text": right, "answer_start": [0] * len(right)}, "id": "1"},
        )
        assert match_words(said, right) == pytest.approx([float(wanted[name]) / 100 for name in ("exact_match", "f1")])


def test_saying_nothing_is_right_where_there_is_no_answer_and_nowhere_else() -> None:
    assert match_words("", ()) == match_characters("", ()) == (1.0, 1.0)
    assert match_words("Paris", ()) == match_characters("巴黎", ()) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("said", "right", "exact", "f1"),
    [
        ("《巴黎》。", ["巴黎"], 1.0, 1.0),  # marks do not count
        ("法国巴黎市", ["巴黎"], 0.0, 4 / 7),  # 2 of 5 and 2 of 2 characters
        ("巴黎和伦敦", ["巴黎伦敦"], 0.0, 4 / 9),  # the longest stretch is 2: no bag of characters
        ("由Koei公司", ["koei", "公司"], 0.0, 2 * (1 / 4) / (1 / 4 + 1)),  # Latin letters are one word
        ("北京", ["上海"], 0.0, 0.0),
    ],
)
def test_characters_match_as_in_cmrc_s_script(said: str, right: list[str], exact: float, f1: float) -> None:
    if said.startswith("由"):
        f1 = max(f1, 2 * (2 / 4) * 1 / (2 / 4 + 1))  # of "公司"
    assert match_characters(said, right) == pytest.approx((exact, f1))


def ranking_cases() -> list[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(0)
    return [(generator.random(n), (generator.random(n) < 0.3).astype(np.int64)) for n in (1, 2, 5, 9, 30) * 4]


def test_average_precision_and_reciprocal_rank_are_torchmetrics_own() -> None:
    retrieval = pytest.importorskip("torchmetrics.functional.retrieval")
    for score, right in ranking_cases():
        one = torch.from_numpy(score), torch.from_numpy(right)
        wanted = retrieval.retrieval_average_precision(*one), retrieval.retrieval_reciprocal_rank(*one)
        assert average_precision(score, right) == pytest.approx([float(value) for value in wanted], abs=1e-6)


def test_means_over_questions_are_torchmetrics_own_in_both_conventions() -> None:
    retrieval = pytest.importorskip("torchmetrics.retrieval")
    cases = ranking_cases()
    group = np.repeat(np.arange(len(cases))[::-1] * 3, [len(score) for score, _ in cases])
    score, right = (np.concatenate(parts) for parts in zip(*cases, strict=True))
    sums = {name: part.sum(axis=0) for name, part in rankings(score, right, group).items()}
    clean = np.array([0 < right[group == one].sum() < (group == one).sum() for one in group])
    assert 0 < clean.sum() < len(group)
    for name, metric in (("map", retrieval.RetrievalMAP), ("mrr", retrieval.RetrievalMRR)):
        tensors = [torch.from_numpy(part) for part in (score, right, group)]
        wanted = float(metric(empty_target_action="neg")(tensors[0], tensors[1], indexes=tensors[2]))
        assert sums[f"{name}_all"][0] / sums[f"{name}_all"][1] == pytest.approx(wanted, abs=1e-6)
        tensors = [tensor[torch.from_numpy(clean)] for tensor in tensors]
        wanted = float(metric()(tensors[0], tensors[1], indexes=tensors[2]))
        assert sums[name][0] / sums[name][1] == pytest.approx(wanted, abs=1e-6)


def test_equal_scores_do_not_come_in_the_file_s_order() -> None:
    right = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    sums = rankings(np.zeros(1000), np.tile(right, 100), np.repeat(np.arange(100), 10))["map"].sum(axis=0)
    drawn = [average_precision(np.zeros(n), np.arange(n) < n // 5)[0] for n in range(10, 200)]
    assert sums[1] == 100 and np.mean(drawn) < 0.4  # chance, and not 1
    assert average_precision(np.zeros(10), right) == average_precision(np.zeros(10), right)

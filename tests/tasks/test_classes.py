"""Macro-F1, calibration and confusions equal scikit-learn's and torchmetrics', of a whole and of parts."""

import json
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support
from torch import nn

from seqloom.data.batches import Arrays
from seqloom.measure.formulas import BINS, calibration_error, macro_f1
from seqloom.model.head import Labels
from seqloom.tasks._classes import class_detail, class_scorer

N = 200


class Told(nn.Module):
    """A model whose logits are told by the row's first step."""

    encoder = None

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)
        self.head = Labels(classes=logits.shape[1]).build(4)

    def forward(self, inputs: torch.Tensor, segment: torch.Tensor | None = None) -> tuple[torch.Tensor, None]:
        return self.logits[inputs[:, 0]], None


def told(classes: int, seed: int, sharp: float = 2.0) -> tuple[Told, Arrays, np.ndarray]:
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(N, classes)) * sharp
    target = np.where(draw.random(N) < 0.5, logits.argmax(axis=1), draw.integers(0, classes, size=N))
    model = Told(torch.from_numpy(logits.astype(np.float32)))
    return model, Arrays(np.arange(N)[:, None], target), target


@pytest.mark.parametrize("classes", [2, 3, 30])
@pytest.mark.parametrize("sharp", [0.1, 2.0, 100.0])
def test_scores_are_those_of_the_libraries(classes: int, sharp: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what importing it says of other libraries
        metrics = pytest.importorskip("torchmetrics.functional.classification")
    model, examples, target = told(classes, seed=classes, sharp=sharp)
    answers = model.logits.argmax(dim=1).numpy()
    found = class_scorer(classes)(model, examples).values()
    assert found["macro_f1"] == pytest.approx(f1_score(target, answers, average="macro"), abs=1e-12)
    wanted = metrics.multiclass_calibration_error(
        model.logits.detach().double(), torch.from_numpy(target), num_classes=classes, n_bins=BINS, norm="l1"
    )
    assert found["calibration_error"] == pytest.approx(float(wanted), abs=1e-6)
    assert found["accuracy"] == np.mean(answers == target)


def test_scores_of_parts_merge_to_those_of_the_whole() -> None:
    model, examples, _ = told(4, seed=0)
    score = class_scorer(4)
    whole = score(model, examples).values()
    parts = [score(model, examples.select(rows)) for rows in np.array_split(np.random.default_rng(1).permutation(N), 3)]
    for name, value in parts[2].merge(parts[0]).merge(parts[1]).values().items():
        assert value == pytest.approx(whole[name], rel=1e-12)


def test_a_class_that_nobody_names_does_not_count_and_nothing_is_no_number() -> None:
    assert macro_f1(np.array([2.0, 0, 0, 4, 0, 2])) == 0.5  # classes: always right, absent, never right
    assert np.isnan(macro_f1(np.zeros(4))) and np.isnan(calibration_error(np.zeros(BINS + 1)))


@pytest.mark.parametrize("classes", [3, 30])
def test_the_detail_is_that_of_scikit_learn(classes: int) -> None:
    model, examples, target = told(classes, seed=5)
    answers = model.logits.argmax(dim=1).numpy()
    labels = tuple(f"c{i}" for i in range(classes))
    found = json.loads(json.dumps(class_detail(labels, model, examples)))
    matrix = confusion_matrix(target, answers, labels=range(classes))
    expected = precision_recall_fscore_support(target, answers, labels=range(classes), zero_division=0.0)
    for name, column in zip(("precision", "recall", "f1", "examples"), expected, strict=True):
        assert [found["classes"][label][name] for label in labels] == pytest.approx(column.tolist())
    if classes == 3:
        assert found["confusion"] == matrix.tolist()
    else:
        np.fill_diagonal(matrix, 0)
        most = np.sort(matrix, axis=None)[::-1][:20]
        assert [pair["examples"] for pair in found["confusions"]] == most[most > 0].tolist()
        for pair in found["confusions"]:
            assert matrix[int(pair["label"][1:]), int(pair["taken_for"][1:])] == pair["examples"]
    bins = found["calibration"]
    gap = sum(each["examples"] * abs(each["confidence"] - each["accuracy"]) for each in bins) / N
    assert sum(each["examples"] for each in bins) == N
    assert gap == pytest.approx(class_scorer(classes)(model, examples).value("calibration_error"), abs=1e-9)

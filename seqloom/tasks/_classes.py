"""How models that tell classes are judged beyond accuracy: macro-F1, calibration, and what is taken for what."""

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.data.batches import Batch, Examples
from seqloom.measure.formulas import BINS, calibration_error, macro_f1
from seqloom.tasks.task import Scorer, evaluate, judging, respond

_WHOLE = 20  # classes up to which a confusion matrix is shown whole
_SHOWN = 20  # confusions shown of larger ones
_ROWS = 64  # at a time


def class_scorer(classes: int) -> Scorer:
    """Return what scores a head of labels by accuracy, loss, macro-F1 and expected calibration error."""
    return partial(
        evaluate,
        judge=partial(_judged, classes),
        formulas={"macro_f1": macro_f1, "calibration_error": calibration_error},
    )


def _judged(classes: int, model: Any, batch: Batch, output: Tensor) -> dict[str, Tensor]:
    """Return the parts of each metric, (B, k)."""
    own = {name: torch.stack(parts, dim=-1) for name, parts in model.head.scores(output, batch.target).items()}
    confidence, answer = output.double().softmax(dim=-1).max(dim=-1)
    right = (answer == batch.target).double()
    given, wanted = (F.one_hot(numbers, classes).double() for numbers in (answer, batch.target))
    # bin b holds confidences in [b / BINS, (b + 1) / BINS); a confidence of 1 belongs to the last
    bins = F.one_hot((confidence * BINS).long().clamp(max=BINS - 1), BINS).double()
    gaps = bins * (confidence - right)[:, None]
    return {
        **own,
        "macro_f1": torch.cat([given * wanted, given + wanted], dim=-1),
        "calibration_error": torch.cat([gaps, torch.ones_like(right)[:, None]], dim=-1),
    }


def class_detail(labels: tuple[str, ...], model: Any, examples: Examples) -> dict[str, Any]:
    """Return precision, recall and F1 of each class, the confusion matrix and the calibration by bins; JSON values.

    The matrix has a row for each true class and a column for each answer; of more than 20 classes, the most frequent
    confusions are listed instead. Work: one pass over the examples.
    """
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    bins = np.zeros((BINS, 3))  # examples, sum of confidences, right answers
    device = next(model.parameters()).device
    order = np.argsort(examples.lengths, kind="stable")
    with judging(model):
        for start in range(0, len(order), _ROWS):
            batch = examples.batch(order[start : start + _ROWS]).to(device)
            confidence, answer = respond(model, batch).double().softmax(dim=-1).max(dim=-1)
            sure, answers, targets = (part.cpu().numpy() for part in (confidence, answer, batch.target))
            np.add.at(counts, (targets, answers), 1)
            of_bin = np.minimum((sure * BINS).astype(int), BINS - 1)
            np.add.at(bins, of_bin, np.stack([np.ones_like(sure), sure, answers == targets], axis=1))
    return {"classes": _by_class(labels, counts), **_confusion(labels, counts), "calibration": _by_bin(bins)}


def _by_class(labels: tuple[str, ...], counts: np.ndarray) -> dict[str, dict[str, float | int]]:
    found: dict[str, dict[str, float | int]] = {}
    for number, label in enumerate(labels):
        right, given, wanted = int(counts[number, number]), int(counts[:, number].sum()), int(counts[number].sum())
        found[label] = {
            "precision": right / given if given else 0.0,
            "recall": right / wanted if wanted else 0.0,
            "f1": 2 * right / (given + wanted) if given + wanted else 0.0,
            "examples": wanted,
        }
    return found


def _confusion(labels: tuple[str, ...], counts: np.ndarray) -> dict[str, Any]:
    if len(labels) <= _WHOLE:
        return {"confusion": counts.tolist()}
    wrong = counts - np.diag(np.diag(counts))
    most = np.argsort(-wrong, axis=None, kind="stable")[:_SHOWN]
    pairs = [(int(place) // len(labels), int(place) % len(labels)) for place in most]
    return {
        "confusions": [
            {"label": labels[true], "taken_for": labels[given], "examples": int(wrong[true, given])}
            for true, given in pairs
            if wrong[true, given]
        ]
    }


def _by_bin(bins: np.ndarray) -> list[dict[str, float | int]]:
    """Return the bins that hold something."""
    return [
        {
            "from": number / BINS,
            "to": (number + 1) / BINS,
            "examples": int(count),
            "confidence": confidence / count,
            "accuracy": right / count,
        }
        for number, (count, confidence, right) in enumerate(bins.tolist())
        if count
    ]

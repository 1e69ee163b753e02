"""Connectionist temporal classification: which labels a row of distributions over labels and a blank spells.

A path names a label or the blank (number 0) at every step; it spells what is left when repeats are joined and blanks
then taken out, so that "a a - a b b" spells "a a b". Source: Graves et al. 2006, Connectionist Temporal Classification.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BLANK = 0


def least_steps(labels: np.ndarray) -> int:
    """Return the fewest steps that can spell labels (n,): one each, and a blank between two that are the same."""
    return len(labels) + int(np.count_nonzero(labels[1:] == labels[:-1]))


def greedy(logits: Tensor) -> list[list[int]]:
    """Return what the likeliest path of each row of (B, T, V) spells. Work O(B T V)."""
    best = logits.argmax(dim=-1).cpu().numpy()
    changed = np.ones(best.shape, dtype=bool)
    changed[:, 1:] = best[:, 1:] != best[:, :-1]
    return [row[keep].tolist() for row, keep in zip(best, changed & (best != BLANK), strict=True)]


class _Beam(NamedTuple):
    """Labellings that are kept, and the log probability of all paths that spell them so far."""

    labels: list[tuple[int, ...]]
    blank: np.ndarray  # (K,) of those that end in a blank
    label: np.ndarray  # (K,) of those that end in the last label

    @property
    def total(self) -> np.ndarray:
        return np.logaddexp(self.blank, self.label)


def search(logits: Tensor, beams: int) -> list[int]:
    """Return the labels that are likeliest for a row (T, V): the paths that spell them are summed.

    Args:
        logits: of one row.
        beams: labellings kept at each step; the answer is exact where no more than these can be spelt.

    Raises:
        ValueError: no beam.

    Complexity: work O(T beams V), depth T.
    Source: prefix search of Graves 2012, Supervised Sequence Labelling, as a beam: Hannun et al. 2014, arXiv 1408.2873.
    """
    if beams < 1:
        raise ValueError(f"beams = {beams}; keep at least 1")
    beam = _Beam([()], np.zeros(1), np.full(1, -np.inf))
    for step in torch.log_softmax(logits.detach().double(), dim=-1).cpu().numpy():
        beam = _next(beam, step, beams)
    return list(beam.labels[int(beam.total.argmax())])


def _next(beam: _Beam, step: np.ndarray, beams: int) -> _Beam:
    total = beam.total
    rows = np.arange(len(total))
    last = np.array([labels[-1] if labels else BLANK for labels in beam.labels])
    longer = total[:, None] + step  # (K, V): the labelling with one more label
    longer[rows, last] = beam.blank + step[last]  # twice the same label needs a blank between
    longer[:, BLANK] = -np.inf
    stay_blank = total + step[BLANK]
    stay_label = np.where(last != BLANK, beam.label + step[last], -np.inf)
    known = {labels: row for row, labels in enumerate(beam.labels)}
    for row, labels in enumerate(beam.labels):
        if labels and (parent := known.get(labels[:-1])) is not None:
            stay_label[row] = np.logaddexp(stay_label[row], longer[parent, labels[-1]])
            longer[parent, labels[-1]] = -np.inf
    scores = np.concatenate([np.logaddexp(stay_blank, stay_label), longer.ravel()])
    best = np.argsort(-scores, kind="stable")[:beams]
    best = best[scores[best] > -np.inf]
    stays, grown = best[best < len(rows)], best[best >= len(rows)] - len(rows)
    parents, labels = np.divmod(grown, len(step))
    return _Beam(
        [beam.labels[row] for row in stays]
        + [(*beam.labels[row], int(label)) for row, label in zip(parents, labels, strict=True)],
        np.concatenate([stay_blank[stays], np.full(len(grown), -np.inf)]),
        np.concatenate([stay_label[stays], longer[parents, labels]]),
    )

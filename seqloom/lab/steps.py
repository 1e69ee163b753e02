"""Training steps on random tokens: what takes time and memory, whatever is learnt."""

import numpy as np
import torch
from torch import Tensor

from seqloom.data.batches import Batch, Examples
from seqloom.model.model import ModelSpec
from seqloom.train.learner import Learner

RATE = 1e-5  # of learning


class RandomTokens(Examples):
    """Rows of tokens drawn at random, each with the next ones as targets, and a source where a model reads one.

    Args:
        vocabulary: tokens to draw from.
        rows: examples.
        steps: of each.
        source: whether each has a source, as long.
        seed: of the draws.
    """

    def __init__(self, vocabulary: int, rows: int, steps: int, source: bool = False, seed: int = 0) -> None:
        words = np.random.default_rng(seed).integers(vocabulary, size=(rows, steps + 1), dtype=np.int64)
        self.lengths = np.full(rows, steps, dtype=np.int64)
        self._words, self._source = torch.from_numpy(words), source

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows. Work O(B T)."""
        words = self._words[torch.from_numpy(rows)]
        inputs = words[:, :-1].contiguous()
        return Batch(inputs, None, words[:, 1:].contiguous(), torch.from_numpy(rows), inputs if self._source else None)


class Step:
    """One training step of what learns, again and again.

    Args:
        learner: of a model of tokens.
        spec: of that model.
        batch: rows of a step.
        length: tokens of a row.
        seed: of the tokens.
    """

    def __init__(self, learner: Learner, spec: ModelSpec, batch: int, length: int, seed: int = 0) -> None:
        vocabulary = getattr(spec.frontend, "vocabulary", 2)
        self.learner, self._rows = learner, np.arange(batch)
        self._examples = RandomTokens(vocabulary, batch, length, spec.encoder is not None, seed)

    def __call__(self) -> None:
        """Take it."""
        self.learner.update(self._examples, self._rows, RATE)

    def backward(self) -> Tensor:
        """Take it without the update; return the loss."""
        return self.learner.gradients(self._examples, self._rows)

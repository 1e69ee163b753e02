"""Masking: tokens that are hidden and asked for, as in BERT.

Source: Devlin et al. 2019, BERT: Pre-training of Deep Bidirectional Transformers, arXiv 1810.04805.
"""

import numpy as np
import torch

from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch, Examples, stream

_MASKED, _RANDOM, _OF = 8, 1, 10  # of ten targets: become the mask token, become a random token; the rest stay


class Masked(Examples):
    """Sequences of tokens of which some are targets: 80 % hidden by a mask token, 10 % random, 10 % as they were.

    What is hidden in a row is a pure function of (seed, epoch, row), so it does not depend on the batch, and a run that
    is resumed meets the masks that an uninterrupted one meets. As they stand, the examples have the masks of epoch 0.

    Args:
        source: examples whose inputs are tokens below `vocabulary`; their targets are not used.
        vocabulary: the mask token is this number, one above the largest token.
        share: of each row's tokens that are targets, rounded, but at least one.
        seed: of the masks.
        epoch: which draw of them.
    """

    def __init__(self, source: Examples, vocabulary: int, share: float = 0.15, seed: int = 0, epoch: int = 0) -> None:
        self.lengths = source.lengths
        self._source, self._vocabulary, self._share, self._seed, self._epoch = source, vocabulary, share, seed, epoch

    def of_epoch(self, epoch: int) -> "Masked":
        """Return the same sequences under the masks of an epoch."""
        return Masked(self._source, self._vocabulary, self._share, self._seed, epoch)

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows and mask them. Work O(B T log T)."""
        batch = self._source.batch(rows)
        inputs = batch.inputs.numpy().copy()
        target = np.full_like(inputs, IGNORED)
        for line, row in enumerate(rows):
            at, put, stays = self._draw(int(row))
            target[line, at] = inputs[line, at]
            inputs[line, at] = np.where(stays, inputs[line, at], put)
        return batch._replace(inputs=torch.from_numpy(inputs), target=torch.from_numpy(target))

    def _draw(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a row's targets (k,), what is put there, and where the token stays instead."""
        length = int(self.lengths[row])
        count = max(1, round(self._share * length))
        # raw words alone, so that no change of NumPy's samplers can change a mask; part 0 orders the rows
        words = stream(self._seed, self._epoch, part=row + 1).random_raw(length + count)
        at = np.argsort(words[:length], kind="stable")[:count]
        lot, token = words[length:] % _OF, words[length:] // _OF % self._vocabulary
        put = np.where(lot < _MASKED, self._vocabulary, token.astype(np.int64))
        return at, put, lot >= _MASKED + _RANDOM

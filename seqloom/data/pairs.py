"""Pairs: examples that answer a source with a sequence, as for translation, and what turns texts into them."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch, Examples
from seqloom.data.tokens import Tokenizer, tokenizer_from_json

_COUNTED = 50_000  # pairs that a dictionary is made of: more change little


class Pairs(Examples):
    """Sources and targets of tokens, each stored one behind the other.

    A batch holds the source's tokens and `end`; as inputs `begin` and the target's tokens, as target the tokens and
    `end`, so that a step predicts what the next one reads. An example is as long as source and inputs together, by
    which batches are sorted.

        source  ein Hund <end>    inputs  <begin> a dog    target  a dog <end>

    Args:
        source: (tokens (N,), offsets (n + 1,)), example i being tokens[offsets[i] : offsets[i + 1]], at least one.
        target: likewise.
        begin: token that opens a target.
        end: token that closes a source and a target.
    """

    def __init__(
        self, source: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray], begin: int, end: int
    ) -> None:
        if len(source[1]) != len(target[1]):
            raise ValueError(f"{len(source[1]) - 1} sources for {len(target[1]) - 1} targets")
        self._source, self._target = source, target
        self.begin, self.end = begin, end
        self.read, self.written = np.diff(source[1]), np.diff(target[1])  # (n,) tokens of each
        if len(self.read) and min(self.read.min(), self.written.min()) < 1:
            empty = int(np.minimum(self.read, self.written).argmin())
            raise ValueError(f"example {empty} has no tokens; leave empty texts out")
        self.lengths = self.read + self.written + 2

    @property
    def longest(self) -> np.ndarray:
        """Return the tokens of the longer side of each example, (n,)."""
        return np.maximum(self.read, self.written)

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows, each side padded to its longest. Work O(B (S + T))."""
        source, read = _closed(*self._source, rows, self.end)
        target, written = _closed(*self._target, rows, self.end)
        begin = np.full((len(rows), 1), self.begin)
        inputs = np.where(written, np.concatenate([begin, target[:, :-1]], axis=1), 0)
        target = np.where(written, target, IGNORED)
        return Batch(
            inputs=torch.from_numpy(inputs),
            segment=_segment(written),
            target=torch.from_numpy(target),
            rows=torch.from_numpy(np.array(rows, dtype=np.int64)),
            source=torch.from_numpy(source),
            source_segment=_segment(read),
        )


def _closed(tokens: np.ndarray, offsets: np.ndarray, rows: np.ndarray, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (tokens and the end (B, T + 1) int64, zero at padding, which is right; whether each is real)."""
    lengths = offsets[rows + 1] - offsets[rows]
    time = np.arange(lengths.max() + 1)
    real = time < lengths[:, None]
    at = np.where(real, offsets[rows][:, None] + time, 0)
    closed = np.where(real, tokens[at], 0).astype(np.int64)
    closed[np.arange(len(rows)), lengths] = end
    return closed, time <= lengths[:, None]


def sources(rows: list[np.ndarray], end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens of texts as a batch holds them, (tokens (B, S), segment (B, S))."""
    tokens, real = _closed(np.concatenate(rows), np.cumsum([0, *map(len, rows)]), np.arange(len(rows)), end)
    return torch.from_numpy(tokens), torch.from_numpy(real.astype(np.int64))


def _segment(real: np.ndarray) -> torch.Tensor | None:
    return None if real.all() else torch.from_numpy(real.astype(np.int64))


@dataclass(frozen=True)
class Codec:
    """Tokens of both sides, the two behind them that open a target and close both, and how long a target grows."""

    tokenizer: Tokenizer
    growth: float = 2.0  # tokens of a long target for one of its source

    @property
    def begin(self) -> int:
        """Return the token that opens a target."""
        return self.tokenizer.vocabulary

    @property
    def end(self) -> int:
        """Return the token that closes a target."""
        return self.tokenizer.vocabulary + 1

    @property
    def vocabulary(self) -> int:
        """Return the number of tokens, these two among them."""
        return self.tokenizer.vocabulary + 2

    def pairs(self, source: list[str], target: list[str]) -> Pairs:
        """Return examples of texts."""
        return Pairs(self.tokenizer.encode_batch(source), self.tokenizer.encode_batch(target), self.begin, self.end)

    def growing(self, examples: Pairs, rows: np.ndarray) -> "Codec":
        """Return the same, with the growth that 99 of 100 pairs of training stay below."""
        ratio = (examples.written[rows] + 1) / examples.read[rows]
        return Codec(self.tokenizer, round(float(np.percentile(ratio, 99)) + 0.05, 1))

    def decode(self, tokens: list[int]) -> str:
        """Return the text of a target, up to its end."""
        tokens = tokens[: tokens.index(self.end)] if self.end in tokens else tokens
        return self.tokenizer.decode([token for token in tokens if token != self.begin]).strip()

    def to_data(self) -> dict[str, Any]:
        """Return JSON values for `of`."""
        return {"tokenizer": json.loads(self.tokenizer.to_json()), "growth": self.growth}

    @classmethod
    def of(cls, data: Any) -> "Codec":
        """Return what `to_data` wrote.

        Raises:
            ValueError: it is not such data.
        """
        try:
            return cls(tokenizer_from_json(json.dumps(data["tokenizer"])), float(data["growth"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no encoding of pairs: {error!r}") from None


def dictionary(pairs: Pairs, vocabulary: int) -> np.ndarray:
    """Return the target token that goes best with each source token, (vocabulary,); its own where it never came.

    Best is the highest Dice coefficient 2 c(s, t) / (c(s) + c(t)) of the counts c of pairs that hold a token, over at
    most 50,000 pairs, evenly spread. Work O(sum over pairs of S T).
    """
    step = -(-len(pairs) // _COUNTED)
    read, written = (_held(side, np.arange(0, len(pairs), step), vocabulary) for side in (pairs._source, pairs._target))
    together = (read.T @ written).tocoo()
    source, target = (np.asarray(side.sum(axis=0)).ravel() for side in (read, written))
    dice = 2 * together.data / (source[together.row] + target[together.col])
    best = np.arange(vocabulary)
    order = np.lexsort((-together.col, dice))  # the last that is written to a place stands
    best[together.row[order]] = together.col[order]
    return best


def _held(side: tuple[np.ndarray, np.ndarray], rows: np.ndarray, vocabulary: int) -> csr_array:
    """Return which tokens each of some rows holds, (rows, vocabulary) of zeros and ones."""
    tokens, offsets = side
    row = np.repeat(np.arange(len(rows)), offsets[rows + 1] - offsets[rows])
    spelt = np.concatenate([tokens[offsets[i] : offsets[i + 1]] for i in rows])
    held = csr_array((np.ones(len(row)), (row, spelt)), shape=(len(rows), vocabulary))
    held.sum_duplicates()
    held.data[:] = 1.0
    return held

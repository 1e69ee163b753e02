"""Words as numbers: the word, the kind of its spelling, and its characters; and words that are hidden in training."""

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from seqloom.data.batches import Batch, Examples, Packed, stream

KINDS = ("lower", "upper", "title", "mixed", "number", "digits among others", "caseless", "marks")

_UNKNOWN = 0  # the number of a word or, of a character, one above the 0 of none
_DIGITS = str.maketrans("123456789", "000000000")


class Lexicon:
    """The words and characters that are known, and how a token becomes numbers (1 + 1 + letters,).

    Args:
        words: spellings as `key` gives them; the first has number 1, and 0 is every other word.
        characters: that are known; the first has number 2, 1 is every other and 0 none.
        letters: characters of a token that are read, half of them its last where it has more; 0: none.
        lower: look words up in lower case, with every digit as 0.
    """

    def __init__(self, words: Sequence[str], characters: Sequence[str], letters: int, lower: bool) -> None:
        self.words, self.characters, self.letters, self.lower = words, characters, letters, lower
        self._number = {word: number for number, word in enumerate(words, 1)}
        self._letter = {character: number for number, character in enumerate(characters, 2)}

    @classmethod
    def learn(cls, tokens: Iterable[str], letters: int, lower: bool, least: int = 1) -> "Lexicon":
        """Learn the words that occur `least` times or more, the frequent ones first, and all characters."""
        counts = Counter(tokens)
        keyed: Counter[str] = Counter()
        for token, count in counts.items():
            keyed[_key(token, lower)] += count
        words = sorted((word for word, count in keyed.items() if count >= least), key=lambda word: (-keyed[word], word))
        return cls(words, sorted({letter for token in counts for letter in token}) if letters else [], letters, lower)

    @property
    def vocabulary(self) -> int:
        """Return how many numbers words have."""
        return len(self.words) + 1

    def encode(self, tokens: Sequence[str]) -> np.ndarray:
        """Return the numbers (n, 2 + letters) of tokens."""
        found = np.zeros((len(tokens), 2 + self.letters), dtype=np.int32)
        for row, token in zip(found, tokens, strict=True):
            row[0] = self._number.get(_key(token, self.lower), _UNKNOWN)
            row[1] = KINDS.index(kind_of(token))
            if self.letters:
                tail = self.letters // 2
                kept = (
                    token if len(token) <= self.letters else token[: self.letters - tail] + token[len(token) - tail :]
                )
                row[2 : 2 + len(kept)] = [self._letter.get(letter, _UNKNOWN + 1) for letter in kept]
        return found

    def seen(self, token: str) -> str:
        """Return what is seen of a token where no characters are read: the word as it is looked up, and its kind."""
        return f"{_key(token, self.lower)} {KINDS.index(kind_of(token))}"

    def to_data(self) -> dict[str, Any]:
        """Return JSON values for `from_data`."""
        return {
            "words": list(self.words),
            "characters": "".join(self.characters),
            "letters": self.letters,
            "lower": self.lower,
        }

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Lexicon":
        """Return what `to_data` wrote.

        Raises:
            KeyError, TypeError: it is not that.
        """
        return cls(list(data["words"]), list(data["characters"]), int(data["letters"]), bool(data["lower"]))


def kind_of(token: str) -> str:
    """Return which of KINDS the spelling of a token is."""
    if any(letter.isdigit() for letter in token):
        return "digits among others" if any(letter.isalpha() for letter in token) else "number"
    if not any(letter.isalpha() for letter in token):
        return "marks"
    if token.lower() == token.upper():
        return "caseless"
    if token == token.lower():
        return "lower"
    if token == token.upper():
        return "upper" if len(token) > 1 else "title"
    return "title" if token[0].isupper() and token[1:] == token[1:].lower() else "mixed"


def _key(token: str, lower: bool) -> str:
    return token.lower().translate(_DIGITS) if lower else token


class TokenExamples(Examples):
    """Sentences of tokens, each with a class; in training rare words are read as unknown, other ones in each epoch.

    A word that is seen n times is unknown with probability rate / (rate + n), drawn by (seed, epoch, row) alone: what
    the model makes of a word that it does not know, it can only learn from words that it does.

    Source: Kiperwasser and Goldberg 2016, arXiv 1603.04351.

    Args:
        sentences: of tokens, none empty.
        classes: of each token of each sentence.
        lexicon: makes numbers of tokens.
        rate: 0: no word is hidden.
        seed: of the draws.
    """

    def __init__(
        self, sentences: list[list[str]], classes: list[np.ndarray], lexicon: Lexicon, rate: float = 0.0, seed: int = 0
    ) -> None:
        forms = {token: number for number, token in enumerate(dict.fromkeys(t for s in sentences for t in s), 1)}
        steps = [np.array([forms[token] for token in sentence], dtype=np.int32) for sentence in sentences]
        self._packed = Packed.of(steps, classes)
        numbers = lexicon.encode(list(forms))
        self._table = np.concatenate([np.zeros_like(numbers[:1]), numbers])  # 0 is padding
        self._columns = np.count_nonzero(self._table[:, 2:], axis=1) + 2  # that hold anything
        counts = np.bincount(self._table[np.concatenate(steps), 0], minlength=lexicon.vocabulary)
        self._chance = (rate / (rate + np.maximum(counts, 1)))[self._table[:, 0]] if rate else None
        self.lengths, self._seed, self._epoch = self._packed.lengths, seed, -1

    def of_epoch(self, epoch: int) -> "TokenExamples":
        """Return the same sentences with the words hidden that an epoch hides."""
        if self._chance is None:
            return self
        drawn = copy.copy(self)
        drawn._epoch = epoch
        return drawn

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows: inputs (B, T, 2 + L), L the characters of the longest word. Work O(B T letters)."""
        batch = self._packed.batch(rows)
        forms = batch.inputs.numpy()
        inputs = self._table[forms, : self._columns[forms].max()].astype(np.int64)
        if self._chance is not None and self._epoch >= 0:
            for line, row in enumerate(rows):
                length = int(self.lengths[row])
                # raw words alone, so that no change of NumPy's samplers can change a draw; part 0 orders the rows
                draws = stream(self._seed, self._epoch, part=int(row) + 1).random_raw(length) / 2.0**64
                inputs[line, :length, 0][draws < self._chance[forms[line, :length]]] = _UNKNOWN
        return batch._replace(inputs=torch.from_numpy(inputs))

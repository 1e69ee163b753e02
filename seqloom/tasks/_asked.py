"""A question and what is asked about, as one sequence of steps: words, characters of Chinese, and what they share."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from seqloom.data.splits import grouped

# Han, kana and compatibility ideographs are words of their own; all else by spaces and punctuation
_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_PIECE = re.compile(rf"[{_SINGLE}]|[^\W{_SINGLE}]+|[^\w\s]")
_HAN = re.compile(rf"[{_SINGLE}]")

UNKNOWN, SEPARATOR, _FIRST = 0, 1, 2  # numbers of words: those of the list begin at 2
QUESTION, BETWEEN, PASSAGE = range(3)  # the first small number: which part a step is of
_WORDS = 50_000  # whose rarity is kept, at most
_STEM = 5  # letters that words of the same family share
_RARITIES = 6  # buckets of log(passages / passages that hold the word)
_RUN = 4  # steps in a row that the other part also has, at most told
_SHARES = 8  # buckets of the share of the question that stands near a step
_SHAPES = 6
QUESTION_SHARE = 4  # a question may take a quarter of the steps
FEATURES = (3, 3, _RARITIES, _RUN + 1, _SHARES, _SHAPES)


class Pieces(NamedTuple):
    """A text cut into words and characters."""

    words: list[str]  # in lower case
    start: np.ndarray  # (T,) where each begins in the text
    end: np.ndarray  # (T,)
    shape: np.ndarray  # (T,) of its spelling: lower case, Capital, CAPITALS, digits, punctuation, a single character

    def first(self, count: int) -> "Pieces":
        """Return the first of them."""
        return Pieces(self.words[:count], self.start[:count], self.end[:count], self.shape[:count])


def pieces(text: str) -> Pieces:
    """Cut a text: words of letters and digits, single characters of Chinese and Japanese, single marks."""
    found = [(match.group(), *match.span()) for match in _PIECE.finditer(text)]
    return Pieces(
        [word.lower() for word, _, _ in found],
        np.array([start for _, start, _ in found], dtype=np.int64),
        np.array([end for _, _, end in found], dtype=np.int64),
        np.array([_shape(word) for word, _, _ in found], dtype=np.int64),
    )


def by_characters(texts: Iterable[str]) -> bool:
    """Return whether texts are in a script without spaces: a third of their characters are such."""
    found = [(len(_HAN.findall(text)), len(text)) for text in texts]
    return 3 * sum(single for single, _ in found) >= sum(whole for _, whole in found)


def _shape(word: str) -> int:
    if not word[0].isalnum():
        return 4
    if _HAN.match(word):
        return 5
    if word[0].isdigit():
        return 3
    return 0 if not word[0].isupper() else 2 if len(word) > 1 and word.isupper() else 1


class Asked:
    """The words that are known, how rare each is, and how a question and a passage become steps.

    A step is the number of its word and six small ones: the part it is of; whether the other part has the word (2), or
    one that begins with the same five letters (1); how rare it is; how many steps in a row the other part also has;
    the share of the question's words, weighed by rarity, that stand within `reach` of it; its spelling.

    The first are the input features of Chen et al. 2017 (arXiv 1704.00051), the share is that of Yih et al. 2013.

    Args:
        words: whose rarity is known, the most frequent first.
        rarity: log(passages / passages that hold the word) of each, and of an unknown one last.
        numbered: how many of the words have a number of their own, from 2; the others share that of the unknown.
        reach: steps to each side; None: the whole passage.
    """

    def __init__(self, words: Sequence[str], rarity: Sequence[float], numbered: int, reach: int | None) -> None:
        self.words, self.rarity, self.numbered, self.reach = list(words), list(rarity), numbered, reach
        self._number = {word: number for number, word in enumerate(self.words[:numbered], _FIRST)}
        self._rarity = dict(zip(words, rarity, strict=False))

    @classmethod
    def learn(
        cls, passages: Sequence[Pieces], questions: Sequence[Pieces], vocabulary: int, reach: int | None
    ) -> "Asked":
        """Learn from the training split: words that come twice, and in how many passages each is."""
        counts: Counter[str] = Counter()
        for part in (*passages, *questions):
            counts.update(part.words)
        holding = Counter(word for part in passages for word in set(part.words))
        n = len(passages)
        kept = [word for word, count in counts.most_common(_WORDS) if count > 1]
        rarity = [round(math.log((n + 1) / (holding[word] + 1)), 4) for word in kept]
        return cls(kept, [*rarity, round(math.log(n + 1), 4)], min(len(kept), vocabulary - _FIRST), reach)

    @property
    def vocabulary(self) -> int:
        """Return how many numbers of words there are."""
        return self.numbered + _FIRST

    def to_data(self) -> dict[str, Any]:
        """Return JSON values, arguments of the class."""
        return {"words": self.words, "rarity": self.rarity, "numbered": self.numbered, "reach": self.reach}

    def weigh(self, words: Iterable[str]) -> np.ndarray:
        """Return how rare each word is; marks weigh nothing."""
        unknown = self.rarity[-1]
        return np.array([self._rarity.get(w, unknown) if w[0].isalnum() else 0.0 for w in words], dtype=np.float64)

    def shared(self, question: Pieces, passage: Pieces) -> float:
        """Return the share of the question's words that stand in the passage, weighed by rarity."""
        words = sorted(set(question.words))
        weight = self.weigh(words)
        held = set(passage.words)
        return float(weight[[word in held for word in words]].sum() / max(weight.sum(), 1e-9))

    def near(self, question: Pieces, passage: Pieces, reach: int | None) -> np.ndarray:
        """Return the share of the question's words, weighed by rarity, within reach of each step of the passage."""
        words = sorted(set(question.words) & set(passage.words))
        whole = self.weigh(sorted(set(question.words))).sum()
        steps = len(passage.words)
        found = np.zeros(steps)
        at: dict[str, list[int]] = {}
        for i, word in enumerate(passage.words):
            at.setdefault(word, []).append(i)
        for word, weight in zip(words, self.weigh(words), strict=True):
            change = np.zeros(steps + 1)
            for i in at[word]:
                low, high = (0, steps) if reach is None else (max(0, i - reach), min(steps, i + reach + 1))
                change[low] += 1
                change[high] -= 1
            found += weight * (np.cumsum(change[:-1]) > 0)
        return found / max(whole, 1e-9)

    def steps(self, question: Pieces, passage: Pieces) -> np.ndarray:
        """Return the steps of question, separator and passage, (Q + 1 + P, 7) int32."""
        rows = np.zeros((len(question.words) + 1 + len(passage.words), 1 + len(FEATURES)), dtype=np.int32)
        rows[len(question.words), :2] = SEPARATOR, BETWEEN
        halves = (rows[: len(question.words)], rows[len(question.words) + 1 :])
        both = (question, passage)
        for part, here, own, other in zip((QUESTION, PASSAGE), halves, both, reversed(both), strict=True):
            here[:, 0] = [self._number.get(word, UNKNOWN) for word in own.words]
            here[:, 1] = part
            words, stems = set(other.words), {word[:_STEM] for word in other.words if len(word) >= _STEM}
            here[:, 2] = [2 if word in words else int(word[:_STEM] in stems) for word in own.words]
            here[:, 3] = np.minimum(self.weigh(own.words), _RARITIES - 1)
            here[:, 4] = runs(own.words, other.words)
            here[:, 6] = own.shape
        halves[1][:, 5] = np.minimum(self.near(question, passage, self.reach) * _SHARES, _SHARES - 1)
        return rows


def runs(own: list[str], other: list[str]) -> np.ndarray:
    """Return for each word how long the longest stretch around it is that both texts have, at most 4. Work O(T)."""
    found = np.zeros(len(own), dtype=np.int64)
    starts, others = range(len(own)), range(len(other))
    for length in range(1, _RUN + 1):
        # a stretch can only be longer where it was one step shorter
        theirs = {tuple(other[i : i + length]) for i in others if i + length <= len(other)}
        starts = [i for i in starts if i + length <= len(own) and tuple(own[i : i + length]) in theirs]
        mine = {tuple(own[i : i + length]) for i in starts}
        others = [i for i in others if tuple(other[i : i + length]) in mine]
        for i in starts:
            found[i : i + length] = length
    return found


class Window(NamedTuple):
    """One stretch of a passage behind its question."""

    steps: np.ndarray  # (T, 7)
    first: int  # piece of the passage that its first step is
    asked: int  # steps of the question: the separator stands there, and means no answer


def cut_windows(asked: Asked, question: Pieces, passage: Pieces, longest: int, stride: int) -> list[Window]:
    """Return windows of at most `longest` steps that cover the passage, each `stride` pieces behind the one before."""
    question = question.first(longest // QUESTION_SHARE)
    whole = asked.steps(question, passage).astype(np.uint16)
    head, count = len(question.words) + 1, len(passage.words)
    room = longest - head
    firsts = range(0, max(count - room, 0) + stride, stride)
    return [
        Window(np.concatenate([whole[:head], whole[head + first : head + first + room]]), first, head - 1)
        for first in firsts
    ]


def span_in(window: Window, passage: Pieces, spans: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Return the first and the last step of the answer that is given most often; the separator where it is not here."""
    nowhere = (window.asked, window.asked)
    if not spans:
        return nowhere
    start, end = Counter(spans).most_common(1)[0][0]
    first = int(np.searchsorted(passage.end, start, side="right"))
    last = int(np.searchsorted(passage.start, end, side="left")) - 1
    shown = len(window.steps) - window.asked - 1
    if not window.first <= first <= last < window.first + shown:
        return nowhere
    return first - window.first + window.asked + 1, last - window.first + window.asked + 1


def split(
    task: Any, files: list[np.ndarray], about: np.ndarray, own: np.ndarray, seed: int, subject: str
) -> tuple[list[np.ndarray], int]:
    """Return the rows of training, validation and test, and how many were dropped as repetitions.

    Test keeps all of its rows. Training and validation hold an equal row once, and none that stands in a later part.

    Args:
        task: says which of dev and test have files of their own.
        files: rows of each file, in the order data, dev, test.
        about: (n,) key of what rows are kept together by where a file is split.
        own: (n,) key of each row.
        seed: of the split.
        subject: what `about` is, in words, for a message.

    Raises:
        ValueError: there is too little to split, or nothing is left of a part.
    """
    data, *others = files
    test = others.pop() if task.test is not None else None
    validation = others.pop() if task.dev is not None else None
    missing = [task.validation for part in (validation, test) if part is None]
    if len(np.unique(about[data])) <= len(missing):
        raise ValueError(
            f"'{task.data}' has rows of {len(np.unique(about[data]))} {subject}, and none may stand in two of "
            f"{len(missing) + 1} splits; give more, or files of their own with --dev and --test"
        )
    drawn = [data[rows] for rows in grouped(about[data], None, (1 - sum(missing), *missing), seed)]
    train, *rest = drawn
    validation = rest.pop(0) if validation is None else validation
    test = rest.pop(0) if test is None else test
    parts: list[np.ndarray] = []
    known = np.zeros(0, dtype=own.dtype)
    for name, rows in (("test", test), ("validation", validation), ("training", train)):
        kept = rows if name == "test" else rows[np.sort(np.unique(own[rows], return_index=True)[1])]
        parts.insert(0, kept[~np.isin(own[kept], known)])
        known = np.concatenate([known, own[kept]])
        if not len(parts[0]):
            raise ValueError(f"every row of {name} stands in the other files too; give files that are not the same")
    return parts, sum(map(len, files)) - sum(map(len, parts))

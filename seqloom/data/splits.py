"""Splits: which rows are for training, validation and test, so that no example stands in two of them."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from seqloom.data.batches import shuffled, stream


def stratified(labels: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Return the rows of each part, ascending, every class shared out alike and at least one row of it to each part.

    Args:
        labels: (n,) class numbers.
        shares: of each part; they sum to 1.
        seed: the same one gives the same split.

    Raises:
        ValueError: a class has fewer rows than there are parts.
    """
    words, last = stream(seed), len(shares) - 1
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < len(shares):
            raise ValueError(f"class {label} has {len(rows)} rows, too few to share out to {len(shares)} parts")
        rows = rows[shuffled(words, len(rows))]
        cuts = np.round(np.cumsum(shares)[:-1] * len(rows)).astype(int)
        for i in range(last):
            cuts[i] = max(cuts[i], i + 1, cuts[i - 1] + 1 if i else 1)
        cuts = np.minimum(cuts, len(rows) - last + np.arange(last))
        for part, piece in zip(parts, np.split(rows, cuts), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]


def keys(examples: Iterable[str | bytes | np.ndarray]) -> np.ndarray:
    """Return a number (n,) uint64 of each example, the same for equal ones: 8 bytes of its BLAKE2b hash.

    Of ten million different examples two share a number with probability 3e-6. Normalise the examples before: what the
    model cannot tell apart is one example.
    """
    found = (hashlib.blake2b(_bytes(example), digest_size=8).digest() for example in examples)
    return np.frombuffer(b"".join(found), dtype="<u8")


def _bytes(example: str | bytes | np.ndarray) -> bytes:
    if isinstance(example, np.ndarray):
        return f"{example.dtype.str}{example.shape}".encode() + example.tobytes()
    return example.encode("utf-8", "surrogatepass") if isinstance(example, str) else example


def grouped(keys: np.ndarray, labels: np.ndarray | None, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Return the rows of each part as `stratified` does, rows of equal key all in one part.

    Without equal keys it is `stratified`; with some, the shares are of the different keys. A key with several labels
    counts for the rarest of them. Work O(n log n).

    Args:
        keys: (n,) of each row; see `keys`.
        labels: (n,) class numbers; None: there are no classes to share out alike.
        shares: of each part; they sum to 1.
        seed: the same one gives the same split.

    Raises:
        ValueError: a class has fewer keys than there are parts.
    """
    labels = np.zeros(len(keys), dtype=np.int64) if labels is None else labels
    first, group = _groups(keys)
    often = np.bincount(labels)[labels]
    rarest = labels[first].copy()
    if len(first) < len(keys):
        order = np.lexsort((labels, often, group))  # in each group the rarest label first
        rarest = labels[order[np.searchsorted(group[order], np.arange(len(first)))]]
    part_of = np.empty(len(first), dtype=np.int64)
    for number, chosen in enumerate(stratified(rarest, shares, seed)):
        part_of[chosen] = number
    return [np.flatnonzero(part_of[group] == number) for number in range(len(shares))]


def without(keys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the rows (ascending) whose keys are none of others': training rows, without those of a given test set."""
    return np.flatnonzero(~np.isin(keys, others))


def repeated(keys: np.ndarray) -> int:
    """Return how many rows repeat an earlier one."""
    return len(keys) - len(np.unique(keys))


def conflicting(keys: np.ndarray, labels: np.ndarray) -> int:
    """Return how many keys stand there with more than one label."""
    pairs = np.unique(np.stack([keys, labels.astype(keys.dtype)], axis=1), axis=0)
    return int(np.sum(np.unique(pairs[:, 0], return_counts=True)[1] > 1))


def _groups(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (the first row of each key, in the rows' order, and the number of each row's key among these)."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse]


def by_time(steps: int, split: tuple[float, float, float], least: int) -> tuple[int, int, int]:
    """Return the step behind the last of training, validation and test, which follow each other.

    Args:
        steps: in all.
        split: shares of the parts, which sum to 1, or their numbers of steps; what these leave at the end is unused.
        least: steps that validation and test must have: the horizon of what is forecast there.

    Raises:
        ValueError: more steps are asked for than there are, or validation or test has fewer than `least`.
    """
    if max(split) >= 1:
        train, validation, test = map(int, split)
        if train + validation + test > steps:
            raise ValueError(f"split {split} asks for {train + validation + test} steps and there are {steps}")
    else:
        train, validation = int(steps * split[0]), round(steps * split[1])
        test = steps - train - validation
    for name, part in (("validation", validation), ("test", test)):
        if part < least:
            raise ValueError(
                f"the {name} part has {part} of the {steps} steps, fewer than the horizon of {least}; give a shorter "
                "--horizon, a larger share with --split, or more rows"
            )
    return train, train + validation, train + validation + test

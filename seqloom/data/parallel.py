"""Parallel text of users: two files of which line i translates line i, or one table of two columns.

Rows in = rows used + rows rejected, as in `seqloom.data.files`. Lines are those of `seqloom.data.text.split_lines`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seqloom.data.files import REJECTED_SHARE, read_table
from seqloom.data.formats import Column
from seqloom.data.records import Reject
from seqloom.data.text import digest, read_bytes, read_text, split_lines

_SHOWN = 5  # rejects that a message tells of


@dataclass(frozen=True)
class Parallel:
    """Pairs of texts, stripped of blanks around them, and what became of the other lines."""

    name: str  # of the files, for messages
    source: list[str]
    target: list[str]
    rejects: list[Reject]
    rows_in: int  # pairs + rejects
    digests: tuple[str, ...]  # of the files' contents

    def __len__(self) -> int:
        return len(self.source)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return (source, target) of each row."""
        return list(zip(self.source, self.target, strict=True))


def read_parallel(source: str, target: str, encoding: str = "utf-8", allow_rejects: bool = False) -> Parallel:
    """Read two files whose lines are translations of each other; a pair with an empty side is rejected.

    Args:
        source: file of what is translated, also .gz.
        target: file of its translations.
        encoding: of both.
        allow_rejects: whether to go on with more than REJECTED_SHARE of the pairs rejected.

    Raises:
        ValueError: a file cannot be read or is not in that encoding, the files have different numbers of lines, or too
            many pairs are rejected.
    """
    if source == target:
        raise ValueError(f"source and target are both '{source}'; give the file of each language")
    sides = [[line.strip() for line in split_lines(read_text(path, encoding))] for path in (source, target)]
    if len(sides[0]) != len(sides[1]):
        raise ValueError(
            f"'{source}' has {len(sides[0])} lines and '{target}' has {len(sides[1])}: line i of one must translate "
            "line i of the other; give files of equal length, an untranslated line left empty"
        )
    kept: tuple[list[str], list[str]] = ([], [])
    rejects: list[Reject] = []
    for line, pair in enumerate(zip(*sides, strict=True), start=1):
        empty = [side for side, text in zip(("source", "target"), pair, strict=True) if not text]
        if empty:
            rejects.append(Reject(line, f"the {' and the '.join(empty)} {'are' if empty[1:] else 'is'} empty"))
            continue
        for side, text in zip(kept, pair, strict=True):
            side.append(text)
    _check(f"'{source}' and '{target}'", rejects, len(sides[0]), allow_rejects)
    digests = tuple(digest(read_bytes(path)) for path in (source, target))
    return Parallel(f"{source} {target}", *kept, rejects, len(sides[0]), digests)


def read_pairs(
    path: str,
    columns: Sequence[Column],
    encoding: str = "utf-8",
    header: bool | None = None,
    allow_rejects: bool = False,
) -> Parallel:
    """Read a table of two columns, as `read_table` does.

    Raises:
        ValueError: as `read_table`.
    """
    table = read_table(path, columns, encoding=encoding, header=header, allow_rejects=allow_rejects)
    source, target = ([text.strip() for text in table.rows[column]] for column in columns)
    return Parallel(path, source, target, table.rejects, table.rows_in, (table.digest,))


class Kept(NamedTuple):
    """What `without` leaves of training, validation and test."""

    rows: list[np.ndarray]  # ascending, of each part
    repeated: int  # pairs of training left out because it holds them already
    shared: list[int]  # of each part, the pairs left out because a later one holds them or their source
    exact: list[int]  # of these, the pairs that a later part holds just so
    known: int  # pairs that stay in training though validation has their source, with another translation


def without(train: Parallel, validation: Parallel | None, test: Parallel | None) -> Kept:
    """Return the rows to keep, so that no pair stands in two parts, and no source of test in another part.

    A pair stays in the last part that holds it; one whose source stands in test goes too, whatever its translation.
    Against validation pairs are compared, which choose among models and are no figure; but where no test is given, it
    is drawn from what stays of training, and that shares no source with validation either. In training a pair stays
    once. All comparisons are of exact texts.

    Args:
        train: pairs to learn from.
        validation: None: a part of training.
        test: likewise.
    """
    pairs = [part.pairs if part is not None else [] for part in (train, validation, test)]
    of_test, of_validation = ({source for source, _ in pairs[place]} for place in (2, 1))
    barred = [of_test if test is not None else of_validation, of_test, set[str]()]
    later = [{*pairs[1], *pairs[2]}, set(pairs[2]), set[tuple[str, str]]()]
    fits = [
        [row for row, pair in enumerate(part) if pair not in held and pair[0] not in sources]
        for part, held, sources in zip(pairs, later, barred, strict=True)
    ]
    first = {pairs[0][row]: row for row in reversed(fits[0])}
    kept = [sorted(first.values()), *fits[1:]]
    return Kept(
        rows=[np.array(rows, dtype=np.int64) for rows in kept],
        repeated=len(fits[0]) - len(first),
        shared=[len(part) - len(rows) for part, rows in zip(pairs, fits, strict=True)],
        exact=[sum(pair in held for pair in part) for part, held in zip(pairs, later, strict=True)],
        known=sum(pairs[0][row][0] in of_validation for row in kept[0]),
    )


def by_source(part: Parallel, rows: np.ndarray) -> list[list[int]]:
    """Return rows in groups of one source text each, as they come: a text's translations belong in one split."""
    groups: dict[str, list[int]] = {}
    for row in rows.tolist():
        groups.setdefault(part.source[row], []).append(row)
    return list(groups.values())


def _check(names: str, rejects: list[Reject], rows_in: int, allow_rejects: bool) -> None:
    few = len(rejects) <= REJECTED_SHARE * rows_in or allow_rejects
    if len(rejects) < rows_in and few:
        return
    shown = "; ".join(f"line {line}: {reason}" for line, reason in rejects[:_SHOWN])
    more = f"; and {len(rejects) - _SHOWN} more" if len(rejects) > _SHOWN else ""
    some = f"more than {REJECTED_SHARE:.1%} of them; correct them, or add --allow-rejects"
    rule = some if len(rejects) < rows_in else "all of them"
    raise ValueError(f"{names}: {len(rejects)} of {rows_in} pairs cannot be used, {rule}. {shown}{more}")

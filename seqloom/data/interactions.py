"""Interactions: what each user chose, in time order, from lines of `user item item ...` or a table with times.

A line `7 43 12 5` is user 7, who chose 43 first; the same as a table: rows (7, 43), (7, 12), (7, 5) with rising times.
Names are any words; they keep their spelling.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from seqloom.core.types import IGNORED
from seqloom.data import inputs
from seqloom.data.batches import Batch, Examples, Packed
from seqloom.data.files import Table, check_rejects, read_table
from seqloom.data.formats import Column
from seqloom.data.records import Reject
from seqloom.data.text import decode, digest, read_bytes, split_lines


@dataclass(frozen=True)
class Interactions:
    """Sequences of item numbers, one a user, and what became of the rows of the file."""

    users: list[str]  # names
    items: list[str]  # names; item i is items[i]
    sequences: list[np.ndarray]  # (T,) int64 item numbers of each user, oldest first
    rows_in: int  # rows used + rows rejected
    rows_used: int
    rejects: list[Reject]  # as many as are listed
    duplicates: int  # rows of a table, used, that say again the same user, item and time: counted once
    tied: int  # interactions of a table at the same time as the user's one before: they keep the file's order
    digest: str  # of the file's content, unpacked

    def __len__(self) -> int:
        """Return the number of interactions."""
        return sum(map(len, self.sequences))


def read_lines(path: str | Path, *, encoding: str = "utf-8", allow_rejects: bool = False) -> Interactions:
    """Read lines of `user item item ...`, oldest item first, blanks between; empty lines are no rows.

    A line without an item, and a user's second line, are rejected.

    Raises:
        ValueError: the file cannot be read, or too many lines are rejected; most of them, whatever is allowed.
    """
    path = Path(path)
    content = read_bytes(path)
    rows = [row for row in _histories(split_lines(decode(content, path, encoding))) if row is not None]
    rejects = [row for row in rows if isinstance(row, Reject)]
    named = {row[0]: row[1:] for row in rows if isinstance(row, list)}
    if not named and not rejects:
        raise ValueError(f"'{path}' holds only blanks; give lines of `user item item ...`")
    if len(rejects) > len(named):
        raise ValueError(
            f"'{path}': {len(rejects)} of {len(named) + len(rejects)} lines are no `user item item ...`, the first is "
            f"line {rejects[0].line}: {rejects[0].reason}. If each line is one interaction, name the columns and what "
            "separates them, e.g. --user 0 --item 1 --time 3 --delimiter tab"
        )
    check_rejects(path, rejects, len(named) + len(rejects), allow_rejects)
    numbers: dict[str, int] = {}
    sequences = [np.array([numbers.setdefault(item, len(numbers)) for item in items]) for items in named.values()]
    return Interactions(
        users=list(named),
        items=list(numbers),
        sequences=sequences,
        rows_in=len(named) + len(rejects),
        rows_used=len(named),
        rejects=rejects,
        duplicates=0,
        tied=0,
        digest=digest(content),
    )


def read_histories(path: str | Path, encoding: str = "utf-8") -> Iterator[list[str] | Reject]:
    """Give [user, item, item, ...] of each line of a file, or why it is none.

    Raises:
        ValueError: the file cannot be read.
    """
    for number, row in enumerate(_histories(inputs.read_lines(path, encoding)), 1):
        yield row or Reject(number, inputs.BLANK)


def _histories(lines: Iterable[str | Reject]) -> Iterator[list[str] | Reject | None]:
    """Give [user, item, item, ...] of each line, or why it is none; None: the line is blank."""
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        words = [] if isinstance(line, Reject) else line.split()
        if not words:
            yield line if isinstance(line, Reject) else None
        elif words[0] in first:
            yield Reject(number, f"user '{words[0][:40]}' has line {first[words[0]]} already")
        elif len(words) == 1:
            yield Reject(number, f"user '{words[0][:40]}' has no item")
        else:
            first[words[0]] = number
            yield words


def read_ratings(
    path: str | Path,
    user: Column,
    item: Column,
    time: Column | None,
    *,
    encoding: str = "utf-8",
    header: bool | None = None,
    delimiter: str | None = None,
    allow_rejects: bool = False,
) -> Interactions:
    """Read a table with one interaction a row, and put each user's in the order of time.

    Rows at the same time keep the file's order. A row that says again what another says (user, item and time) counts
    once; without times no row is taken for said again. Times are numbers, or dates as ISO 8601 writes them.

    Args:
        path: the file, as `read_table` takes it.
        user, item, time: columns, by name or number from 0; time None: the rows stand in time order.
        encoding, header, delimiter, allow_rejects: as of `read_table`.

    Raises:
        ValueError: the table cannot be read, or too many rows are rejected; a time that is none rejects its row.
    """
    columns = [user, item] if time is None else [user, item, time]
    table = read_table(
        path, columns, encoding=encoding, header=header, delimiter=delimiter, allow_rejects=allow_rejects
    )
    users, who = _numbered(table.rows[user])
    items, what = _numbered(table.rows[item])
    when, rejects = (np.arange(len(table), dtype=np.float64), []) if time is None else _times(table, time)
    rejects = sorted([*table.rejects, *rejects])
    rows = np.flatnonzero(np.isfinite(when))
    used = len(rows)
    check_rejects(table.path, rejects, table.rows_in, allow_rejects, table.rows_in - used)
    rows = rows[np.lexsort((what[rows], when[rows], who[rows]))]
    again = (np.diff(who[rows]) == 0) & (np.diff(what[rows]) == 0) & (np.diff(when[rows]) == 0)
    rows = np.sort(np.delete(rows, np.flatnonzero(again) + 1))
    rows = rows[np.lexsort((when[rows], who[rows]))]  # stable: the file's order within a time
    tied = int(np.sum((np.diff(who[rows]) == 0) & (np.diff(when[rows]) == 0)))
    found, begins = np.unique(who[rows], return_index=True)
    return Interactions(
        users=[users[number] for number in found],
        items=items,
        sequences=np.split(what[rows], begins[1:]),
        rows_in=table.rows_in,
        rows_used=used,
        rejects=rejects,
        duplicates=used - len(rows),
        tied=tied,
        digest=table.digest,
    )


def core(data: Interactions, k: int) -> Interactions:
    """Keep users and items with at least k interactions, again and again until all left have them (the k-core).

    Work O(interactions) a round; rounds are few.
    """
    sequences, users = data.sequences, data.users
    while True:
        counts = np.bincount(np.concatenate([*sequences, np.zeros(0, np.int64)]), minlength=len(data.items))
        kept = [sequence[counts[sequence] >= k] for sequence in sequences]
        stay = [i for i, sequence in enumerate(kept) if len(sequence) >= k]
        changed = len(stay) < len(sequences) or any(len(a) < len(b) for a, b in zip(kept, sequences, strict=True))
        sequences, users = [kept[i] for i in stay], [users[i] for i in stay]
        if not changed:
            return _renumbered(data, users, sequences)


def lasting(data: Interactions, length: int) -> Interactions:
    """Keep users with at least so many interactions."""
    stay = [i for i, sequence in enumerate(data.sequences) if len(sequence) >= length]
    return _renumbered(data, [data.users[i] for i in stay], [data.sequences[i] for i in stay])


def _renumbered(data: Interactions, users: list[str], sequences: list[np.ndarray]) -> Interactions:
    """Return the interactions of some users, with the items that are left numbered anew, in their order."""
    left = np.unique(np.concatenate([*sequences, np.zeros(0, np.int64)]))
    place = np.zeros(len(data.items), dtype=np.int64)
    place[left] = np.arange(len(left))
    return dataclasses.replace(
        data,
        users=users,
        items=[data.items[i] for i in left],
        sequences=[place[sequence] for sequence in sequences],
    )


def _numbered(cells: list[str]) -> tuple[list[str], np.ndarray]:
    numbers: dict[str, int] = {}
    of_rows = np.array([numbers.setdefault(cell.strip(), len(numbers)) for cell in cells], dtype=np.int64)
    return list(numbers), of_rows


def _times(table: Table, column: Column) -> tuple[np.ndarray, list[Reject]]:
    """Return the time of each row, NaN where a cell is none, and the rejects; the first row says how times are told."""
    cells = [cell.strip() for cell in table.rows[column]]
    tell, example = (_number, "a number") if np.isfinite(_number(cells[0])) else (_date, "such as 2024-05-31T12:00")
    when = np.array([tell(cell) for cell in cells])
    reason = f"in column '{column}' is no time as the first row's is, {example}"
    rejects = [
        Reject(int(table.line[row]), f"'{cells[row][:40]}' {reason}") for row in np.flatnonzero(~np.isfinite(when))
    ]
    return when, rejects


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _date(cell: str) -> float:
    """Return the seconds since 1970 of a date; without a zone as if in UTC, which keeps the order of such dates."""
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Histories(Examples):
    """Stretches of sequences for a model to read, of which each also knows all that came before its end.

    Args:
        stretches: (T,) int64 tokens each, at least one; the target of a stretch is asked at its last step, or at all.
        targets: (T,) tokens or IGNORED, of each step.
        before: all tokens of the user up to a stretch's end, of which the stretch is the last part.
    """

    def __init__(
        self, stretches: Sequence[np.ndarray], targets: Sequence[np.ndarray], before: Sequence[np.ndarray]
    ) -> None:
        self._packed = Packed.of(list(stretches), list(targets))
        self.lengths = self._packed.lengths
        self._parts = stretches, targets, before

    def batch(self, rows: np.ndarray) -> Batch:
        """Collate rows, padded to the longest of them. Work O(B T)."""
        return self._packed.batch(rows)

    def select(self, rows: np.ndarray) -> "Histories":
        """Return the split of some of the rows, numbered anew."""
        return Histories(*([part[row] for row in rows] for part in self._parts))

    def before(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return all tokens up to the end of each row."""
        return [self._parts[2][row] for row in rows]


def learning(sequences: Sequence[np.ndarray], length: int) -> Histories:
    """Return sequences cut from their ends into stretches of `length` steps, each step's target the next token."""
    cuts = [
        (sequence, max(0, end - length), end) for sequence in sequences for end in range(len(sequence) - 1, 0, -length)
    ]
    return Histories(
        [sequence[begin:end] for sequence, begin, end in cuts],
        [sequence[begin + 1 : end + 1] for sequence, begin, end in cuts],
        [sequence[:end] for sequence, _, end in cuts],
    )


def asking(sequences: Sequence[np.ndarray], length: int) -> Histories:
    """Return the last `length` steps before each sequence's last token, which is asked for at the last of them."""
    stretches = [sequence[:-1][-length:] for sequence in sequences]
    targets = [np.full(len(stretch), IGNORED) for stretch in stretches]
    for target, sequence in zip(targets, sequences, strict=True):
        target[-1] = sequence[-1]
    return Histories(stretches, targets, [sequence[:-1] for sequence in sequences])


def overlaps(tokens: list[np.ndarray]) -> dict[str, int]:
    """Return how many sequences stand at the beginning of one's training part, and how many last ones never in any.

    The training part is all but the last two. Work O(interactions).
    """
    begun = {digest for sequence in tokens for digest in _beginnings(sequence[:-2])}
    known = set(np.concatenate([sequence[:-2] for sequence in tokens]).tolist())
    return {
        "test_also_in_training": sum(_beginnings(sequence)[-1] in begun for sequence in tokens),
        "test_items_never_in_training": sum(int(sequence[-1]) not in known for sequence in tokens),
    }


def _beginnings(sequence: np.ndarray) -> list[int]:
    """Return a number for each beginning of a sequence, equal for equal ones; work O(T)."""
    return list(itertools.accumulate(sequence.tolist(), lambda begun, token: hash((begun, token)), initial=0))[1:]

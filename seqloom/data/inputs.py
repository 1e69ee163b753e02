"""What a user asks a trained run: the lines of a text file or the rows of a table, in their order, none left out.

What cannot be read stands in its place as a Reject, so that answers stand beside what they answer.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from seqloom.data.files import Rows
from seqloom.data.formats import Column, is_table
from seqloom.data.lines import TextFile
from seqloom.data.records import TOO_LONG, Reject
from seqloom.data.text import split_lines

BLANK = "the line is blank"  # why such a line has no answer, where it has none


class Line(str):
    """A text, and where it stands in its file."""

    line: int  # from 1; where a row of several lines begins

    def __new__(cls, text: str, line: int) -> Self:
        """Return the text with its line."""
        made = super().__new__(cls, text)
        made.line = line
        return made


def read_lines(path: str | Path, encoding: str = "utf-8") -> Iterator[Line | Reject]:
    """Give each line of a text file, plain or gzip, one in memory at a time; blank ones too, each as `split_lines`.

    A line with a NUL byte, or longer than LONGEST, is a Reject.

    Args:
        path: the file.
        encoding: of the file.

    Raises:
        ValueError: the file is missing, unreadable or empty, or not in that encoding.
    """
    for number, line in enumerate(TextFile(Path(path), encoding, newline="\n"), 1):
        if line is None:
            yield Reject(number, TOO_LONG)
        elif "\0" in line:
            yield Reject(number, "a NUL byte")
        else:
            yield Line("".join(split_lines(line)), number)


def read_inputs(
    path: str | Path,
    column: Column,
    *,
    encoding: str = "utf-8",
    header: bool | None = None,
    delimiter: str | None = None,
) -> Iterator[Line | Reject]:
    """Give the cell of a column in each row of a table, and of a file that is none each line, but blank ones.

    What cannot be used is a Reject, a blank line with the reason BLANK.

    Args:
        path: the file; its name, or that there is a delimiter, tells whether it is a table.
        column: of a table: name, or number from 0.
        encoding, header, delimiter: as of `read_table`.

    Raises:
        ValueError: the file cannot be read, or has no such column.
    """
    if not is_table(path, delimiter):
        for line in read_lines(path, encoding):
            blank = isinstance(line, Line) and not line.strip()
            yield Reject(line.line, BLANK) if blank else line
        return
    for record in Rows(path, [column], encoding=encoding, header=header, delimiter=delimiter).every():
        yield record if isinstance(record, Reject) else Line(record[1][0], record[0])

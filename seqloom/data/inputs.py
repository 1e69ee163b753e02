"""What a user asks a trained run: the lines of a text file in their order, none left out; tables in `data.files`.

What cannot be read stands in its place as a Reject, so that answers stand beside what they answer.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

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

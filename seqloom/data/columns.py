"""Columns that a table lacks: who asked for one says by which setting, so that its user knows what to change."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

Column = str | int  # a name, or a number from 0

P = ParamSpec("P")
R = TypeVar("R")


class NoColumn(ValueError):
    """A table has no such column.

    Args:
        column: the one that was asked for.
        path: of the table.
        rest: what there is instead, and what to do.
        option: that chooses the column; empty: not known.
    """

    def __init__(self, column: Column, path: Path, rest: str, option: str = "") -> None:
        self.column, self.path, self.rest = column, path, rest
        shown = f"'{column}'" if isinstance(column, str) else column
        super().__init__(f"no column {shown}{f' ({option})' if option else ''} in '{path}'{rest}".rstrip())


def chosen_by(*settings: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of a task's method: a missing column's message names the option whose value it is.

    Args:
        settings: of the task, whose values are a column or several.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(method)
        def told(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return method(*args, **kwargs)
            except NoColumn as error:
                given = {name: getattr(args[0], name) for name in settings}
                option = next((name for name, value in given.items() if _names(value, error.column)), "")
                option = f"--{option.replace('_', '-')}" if option else ""
                raise NoColumn(error.column, error.path, error.rest, option) from None

        return told

    return decorate


def _names(value: object, column: Column) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return str(column) in map(str, values)

"""What the command line shows: JSON for programs, tables for people, progress on standard error."""

import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Answer:
    """What a verb found: data for --json, text for people."""

    data: Any
    text: str


LINE_EVERY_S = 5.0  # where standard error is no terminal, one plain line of progress this often


def to_json(data: Any) -> str:
    """Return one JSON document; what is not finite becomes null, since JSON has no word for it."""
    return json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return _plain(value.item())
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return an aligned table; columns whose every entry begins like a number stand right."""
    if not rows:
        return "  ".join(header)
    right = [all(_numeric(row[i]) for row in rows) for i in range(len(header))]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _numeric(text: str) -> bool:
    return not text or text[0].isdigit() or text[0] in "-+.≥<~" or text in ("nan", "inf")


def number(value: float | None, unit: str = "") -> str:
    """Return a figure with three or four significant digits; bytes and seconds in their readable units."""
    if value is None or not math.isfinite(value):
        return ""
    if unit == "bytes":
        for name in ("B", "KiB", "MiB"):
            if abs(value) < 1024:
                return f"{value:.4g} {name}"
            value /= 1024
        return f"{value:.4g} GiB"
    if unit == "s":
        if abs(value) < 1e-3:
            return f"{value * 1e6:.3g} µs"
        if abs(value) < 1:
            return f"{value * 1e3:.3g} ms"
        return f"{value:.4g} s" if abs(value) < 120 else f"{value / 60:.3g} min"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


class Progress:
    """Shows how far work is: one bar with the time left on a terminal, a plain line now and then elsewhere.

    Call it with what is being done and how much of it: `progress("train gru", 30, 200)`; without figures it says the
    words once. Use it as a context, so that the terminal is left clean.
    """

    def __init__(self) -> None:
        self._what = ""
        self._last_s = -math.inf
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, what: str, done: float | None = None, total: float | None = None) -> None:
        """Show what is being done, and how much of it is done."""
        if self._bar is not None:
            self._show_bar(what, done, total)
        else:
            self._show_line(what, done, total)

    def say(self, line: str) -> None:
        """Write one line to standard error, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            sys.stderr.write(f"seqloom: {line}\n")
            sys.stderr.flush()

    def _show_bar(self, what: str, done: float | None, total: float | None) -> None:
        from rich.markup import escape

        if self._task is None or what != self._what:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(escape(what), total=total)
            self._what = what
        self._bar.update(self._task, completed=done or 0, total=total)

    def _show_line(self, what: str, done: float | None, total: float | None) -> None:
        now_s = time.monotonic()
        # every new piece of work says its name, but a quick alternation of pieces must not flood a log
        if now_s - self._last_s < (LINE_EVERY_S if done is not None or what == self._what else 0.0):
            return
        self._what, self._last_s = what, now_s
        if done is None:
            self.say(what)
        elif total:
            self.say(f"{what}: {done:.6g} of {total:.6g} ({100 * min(done / total, 1):.0f} %)")
        else:
            self.say(f"{what}: {done:.6g}")

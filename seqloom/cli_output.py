"""What the command line shows: JSON for programs, tables for people."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Answer:
    """What a verb found: data for --json, text for people."""

    data: Any
    text: str


class Workers(NamedTuple):
    """The verb wants to be run by several processes, which are started anew so many times at most."""

    workers: int
    restarts: int


@dataclass(frozen=True)
class Stream:
    """Answers that are shown as they come: a line of JSON each for --json, lines of text for people."""

    items: Iterable[Any]
    text: Callable[[Any], str | None]  # None: nothing for people
    end: Callable[[], Any] | None = None  # what is shown last; with it Ctrl-C is a way to end, not to fail


def to_json(data: Any, indent: int | None = 2) -> str:
    """Return one JSON document; what is not finite becomes null, since JSON has no word for it."""
    return json.dumps(_plain(data), indent=indent, ensure_ascii=False, allow_nan=False)


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


def scores(metrics: dict[str, float]) -> str:
    """Return metrics as a line for people."""
    return ", ".join(f"{name} {number(value)}" for name, value in metrics.items())


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

"""The ledger: one measurement a line, only ever added to, on disk before the call returns."""

import dataclasses
import json
import math
import numbers
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

Label = str | int | float
KINDS = ("measured", "predicted", "extrapolated")


def now() -> str:
    """Return the time, UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One figure, with its unit, its interval and where it comes from.

    Raises:
        ValueError: a number that is not finite, bounds in the wrong order, an unknown kind, or a label that is
            neither text nor a number: such a row would poison whatever is drawn from the ledger.
    """

    what: str  # the quantity: "train_step_s", "accuracy", ...
    value: float
    unit: str  # "s", "B", "1", "bit", "count", ...
    low: float | None = None  # 95 % interval
    high: float | None = None
    n: int = 1  # samples, seeds or rounds behind the value
    kind: str = "measured"  # one of KINDS
    labels: dict[str, Label] = field(default_factory=dict)  # what it is of: model, task, length, seed, ...
    spec: str = ""  # digest of the Spec measured
    machine: str = ""  # digest of the machine
    time: str = field(default_factory=now)

    def __post_init__(self) -> None:
        if not self.what:
            raise ValueError("a measurement needs a name: give `what`")
        if self.kind not in KINDS:
            raise ValueError(f"{self.what}: kind '{self.kind}' is none of {', '.join(KINDS)}")
        plain: dict[str, Any] = {"value": self._number("value", self.value)}
        for name in ("low", "high"):
            bound = getattr(self, name)
            plain[name] = None if bound is None else self._number(name, bound)
        if plain["low"] is not None and plain["high"] is not None and plain["low"] > plain["high"]:
            raise ValueError(f"{self.what}: low = {self.low} is above high = {self.high}; swap them")
        if not isinstance(self.n, numbers.Integral) or self.n < 0:
            raise ValueError(f"{self.what}: n = {self.n!r} must be a whole number >= 0")
        plain["n"] = int(self.n)
        plain["labels"] = {str(key): self._label(key, label) for key, label in self.labels.items()}
        for name, item in plain.items():  # numbers of NumPy become Python's, so that the row has one JSON form
            object.__setattr__(self, name, item)

    def _number(self, name: str, number: Any) -> float:
        if isinstance(number, bool) or not isinstance(number, numbers.Real):
            raise ValueError(f"{self.what}: {name} = {number!r} must be a number")
        if not math.isfinite(number):
            raise ValueError(f"{self.what}: {name} = {number} must be finite; leave the row out and say why")
        return float(number)

    def _label(self, key: str, label: Any) -> Label:
        if isinstance(label, str):
            return label
        if isinstance(label, numbers.Integral):  # also bool: JSON would bring True back as another type
            return int(label)
        if isinstance(label, numbers.Real):
            return self._number(f"label '{key}'", label)
        raise ValueError(f"{self.what}: label '{key}' = {label!r} must be text or a number")

    def to_json(self) -> str:
        """Return one line of JSON, without the line's end."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Return the measurement that `to_json` wrote.

        Raises:
            ValueError: not a JSON object, a key missing or unknown, or a value that breaks a rule.
        """
        data = json.loads(line)
        if not isinstance(data, dict):
            raise ValueError("not a JSON object")
        known = {f.name for f in dataclasses.fields(cls)}
        if data.keys() - known:
            raise ValueError(f"unknown key '{min(data.keys() - known)}'")
        if absent := {"what", "value", "unit"} - data.keys():
            raise ValueError(f"no '{min(absent)}'")
        for name in ("what", "unit", "kind", "spec", "machine", "time"):
            if not isinstance(data.get(name, ""), str):
                raise ValueError(f"{name} = {data[name]!r} must be text")
        if not isinstance(data.get("labels", {}), dict):
            raise ValueError(f"labels = {data['labels']!r} must be a mapping")
        return cls(**data)


class Damage(NamedTuple):
    """A line of a ledger that could not be read, counted from 1."""

    line: int
    reason: str


class Ledger:
    """Measurements in the order they were made, kept in a JSON-lines file or in memory alone.

    A process killed while it writes leaves a torn last line. Reading skips it, warns, and lists it in `damaged`; the
    next row begins on a line of its own, so nothing written later is lost and nothing written earlier is changed.

    Args:
        path: the file, made with its first row; None: in memory.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.damaged: list[Damage] = []
        self._rows: list[Measurement] = []
        self._torn = False  # the file does not end with a line's end
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def append(self, row: Measurement) -> None:
        """Add a row; it is on disk when this returns.

        Raises:
            OSError: the row could not be written; rows before it are untouched.
        """
        self.extend([row])

    def extend(self, rows: Iterable[Measurement]) -> None:
        """Add rows, all on disk when this returns, for the price of waiting for the disk once."""
        rows = list(rows)
        if self.path is not None and rows:
            text = "".join(row.to_json() + "\n" for row in rows)
            self._write(self.path, ("\n" + text if self._torn else text).encode())
        self._rows += rows

    def rows(self) -> list[Measurement]:
        """Return all rows, oldest first; lines that could not be read are in `damaged`."""
        return list(self._rows)

    def select(self, what: str | None = None, **labels: Label) -> list[Measurement]:
        """Return the rows of one quantity (None: any) whose labels have these values, oldest first."""
        return [
            row
            for row in self._rows
            if (what is None or row.what == what) and all(row.labels.get(key) == label for key, label in labels.items())
        ]

    def _read(self, path: Path) -> None:
        content = path.read_bytes()
        self._torn = bool(content) and not content.endswith(b"\n")
        for number, line in enumerate(content.split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                self._rows.append(Measurement.from_json(line.decode("utf-8")))
            except (ValueError, TypeError) as error:
                self.damaged.append(Damage(number, str(error)))
        if self.damaged:
            first = self.damaged[0]
            warnings.warn(
                f"{path}: {len(self.damaged)} line(s) could not be read and are left out; "
                f"line {first.line}: {first.reason}",
                stacklevel=3,
            )

    def _write(self, path: Path, content: bytes) -> None:
        new = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        torn, self._torn = self._torn, True  # until all of it is on disk
        with path.open("ab", buffering=0) as file:
            start = file.tell()
            view = memoryview(content)
            try:
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            except OSError:
                if file.tell() == start:
                    self._torn = torn
                raise
        self._torn = False
        if new:
            directory = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

"""Progress for people: bars on a terminal, plain lines elsewhere, always on standard error."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self, TextIO

_LINE_EVERY_S = 10.0


class Event(NamedTuple):
    """How far a run is."""

    step: int
    steps: int
    train_s: float
    eta_s: float
    loss: float
    validation: float | None  # the latest
    done: bool


Progress = Callable[[Event], None]  # what a Training calls now and then; it must not raise


class Board:
    """Shows the progress of one or several runs: `with Board() as board: Training(..., progress=board.add("gru"))`.

    Args:
        stream: where to; standard error by default.
        every_s: seconds between the lines of one run where the stream is no terminal.
    """

    def __init__(self, stream: TextIO | None = None, every_s: float = _LINE_EVERY_S) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._every_s = every_s
        self._bars = None
        if self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeElapsedColumn(),
                console=Console(file=self._stream),
                transient=False,
            )

    def add(self, title: str) -> Progress:
        """Return what one run calls."""
        return self._bar(title) if self._bars is not None else self._lines(title)

    def say(self, text: str) -> None:
        """Show a line, such as a notice."""
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def _bar(self, title: str) -> Progress:
        bars = self._bars
        assert bars is not None
        number = bars.add_task(title, total=None, figures="")

        def show(event: Event) -> None:
            bars.update(number, total=event.steps, completed=event.step, figures=figures(event))

        return show

    def _lines(self, title: str) -> Progress:
        last = time.monotonic()

        def show(event: Event) -> None:
            nonlocal last
            if event.done or time.monotonic() - last >= self._every_s:
                last = time.monotonic()
                self.say(f"{title}: step {event.step} of {event.steps}, {figures(event)}")

        return show


class Stages:
    """Shows how far long work on data is, as lines: `with telling(Stages())`. Work of a few seconds shows nothing.

    Args:
        stream: where to; standard error by default.
        every_s: seconds between lines.
    """

    def __init__(self, stream: TextIO | None = None, every_s: float = _LINE_EVERY_S) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._every_s = every_s
        self._what, self._last = "", 0.0

    def __call__(self, what: str, share: float | None) -> None:
        """Tell what is being done and how much of it is; without a share, at once."""
        now = time.monotonic()
        if share is not None:
            if what != self._what:  # begun now
                self._what, self._last = what, now
            if now - self._last < self._every_s:
                return
            self._last = now
        self._stream.write(what + (f": {share:.0%}" if share else "") + "\n")
        self._stream.flush()


def figures(event: Event) -> str:
    """Return the figures of an event in words."""
    parts = [f"loss {event.loss:.4g}"]
    if event.validation is not None:
        parts.append(f"validation {event.validation:.4g}")
    parts.append(f"{duration(event.train_s)} trained" if event.done else f"{duration(event.eta_s)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return seconds in words: "8 s", "2 min 05 s", "1 h 03 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

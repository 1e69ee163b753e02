"""Ctrl-C and SIGTERM, taken between two steps: the run saves, and then stops."""

import contextlib
import signal
import threading
import time
from collections.abc import Generator
from types import FrameType

_ONE_S = 0.5  # signals that come so soon after each other are one
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._since_s = 0.0

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal; the second one does not wait for the step to end.

        Of one Ctrl-C a process may hear twice, from the terminal and from what started it.
        """
        if self.signal is not None and time.monotonic() - self._since_s > _ONE_S:
            self.leave()
        if self.signal is None:
            self.signal, self._since_s = number, time.monotonic()

    def leave(self) -> None:
        """Raise what the signal would have raised: KeyboardInterrupt, or the exit code of SIGTERM."""
        if self.signal == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt


@contextlib.contextmanager
def between_steps(enabled: bool) -> Generator[Stop, None, None]:
    """Inside, Ctrl-C and SIGTERM only ask to stop. Only the main thread gets signals: elsewhere nothing changes."""
    stop = Stop()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.ask) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

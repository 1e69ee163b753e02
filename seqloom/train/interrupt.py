"""Ctrl-C and SIGTERM, taken between two steps: the run saves, and then stops."""

import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal; the second one does not wait for the step to end."""
        if self.signal is not None:
            self.leave()
        self.signal = number

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

"""Start a command on several processes of this machine, watch them, and start them anew when one is lost.

What torchrun does on one machine, without its meeting place, which listens on every network; on many machines torchrun
starts the same command (docs/parallel.md).
"""

import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from seqloom.core import runtime

_WRONG = 2  # the exit code of wrong usage: starting anew cannot help
LOST = 75  # the exit code of a process that lost another: starting anew may help
_GRACE_S = 10.0  # for the others to end, once one has
_POLL_S = 0.05
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class LostError(RuntimeError):
    """Another process of the run ended, or was silent for too long; the last checkpoint is intact."""


def launch(command: Sequence[str], workers: int, restarts: int, say: Callable[[str], None]) -> int:
    """Run a command line of seqloom on several processes; return its exit code.

    The first process has the standard output, all have the standard error. When one is killed, or lost another, all are
    ended and started anew; they go on from the last checkpoint. SIGINT and SIGTERM are handed on, and end the run.

    Args:
        command: words after "seqloom".
        workers: processes.
        restarts: how often they are started anew, at most.
        say: what tells the user that they are.
    """
    launch = uuid.uuid4().hex
    for attempt in range(restarts + 1):
        with tempfile.TemporaryDirectory(prefix="seqloom-") as folder:
            codes, asked = _once(command, workers, attempt, Path(folder) / "store", launch)
        lost = [rank for rank, code in enumerate(codes) if code < 0 or code == LOST]
        first = next((code for code in codes if code > 0 and code != LOST), 0)
        if asked or not lost or attempt == restarts or _WRONG in codes:
            return first or (LOST if lost else 0) if not asked else max(codes[0], first, 0) or 128 + asked
        killed = [rank for rank in lost if codes[rank] < 0]
        failed = [rank for rank, code in enumerate(codes) if code > 0 and code != LOST]
        whose = ", ".join(str(rank) for rank in (killed or failed or lost))
        how = "was killed" if killed else "failed" if failed else "lost another"
        say(f"worker {whose} {how}; starting all {workers} anew, {restarts - attempt} more times at most")
    raise AssertionError("the last attempt returns")


def _once(command: Sequence[str], workers: int, attempt: int, store: Path, launch: str) -> tuple[list[int], int]:
    """Return (exit codes of one attempt, negative for a signal; the signal that asked this process to end, or 0)."""
    asked = 0

    def hand_on(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = number
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    started: list[subprocess.Popen[bytes]] = []
    before = {number: signal.signal(number, hand_on) for number in _SIGNALS}
    try:
        for rank in range(workers):
            here = runtime.Worker(rank, workers, local=rank, attempt=attempt, store=str(store), launch=launch)
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "seqloom", *command],
                    env=runtime.worker_environment(here, _LOOPBACK),
                    start_new_session=True,  # Ctrl-C comes from here alone, once
                )
            )
        _watch(started)
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
        codes = [process.wait() for process in started]
        for number, handler in before.items():
            signal.signal(number, handler)
    return codes, asked


def _watch(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for all to end; once one has failed, the others have a while, and are killed then."""
    failed_s: float | None = None
    while any(process.poll() is None for process in started):
        if failed_s is None and any(process.poll() for process in started):
            failed_s = time.monotonic()
        if failed_s is not None and time.monotonic() - failed_s > _GRACE_S:
            return
        time.sleep(_POLL_S)

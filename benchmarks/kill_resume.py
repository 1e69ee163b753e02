"""Kill a training with SIGKILL at random moments, resume it, and compare its final weights bit for bit.

Every run is a real process: torch is imported once, and each training is forked from there. Half of the kills come at
a random moment of the run, half while a checkpoint is being written. The last line is one JSON document:
kills, unreadable (resumes that failed), bitwise_equal (final model, optimizer and best weights equal those of an
uninterrupted run), during_save (kills that left a half-written checkpoint), before_first (kills before any was whole).
The exit code is 1 where a run came out differently.

    python benchmarks/kill_resume.py [--kills 50] [--seed 0] [--steps 30]
"""

import argparse
import dataclasses
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from seqloom.core import runtime
from seqloom.core.spec import resolve
from seqloom.tasks.digits import Digits
from seqloom.tasks.task import Opened
from seqloom.train import checkpoint
from seqloom.train.directory import CHECKPOINTS
from seqloom.train.experiment import Experiment
from seqloom.train.loop import Training

WEIGHTS = ("model.safetensors", "optimizer.safetensors", "best.safetensors")


def experiment(steps: int) -> Experiment:
    model = {"name": "gru", "width": 8, "layers": 1, "dropout": 0.1}
    optimizer = {"batch_size": 8, "learning_rate": 0.01, "accumulate": 2}
    fields = {"task": "digits", "model": model, "budget": {"steps": steps}, "optimizer": optimizer, "evaluate_every": 4}
    return resolve(Experiment, fields)


def train(what: Experiment, opened: Opened, out: Path, resume: bool) -> None:
    """Train to the end, with a checkpoint at every step."""
    Training(what, opened, out, resume=resume, checkpoint_every=1).finish()


def fork(work: Callable[[], None]) -> int:
    """Run work in a process of its own; return the process's number."""
    sys.stdout.flush()
    number = os.fork()
    if number == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001  the process ends here, whatever it was
            traceback.print_exc()
        finally:
            os._exit(code)
    return number


def finished(number: int) -> bool:
    """Wait for a process; return whether it ended well."""
    _, status = os.waitpid(number, 0)
    return os.waitstatus_to_exitcode(status) == 0


def weights(out: Path, steps: int) -> str:
    """Return the digest of the final weights, the optimizer's and the best ones."""
    path = out / CHECKPOINTS / str(steps)
    files = [path / name for name in WEIGHTS if (path / name).exists()]
    return hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in files)).hexdigest()


def kill(number: int, out: Path, at_s: float, in_save: bool, words: random.Random) -> bool:
    """Kill a training after a time, and then, if asked, once a checkpoint is being written; False: it was faster."""
    deadline = time.monotonic() + at_s
    while time.monotonic() < deadline:
        time.sleep(min(0.002, max(0.0, deadline - time.monotonic())))
    if in_save:
        give_up = time.monotonic() + 5
        while not half_written(out) and time.monotonic() < give_up and os.waitpid(number, os.WNOHANG) == (0, 0):
            pass
        time.sleep(words.uniform(0, 0.004))
    try:
        os.kill(number, signal.SIGKILL)
        _, status = os.waitpid(number, 0)
    except (ProcessLookupError, ChildProcessError):
        return False
    return os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def half_written(out: Path) -> bool:
    try:
        return any(name.endswith(".tmp") for name in os.listdir(out / CHECKPOINTS))
    except FileNotFoundError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    runtime.set_threads(1)
    words, what = random.Random(given.seed), experiment(given.steps)
    whole = Digits().open()
    parts = {"train": 100, "validation": 30, "test": 30}
    opened = dataclasses.replace(whole, **{k: getattr(whole, k).select(np.arange(n)) for k, n in parts.items()})
    Training(what, opened)  # imports what torch imports late, once for all
    counts = {"kills": 0, "unreadable": 0, "bitwise_equal": 0, "during_save": 0, "before_first": 0}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        reference, first = Path(folder) / "reference", time.monotonic()
        assert finished(fork(lambda: train(what, opened, reference, False)))
        run_s = time.monotonic() - first
        expected = weights(reference, given.steps)
        turn = 0
        while counts["kills"] < given.kills:
            turn += 1
            out, in_save = Path(folder) / str(turn), turn % 2 == 0
            number = fork(lambda out=out: train(what, opened, out, False))
            if not kill(number, out, words.uniform(0, 0.95 * run_s), in_save, words):
                continue  # it had ended before
            counts["kills"] += 1
            counts["during_save"] += half_written(out)
            counts["before_first"] += not checkpoint.steps(out / CHECKPOINTS)
            ended_well = finished(fork(lambda out=out: train(what, opened, out, True)))
            counts["unreadable"] += not ended_well
            counts["bitwise_equal"] += ended_well and weights(out, given.steps) == expected
            if counts["kills"] % 10 == 0:
                print(f"{counts['kills']} kills, {counts['bitwise_equal']} bitwise equal", file=sys.stderr, flush=True)
    counts["seconds"] = round(time.monotonic() - began, 1)
    counts["run_s"] = round(run_s, 2)
    print(json.dumps(counts))
    sys.exit(counts["bitwise_equal"] < counts["kills"])


if __name__ == "__main__":
    main()

"""Break one of two workers at random moments, start both anew, and compare the final weights bit for bit.

Faults: SIGKILL, SIGSTOP (a hang), an exception in a step, SIGTERM to both; half of the signals while a checkpoint is
being written. Torch is imported once, and workers are forked from there. The last line is one JSON document: faults by
kind, unreadable (a start that found no whole checkpoint where there had been one), hangs (a worker that outlived the
timeout and its grace), bitwise_equal (final weights are those of an undisturbed run of two). The exit code is 1 where
not all runs are.

    python benchmarks/kill_workers.py [--faults 100] [--seed 0] [--steps 30]
"""

import argparse
import dataclasses
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from kill_resume import experiment, fork, half_written, weights

from seqloom.core import runtime
from seqloom.parallel.plan import Plan
from seqloom.parallel.world import joined
from seqloom.tasks.digits import Digits
from seqloom.tasks.task import Opened
from seqloom.train import checkpoint
from seqloom.train.directory import CHECKPOINTS
from seqloom.train.experiment import Experiment
from seqloom.train.loop import Training

WORKERS = 2
TIMEOUT_S = 2.0
GRACE_S = 10.0  # beside the timeout, for a process to end
KINDS = ("SIGKILL", "SIGSTOP", "exception", "SIGTERM")


def train(what: Experiment, opened: Opened, out: Path, raises_at: int | None) -> None:
    """Be one of the workers, to the end; or raise in a step."""
    with joined(what.plan):
        training = Training(what, opened, out, resume=True, checkpoint_every=1)
        if raises_at is not None:
            update = training.learner.update

            def breaks(*arguments: Any) -> tuple[float, float]:
                if training.course.step >= raises_at:
                    raise RuntimeError("a fault")
                return update(*arguments)

            training.learner.update = breaks
        training.finish()


def start(work: Callable[[int], None], store: Path) -> list[int]:
    """Fork the workers, which meet in a file; return their numbers."""

    def be(rank: int) -> None:
        here = runtime.Worker(rank=rank, workers=WORKERS, local=rank, store=str(store))
        os.environ.update(runtime.worker_environment(here, "lo"))
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 2)  # tracebacks of those who lose a peer are what is expected
        work(rank)

    return [fork(lambda rank=rank: be(rank)) for rank in range(WORKERS)]


def ended(workers: list[int], within_s: float) -> bool:
    """Wait for workers to end and take them away; return whether all did so in time by themselves."""
    deadline = time.monotonic() + within_s
    left = set(workers)
    while left and time.monotonic() < deadline:
        left -= {number for number in left if os.waitpid(number, os.WNOHANG) != (0, 0)}
        time.sleep(0.01)
    for number in left:
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
    return not left


def disturb(workers: list[int], out: Path, kind: str, words: random.Random) -> set[int]:
    """Send a fault; return the workers that it stops, which do not end by themselves."""
    time.sleep(words.uniform(0.2, 0.8))
    if words.random() < 0.5:
        give_up = time.monotonic() + 2
        while not half_written(out) and time.monotonic() < give_up:
            pass
    victims = workers if kind == "SIGTERM" else [words.choice(workers)]
    for number in victims:
        os.kill(number, getattr(signal, kind))
    return set(victims) if kind == "SIGSTOP" else set()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    runtime.set_threads(1)
    words = random.Random(given.seed)
    what = experiment(given.steps).replace(plan=Plan(data=WORKERS, timeout_s=TIMEOUT_S))
    whole = Digits().open()
    parts = {"train": 100, "validation": 30, "test": 30}
    opened = dataclasses.replace(whole, **{k: getattr(whole, k).select(np.arange(n)) for k, n in parts.items()})
    Training(what.replace(plan=Plan()), opened)  # imports what torch imports late, once for all
    counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        assert ended(start(lambda _: train(what, opened, base / "whole", None), base / "store"), 120)
        expected = weights(base / "whole", given.steps)
        while sum(counts[kind] for kind in KINDS) < given.faults:
            number = counts["runs"]
            counts["runs"] += 1
            out = base / f"run{number}"
            for attempt in range(5):  # each run is broken a few times, and then left to end
                kind = words.choice(KINDS) if attempt < 4 else "none"
                raises = words.randrange(given.steps) if kind == "exception" else None
                who = words.randrange(WORKERS)
                before = max(checkpoint.steps(out / CHECKPOINTS), default=-1)

                def work(rank: int, out: Path = out, raises: int | None = raises, who: int = who) -> None:
                    train(what, opened, out, raises if rank == who else None)

                workers = start(work, base / f"store{number}.{attempt}")
                stopped = disturb(workers, out, kind, words) if kind.startswith("SIG") else set[int]()
                counts[kind] += 1
                others = [worker for worker in workers if worker not in stopped]
                counts["hangs"] += not ended(others, 60 if kind == "none" else TIMEOUT_S + GRACE_S + 20)
                ended([*stopped], 0)
                after = max(checkpoint.steps(out / CHECKPOINTS), default=-1)
                counts["unreadable"] += after < before
            counts["bitwise_equal"] += weights(out, given.steps) == expected
            print(f"{number + 1} runs, {sum(counts[kind] for kind in KINDS)} faults", file=sys.stderr, flush=True)
    found = {**counts, "seconds": round(time.monotonic() - began, 1)}
    print(json.dumps(found))
    sys.exit(int(counts["bitwise_equal"] != counts["runs"] or counts["hangs"] > 0 or counts["unreadable"] > 0))


if __name__ == "__main__":
    main()

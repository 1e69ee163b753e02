"""Our training loop against a bare PyTorch loop: same model, same rows, same optimizer; the overhead of a step.

The bare loop is what one would write by hand: zero the gradients, forward, loss, backward, clip, AdamW, learning rate;
its batches are made beforehand. Ours collates its batches, seeds each step, checks that loss and gradient are finite,
keeps the course and tells progress. Rounds of some steps each take turns in one process, paired. The last line is
one JSON document: for each case the ratio of the medians with its 95 % interval, in wall time and in processor time,
and the worst of them. As a check of the method, the bare loop is also set against itself.

    python benchmarks/loop_overhead.py [--seconds 60] [--threads 2]
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from seqloom.core import runtime
from seqloom.core.spec import resolve
from seqloom.measure.clock import interleave
from seqloom.measure.statistics import median_ratio
from seqloom.tasks.task import Task
from seqloom.train.experiment import Experiment
from seqloom.train.loop import Training
from seqloom.train.progress import Board
from seqloom.train.schedule import rate_factor

CASES = {
    "digits, gru": ({"name": "digits"}, {"name": "gru", "width": 64}, 4),
    "digits, transformer": ({"name": "digits", "view": "pixels"}, {"name": "transformer", "width": 64}, 3),
    "language, gru": ({"name": "language", "length": 256}, {"name": "gru", "width": 128}, 1),
}
STEPS = 1_000_000  # never reached
TARGET = 1.03
WARMUP = 3


def experiment(task: dict[str, object], model: dict[str, object]) -> Experiment:
    optimizer = {"batch_size": 32, "learning_rate": 1e-3}
    fields = {"task": task, "model": model, "budget": {"steps": STEPS}, "optimizer": optimizer}
    return resolve(Experiment, fields)


def bare(training: Training, steps: int) -> Callable[[], None]:
    """Return some steps of a loop written by hand, on the model and optimizer of a training: two of each would differ.

    One model's tensors lie in better places than another's: that alone is worth some per cent.
    """
    model, optimizer, order, settings = training.model, training.optimizer, training.order, training.settings
    batches = [training.opened.train.batch(order.rows(0, i)) for i in range(min(order.steps_per_epoch, 100))]
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_factor(step, STEPS, settings.warmup, settings.final)
    )
    at = 0

    def run() -> None:
        nonlocal at
        for _ in range(steps):
            batch = batches[at % len(batches)]
            at += 1
            optimizer.zero_grad(set_to_none=True)
            output, _ = model(batch.inputs, segment=batch.segment)
            loss = model.head.loss(output, batch.target)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip or float("inf"))
            optimizer.step()
            schedule.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of measuring, over all cases")
    parser.add_argument("--threads", type=int, default=None)
    given = parser.parse_args()
    if given.threads is not None:
        runtime.set_threads(given.threads)
    cases: dict[str, dict[str, Any]] = {}
    for name, (task, model, steps) in CASES.items():
        opened = resolve(Task, task).open()
        training = Training(experiment(task, model), opened, progress=Board(io.StringIO()).add(name))
        by_hand = bare(training, steps)
        used: dict[str, list[float]] = {"ours": [], "bare": [], "bare again": []}
        calls = {
            "ours": on_cpu(lambda training=training, steps=steps: training.advance(steps=steps), used["ours"]),
            "bare": on_cpu(by_hand, used["bare"]),
            "bare again": on_cpu(by_hand, used["bare again"]),
        }
        each_s = given.seconds / len(CASES)
        wall = interleave(calls, min_rounds=30, max_rounds=10_000, min_time_s=each_s, warmup=WARMUP)
        cpu = {key: np.array(samples[WARMUP:]) for key, samples in used.items()}
        cases[name] = {
            "wall": ratio(wall["ours"], wall["bare"]),
            "wall_control": ratio(wall["bare again"], wall["bare"]),
            "cpu": ratio(cpu["ours"], cpu["bare"]),
            "cpu_control": ratio(cpu["bare again"], cpu["bare"]),
            "step_ms": round(1000 * float(np.median(wall["bare"])) / steps, 3),
            "rounds": len(wall["bare"]),
        }
        print(name, cases[name], file=sys.stderr, flush=True)
    worst = {clock: max(case[clock]["ratio"] for case in cases.values()) for clock in ("wall", "cpu")}
    found = {"cases": cases, "worst": worst, "target": TARGET, "reached": worst["wall"] <= TARGET}
    print(json.dumps({**found, "threads": runtime.threads()}))


def on_cpu(call: Callable[[], None], used: list[float]) -> Callable[[], None]:
    """Return a call that also notes the processor time it took, which others on the machine disturb less."""

    def run() -> None:
        began = time.process_time()
        call()
        used.append(time.process_time() - began)

    return run


def ratio(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    found = median_ratio(ours, theirs)
    return {"ratio": round(found.value, 4), "low": round(found.low, 4), "high": round(found.high, 4)}


if __name__ == "__main__":
    main()

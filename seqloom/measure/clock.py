"""The clock: candidates timed in turn, so that what disturbs the machine disturbs all of them alike."""

import gc
import math
import random
from collections.abc import Callable, Mapping
from time import perf_counter_ns

import numpy as np
import torch

Call = Callable[[], object]


def interleave(
    candidates: Mapping[str, Call],
    *,
    min_rounds: int = 5,
    max_rounds: int = 1000,
    min_time_s: float = 0.0,
    max_time_s: float = math.inf,
    warmup: int = 1,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Time several calls in rounds; each round runs every candidate once, in an order drawn anew.

    Rounds end as soon as one of these holds: `max_rounds` are done; at least one is done and `max_time_s` have passed;
    `min_rounds` are done and `min_time_s` have passed. Garbage collection waits meanwhile, and an accelerator's queue
    is drained inside each sample.

    Args:
        candidates: name -> call without arguments.
        min_rounds, max_rounds: how many samples each candidate gets.
        min_time_s, max_time_s: wall time of all rounds, without the warm-up.
        warmup: calls of each candidate beforehand, not timed.
        seed: draws the orders.

    Returns:
        name -> seconds (rounds,), in the order of the rounds: sample i of two candidates is a pair.

    Raises:
        ValueError: no candidate, or limits that contradict each other.
    """
    if not candidates:
        raise ValueError("nothing to time: give at least one candidate")
    if not 1 <= min_rounds <= max_rounds:
        raise ValueError(f"min_rounds = {min_rounds}, max_rounds = {max_rounds}: need 1 <= min_rounds <= max_rounds")
    if max_time_s <= 0 or min_time_s > max_time_s:
        raise ValueError(f"min_time_s = {min_time_s}, max_time_s = {max_time_s}: need min <= max and max > 0")
    for _ in range(warmup):
        for call in candidates.values():
            call()
    settle()
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    draw = random.Random(seed)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        begin = perf_counter_ns()
        for rounds in range(1, max_rounds + 1):
            draw.shuffle(order)
            for name in order:
                samples[name].append(_once(candidates[name]))
            passed_s = (perf_counter_ns() - begin) / 1e9
            if passed_s >= max_time_s or (rounds >= min_rounds and passed_s >= min_time_s):
                break
    finally:
        if collecting:
            gc.enable()
    return {name: np.array(seconds) for name, seconds in samples.items()}


def time(call: Call, *, min_rounds: int = 5, max_time_s: float = math.inf, warmup: int = 1) -> np.ndarray:
    """Return the seconds (rounds,) of one call timed alone; compare candidates with `interleave` instead."""
    return interleave({"": call}, min_rounds=min_rounds, max_time_s=max_time_s, warmup=warmup)[""]


def settle() -> None:
    """Wait until the accelerator, if there is one, has done all that was asked of it."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _once(call: Call) -> float:
    begin = perf_counter_ns()
    call()
    settle()
    return (perf_counter_ns() - begin) / 1e9

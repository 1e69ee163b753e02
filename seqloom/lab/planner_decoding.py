"""Predictions of decoding: what one more token takes after a context, on one device or on replicas that share the rows.

Decoding does not go faster along another axis here: a token waits for the one before it, and a plan's other axes would
send messages for every one of them.
"""

import math
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
import torch

from seqloom.lab.planner import Prediction
from seqloom.lab.prices import non_negative
from seqloom.model.generate import generate
from seqloom.model.model import ModelSpec
from seqloom.parallel.cluster import Cluster
from seqloom.parallel.plan import Plan

LIMITS = ("weights and calls", "states")
_CONTEXTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)  # parts of a length: what is measured, while the budget lasts
_BUDGET_S, _LEAST = 20.0, 3  # of all numbers of rows; contexts in any case, and as many as the prices are fitted to
_TOKENS = 24  # timed after each context
_FLOAT = 4


def decoding(spec: ModelSpec, batch: int, length: int, cluster: Cluster, measured: bool) -> list[Prediction]:
    """Return a prediction of a token's time for every number of replicas that divides the devices, the fastest first.

    A token's time is that of the weights, and of calls that wait for each other, and that of the states that are read:
    constant for a recurrence, growing with the context for attention.

    Args:
        spec: a causal model of tokens.
        batch: rows that are decoded at once, of all replicas together.
        length: tokens that stand before.
        cluster: the machine.
        measured: whether it is this machine, where shorter contexts are decoded and the time at this one is told from
            them; else the machine's rates tell.

    Raises:
        ValueError: batch or length below 1, or the model sees the future.

    Complexity: on this machine prefills of batch * length / 2 tokens and some decoded ones, for each number of rows; up
    to three times as many where those take a few seconds.
    """
    if min(batch, length) < 1:
        raise ValueError(f"batch {batch} and length {length} must be at least 1")
    with torch.device("meta"):
        model: Any = spec.build(0)
    if not model.backbone.causal:
        raise ValueError("a model that sees the future does not decode; take a causal one")
    found: list[Prediction] = []
    known: dict[int, tuple[np.ndarray, float]] = {}
    counts = [n for n in range(1, cluster.devices + 1) if cluster.devices % n == 0 and n <= batch]
    for replicas in counts:
        rows = -(-batch // replicas)
        if rows not in known:
            budget_s = _BUDGET_S / len(counts)
            fitted = _fitted(spec, rows, length, budget_s) if measured else (_rates(model, rows, cluster), 0.5)
            known[rows] = fitted
        prices, error = known[rows]
        parts = prices * _asked(model, rows, length) * (cluster.crowding if replicas > 1 else 1.0)
        step_s, share = float(parts.sum()), min(error + 0.1 * (replicas > 1), 0.9)
        memory = _FLOAT * model.n_parameters + _states(model, rows, length)
        lacks = cluster.lacks(memory)
        found.append(
            Prediction(
                plan=str(Plan(data=replicas)),
                processes=replicas,
                step_s=step_s,
                low=step_s * (1 - share),
                high=step_s / (1 - share),
                memory_bytes=memory,
                bubble=0.0,
                message_s=0.0,
                limit=LIMITS[int(np.argmax(parts))],
                why_not=[lacks] if lacks else [],
                messages=0,
                sent_bytes=0,
            )
        )
    return sorted(found, key=lambda each: (bool(each.why_not), each.step_s or math.inf))


def token_s(model: Any, rows: int, length: int, tokens: int = _TOKENS) -> float:
    """Return the median seconds of a token that a model decodes after `length` others, in each of so many rows."""
    words = torch.from_numpy(np.random.default_rng(0).integers(model.spec.frontend.vocabulary, size=(rows, length)))
    memory = None if model.encoder is None else model.encode(words)
    came = [perf_counter() for _ in generate(model, words, tokens + 2, memory=memory)]
    return float(np.median([later - before for before, later in pairwise(came[1:])]))


def _fitted(spec: ModelSpec, rows: int, length: int, budget_s: float) -> tuple[np.ndarray, float]:
    """Return the prices of what is asked, by shorter contexts, and the largest relative error among these.

    Of those that the budget holds the longest count: where states outgrow a cache they are read more slowly.
    """
    model, began = spec.build(0), perf_counter()
    taken: dict[int, float] = {}
    for each in sorted({max(int(length * part), 1) for part in _CONTEXTS}):
        if len(taken) >= _LEAST and 3 * (perf_counter() - began) > budget_s:
            break
        taken[each] = token_s(model, rows, each)
    lengths = list(taken)[-_LEAST:]
    asked, seconds = np.array([_asked(model, rows, each) for each in lengths]), np.array([taken[n] for n in lengths])
    grows = len(np.unique(asked[:, 1])) > 1  # else all of a token's time is the same
    prices = non_negative(asked, seconds) if grows else np.array([np.median(list(taken.values())), 0.0])
    least = 0.05 if len(lengths) > 2 else 0.25  # two points lie on a line, whatever they are
    return prices, max(float(np.max(np.abs(asked @ prices / seconds - 1))), least)


def _rates(model: Any, rows: int, cluster: Cluster) -> np.ndarray:
    """Return the prices of a described machine."""
    weights_s = _FLOAT * model.n_parameters / cluster.bytes_per_s
    once = model.cost(rows, 1)
    return np.array(
        [weights_s + once.depth * cluster.step_s + once.flops / cluster.flops_per_s, 1 / cluster.bytes_per_s]
    )


def _asked(model: Any, rows: int, length: int) -> np.ndarray:
    """Return what a token asks for: one pass through the weights, and bytes of states."""
    return np.array([1.0, _states(model, rows, length)])


def _states(model: Any, rows: int, length: int) -> float:
    return float(model.cost(rows, length).state_bytes)

"""The planner: what a training step takes under every plan for a number of devices, and what limits it.

A rank's step is a sum of what its part asks for: matrix FLOPs, products that wait for each other, bytes, parameters to
update; each at a price. On this machine the prices are fitted to steps of this very model at small sizes (prices.py);
of a described machine they are its rates. Messages come on top, and the bubble of a pipeline.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from seqloom.core.cost import Cost
from seqloom.model.model import ModelSpec
from seqloom.parallel._vocabulary import in_vocabulary
from seqloom.parallel.cluster import Cluster
from seqloom.parallel.layout import why_not
from seqloom.parallel.pipeline import RUNS, idle_share, kept_share, stage
from seqloom.parallel.plan import Plan
from seqloom.parallel.sequence import RELAYED

FEATURES = ("matrix products", "dependent steps", "bytes moved", "update of parameters")
_STATE = 16  # bytes of a parameter: itself, its gradient, two moments, in float32
_FLOAT = 4


class Curve(NamedTuple):
    """What a kind of plan takes here, of what is told of it: more + times * told ** power."""

    more: float
    times: float
    power: float

    def __call__(self, told: float) -> float:
        """Return seconds."""
        return self.more + self.times * told**self.power


class Prices(NamedTuple):
    """Seconds for each of FEATURES in a training step, and what is known of them."""

    seconds: np.ndarray  # (4,) a forward FLOP, a dependent product, a byte, a parameter
    block_bytes: float  # that a token's forward pass through a block keeps for the way back
    outside_bytes: float  # and through frontend and head
    error: float  # largest relative error where they were fitted; for a described machine a guess
    points: int  # measured steps behind them
    sizes: np.ndarray = np.ones((1, 2))  # (n, 2) rows and steps of those
    left: np.ndarray = np.ones(1)  # (n,) measured over fitted seconds
    curves: tuple[tuple[str, Curve], ...] = ()  # of kinds of plans that were tried here

    def correction(self, rows: float, steps: float) -> float:
        """Return what measured sizes took over what the prices say of them: a mean, of which near ones are most."""
        far = np.square(np.log(self.sizes / np.array([rows, steps]))).sum(axis=1)
        near = 1 / np.square(far + 1e-9)
        return float(np.exp(near @ np.log(self.left) / near.sum()))


class Prediction(NamedTuple):
    """One plan."""

    plan: str
    processes: int
    step_s: float | None
    low: float | None
    high: float | None
    memory_bytes: float | None  # of the fullest rank
    bubble: float | None  # share of the time that a stage waits
    message_s: float | None  # of the step
    limit: str | None  # what takes most
    why_not: list[str]
    messages: int | None = None  # calls of the process that calls most, counted by play.py
    sent_bytes: int | None = None  # of the process that sends most


def kinds(plan: Plan) -> list[str]:
    """Return the names of what a plan does: its axes, a pipeline by what it cuts."""
    axes = [axis for axis, degree in plan.degrees().items() if degree > 1]
    return [f"pipeline of {plan.cuts}" if axis == "pipeline" else axis for axis in axes]


def described(cluster: Cluster, block_bytes: float, outside_bytes: float) -> Prices:
    """Return the prices of a described machine: a way back costs two forward passes."""
    rates = (3 / cluster.flops_per_s, 3 * cluster.step_s, 3 / cluster.bytes_per_s, 1.75 * _STATE / cluster.bytes_per_s)
    return Prices(np.array(rates), block_bytes, outside_bytes, 0.5, 0)


def candidates(devices: int, causal: bool) -> Iterator[Plan]:
    """Yield every plan whose number of processes divides the devices; none with newton, which cannot be predicted."""
    for processes in (n for n in range(1, devices + 1) if devices % n == 0):
        for tensor in _divisors(processes):
            for sequence in _divisors(processes // tensor):
                for pipeline in _divisors(processes // tensor // sequence):
                    data = processes // tensor // sequence // pipeline
                    plan = Plan(data=data, tensor=tensor, sequence=sequence, pipeline=pipeline)
                    yield plan
                    if tensor > 1:
                        yield plan.replace(sequence_norms=True)
                    if data * sequence > 1 and pipeline == 1:
                        yield plan.replace(sharded=True)
                    for schedule in ("1f1b", "interleaved", "zero_bubble") if pipeline > 1 else ():
                        yield plan.replace(schedule=schedule, parts=max(4, 2 * pipeline))
                    if pipeline > 1 and causal:
                        yield plan.replace(cuts="time", parts=8)


def predict(
    spec: ModelSpec, plans: Sequence[Plan], batch: int, length: int, cluster: Cluster, prices: Prices
) -> list[Prediction]:
    """Return a prediction for each plan, the fastest first, those that cannot be last.

    Args:
        spec: the model.
        plans: any.
        batch: rows of a step, of all replicas together.
        length: steps of a row.
        cluster: whose links and memory count.
        prices: of what a step asks for.

    Raises:
        ValueError: batch or length below 1.

    Complexity: work O(plans blocks); nothing is computed but costs.
    """
    if min(batch, length) < 1:
        raise ValueError(f"batch {batch} and length {length} must be at least 1")
    with torch.device("meta"):
        model: Any = spec.build(0)
    found = [_predicted(model, plan, batch, length, cluster, prices) for plan in plans]
    return sorted(found, key=lambda each: (bool(each.why_not), each.step_s or math.inf))


def features(model: Any, batch: int, length: int) -> np.ndarray:
    """Return what a step of the whole model asks for, (4,)."""
    return _asked(model.cost(batch, length), model.n_parameters)


def _predicted(model: Any, plan: Plan, batch: int, length: int, cluster: Cluster, prices: Prices) -> Prediction:
    reasons = why_not(plan, model)
    if plan.data > batch:
        reasons = [*reasons, f"data={plan.data} leaves replicas without a row: the batch has {batch}"]
    if plan.sequence > length:
        reasons = [*reasons, f"sequence={plan.sequence} leaves stretches without a step: a row has {length}"]
    if plan.newton:
        reasons = [
            *reasons,
            "newton=true takes iterations that depend on the data, and no cost tells them; it can only be measured",
        ]
    if reasons:
        return Prediction(str(plan), plan.processes, None, None, None, None, None, None, None, reasons)
    rank = _Rank(model, plan, batch, length, cluster)
    memory = rank.held_bytes + rank.kept_bytes(prices)
    lacks = cluster.lacks(memory)
    reasons = [lacks] if lacks else []
    crowding = cluster.crowding if plan.processes > 1 else 1.0
    seconds = prices.seconds * rank.asked * crowding * prices.correction(*rank.together)
    update_s = float(seconds[-1])  # once a step, whatever waits before
    busy_s = float(seconds.sum()) - update_s
    bubble = idle_share(plan, rank.parts)
    passed_s = busy_s * rank.relay / (1 - bubble)
    message_s = rank.message_s(busy_s)
    told_s = passed_s + update_s + message_s
    curves = [curve for kind, curve in prices.curves if kind in kinds(plan)]
    growing_s = told_s * math.prod(curve.times * told_s ** (curve.power - 1) for curve in curves)
    step_s = growing_s + sum(curve.more for curve in curves)
    parts = {**dict(zip(FEATURES, seconds.tolist(), strict=True)), "messages": message_s, "bubble": passed_s - busy_s}
    axes = sum(degree > 1 for degree in plan.degrees().values())
    share = min(prices.error + 0.1 * axes, 0.9)
    return Prediction(
        plan=str(plan),
        processes=plan.processes,
        step_s=step_s,
        low=step_s * (1 - share),
        high=step_s / (1 - share),
        memory_bytes=memory,
        bubble=bubble,
        message_s=message_s,
        limit=max(parts, key=lambda name: parts[name]),
        why_not=reasons,
    )


class _Rank:
    """What the busiest process of a plan has at most: the last stretch of time, and the largest stage.

    The first stage has as many blocks as any, the last one the head: both are counted as if one process had them, which
    is so of the last stage where the stages divide the blocks, and a little too much elsewhere.
    """

    def __init__(self, model: Any, plan: Plan, batch: int, length: int, cluster: Cluster) -> None:
        self.plan, self.cluster = plan, cluster
        self.width = model.spec.width
        self.rows = -(-batch // plan.data)
        self.steps = -(-length // plan.sequence)
        self.tokens = self.rows * self.steps
        self.parts = 1 if plan.pipeline == 1 else min(plan.parts, self.rows if plan.cuts == "rows" else self.steps)
        by_time = plan.cuts == "time"  # rows and steps of a call
        self.together = (self.rows, self.steps / self.parts) if by_time else (self.rows / self.parts, self.steps)
        every = list(model.backbone.blocks)
        self.blocks = [every[n] for n in stage(len(every), 0, plan.pipeline)]
        cost = sum((self._block(block, length) for block in self.blocks), Cost())
        outside = _outside(model, self.rows, self.steps)  # the head, mostly
        inside = sum(p.numel() for block in self.blocks for p in block.parameters())
        words = plan.tensor if in_vocabulary(model, plan.tensor) else 1  # parts of the token vectors and logits
        outer = model.n_parameters - sum(p.numel() for b in every for p in b.parameters())
        self.parameters = inside / plan.tensor + outer / words
        replicas = plan.data * plan.sequence if plan.sharded else 1
        # of a block that is gathered, parameters and gradients are whole for a while
        self.held_bytes = self.parameters * _STATE / replicas + (plan.sharded and 2 * _FLOAT * inside / len(every))
        self.words = words
        asked = _asked(cost, 0) / np.array([plan.tensor, 1, plan.tensor, 1])
        self.asked = asked + _asked(outside, 0) / np.array([words, 1, words, 1])
        self.asked[3] = self.parameters / replicas
        relays = sum(block.mixer.carry != "fold" for block in self.blocks)
        groups = min(RELAYED, self.rows)
        slowed = (groups + plan.sequence - 1) / groups
        self.relay = 1 + (slowed - 1) * relays / len(self.blocks)

    def _block(self, block: Any, length: int) -> Cost:
        """Return the cost of the last stretch: what a row of all steps costs more than one without it."""
        cost = block.cost(self.rows, self.steps)
        # each group of rows goes through all steps
        again = self.parts if self.plan.pipeline > 1 and self.plan.cuts == "rows" else 1
        flops = cost.flops
        if self.plan.sequence > 1:
            flops = block.cost(self.rows, length).flops - block.cost(self.rows, max(length - self.steps, 1)).flops
            again *= 1 if block.mixer.carry == "fold" else min(RELAYED, self.rows)
        return Cost(flops=flops, bytes=cost.bytes, depth=cost.depth * again, state_bytes=cost.state_bytes)

    def kept_bytes(self, prices: Prices) -> float:
        """Return what the forward pass keeps for the way back; beside tensor, half of it is cut only with the norms."""
        whole = 0.0 if self.plan.sequence_norms else 0.5
        inside = len(self.blocks) * prices.block_bytes * (whole + (1 - whole) / self.plan.tensor)
        kept = kept_share(self.plan, self.parts)
        return self.tokens * kept * (inside + prices.outside_bytes / self.words)

    def message_s(self, compute_s: float) -> float:
        """Return the seconds of a step that go to messages."""
        plan, link = self.plan, self.cluster
        answer = self.tokens * self.width * _FLOAT
        total = 0.0
        if (n := plan.data * plan.sequence) > 1:
            sent = self.parameters * (2 if plan.bf16_gradients else _FLOAT)
            buckets = math.ceil(sent / (plan.bucket_mb * 1e6))
            gradients_s = _sum_s(n, sent, link, buckets)
            if plan.sharded:  # gathered for both ways, then summed and shared out: three halves of a sum, each block's
                gradients_s = 1.5 * _sum_s(n, sent, link, len(self.blocks) + 1)
            total += max(0.0, gradients_s - compute_s / 2) if link.overlaps else gradients_s
        if plan.tensor > 1:
            layers = sum(1 + (block.channel is not None) for block in self.blocks)
            sums = layers * (2.5 if plan.sequence_norms else 2)  # a gathering is half a sum, and there are five
            total += _sum_s(plan.tensor, sums * answer, link, sums)
            steps = sum(self.steps * waits_each_step(block) for block in self.blocks)
            total += 2 * steps * link.link_s * (plan.tensor - 1)
        if plan.sequence > 1:
            states = sum(block.cost(self.rows, self.steps).state_bytes for block in self.blocks)
            total += 2 * (plan.sequence - 1) * (states / link.link_bytes_per_s + len(self.blocks) * link.link_s)
        if plan.pipeline > 1:
            runs = RUNS[plan.schedule]
            total += 2 * runs * (answer / link.link_bytes_per_s + self.parts * link.link_s)
        return total


def waits_each_step(block: Any) -> int:
    """Return 1 for a nonlinear recurrence, whose units are gathered at every step."""
    return int(block.mixer.carry != "fold" and block.mixer.cost(1, 64).depth > 64)


def _outside(model: Any, rows: int, steps: int) -> Cost:
    """Return the cost of what is not in blocks: frontend and head."""
    whole, blocks = model.cost(rows, steps), model.backbone.cost(rows, steps)
    return Cost(flops=whole.flops - blocks.flops, bytes=whole.bytes - blocks.bytes, depth=whole.depth - blocks.depth)


def _asked(cost: Cost, parameters: float) -> np.ndarray:
    return np.array([cost.flops, cost.depth, cost.bytes, parameters], dtype=np.float64)


def _sum_s(processes: int, sent: float, link: Cluster, calls: float) -> float:
    """Return the seconds of sums over processes, as rings do them."""
    rounds = 2 * (processes - 1)
    return rounds / processes * sent / link.link_bytes_per_s + calls * rounds * link.link_s


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]

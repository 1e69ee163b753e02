"""Bench: how the time and memory of models of equal size grow with sequence length, and where they change places."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from seqloom.core import runtime
from seqloom.core.spec import resolve
from seqloom.core.types import state_bytes
from seqloom.lab.bench_subject import PHASES, Subject
from seqloom.measure.clock import interleave
from seqloom.measure.ledger import Label, Ledger, Measurement
from seqloom.measure.machine import Machine, probe
from seqloom.measure.memory import available_bytes, peak_live_bytes
from seqloom.measure.statistics import crossover, median_interval
from seqloom.zoo.architecture import Architecture

LENGTHS = tuple(2**k for k in range(8, 18))
WORDS = {"train_step_s": "training", "prefill_s": "prefill", "decode_token_s": "decoding"}
SHARES = (0.6, 0.25, 0.15)  # of the time at one length
FAMILIES = ("recurrent", "hybrid", "attention")  # the order of the sides of a crossover
MIN_ROUNDS, MAX_ROUNDS = 5, 15  # of fewer than 5 samples no interval holds the median with 95 %
LENGTH_SHARE = 0.15  # of what is left of the budget goes to one length, unless the fewest rounds take more
LAPS = MIN_ROUNDS + 3  # warm-up, and counting live bytes, which is slower, come on top
SHORT = 256  # lengths up to this are measured without a prediction
MEMORY_SHARE = 0.5  # of what is available: kernels take more than the live tensors
REACH = 4.0  # crossovers are looked for up to so many times the longest length, and then called extrapolated

Progress = Callable[[str], None]


def bench(
    models: Iterable[str | Architecture] | Mapping[str, Architecture],
    *,
    lengths: Sequence[int] | None = None,
    batch: int = 4,
    parameters: int = 200_000,
    vocabulary: int = 256,
    budget_s: float = 45.0,
    machine: Machine | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> list[Measurement]:
    """Time training steps, prefill and decoding of causal models of tokens over length, all brought to equal size.

    At each length the models take turns within every round, each with one thread and with all that the process has: the
    faster counts, for a recurrence of small products can be slower on two. A model goes on to the next length only if
    its time, predicted from the last two lengths, fits what is left of the budget, and its live bytes fit the memory;
    else a row `skipped` says why. Lengths far apart are approached by doubling, so that predictions never reach far.

    Args:
        models: registered names, architectures, or architectures by a name of your own.
        lengths: steps; None: 256, 512, ... as far as budget and memory go.
        batch: rows.
        parameters: of each model, token table aside (`fit_width`).
        vocabulary: tokens.
        budget_s: wall time, kept by prediction; the first length is measured in any case, if only by one round.
        machine: whose matrix rate is the limit; None: probed first.
        ledger: where rows go as they are made.
        progress: told in words what happens.
        seed: draws weights, tokens and orders.

    Returns:
        Rows, labels model, family, length, batch, parameters:
        `train_step_s` (forward, backward, AdamW), `prefill_s`, `decode_token_s` (one more token after `length`, for the
        whole batch): medians with intervals, label threads; `tokens_per_s` and `of_limit` (matrix FLOPs over the
        machine's rate; not for decoding, which moves bytes rather than multiplies), label phase; `train_peak_bytes`,
        `state_bytes`; `skipped`: predicted seconds or bytes, label reason; `crossover`, labels phase, a, b: where two
        models of different families change places, if they do: kind "extrapolated" beyond the lengths both were
        measured at.

    Raises:
        ValueError: no model, a length, batch or budget that is not positive, or a model that cannot be so small.
    """
    wanted = sorted(set(LENGTHS if lengths is None else lengths))
    if not wanted or wanted[0] < 1:
        raise ValueError(f"lengths {wanted} must be whole numbers >= 1")
    if batch < 1:
        raise ValueError(f"batch = {batch} must be at least 1")
    if not 0 < budget_s < math.inf:
        raise ValueError(f"budget {budget_s} s must be above 0")
    named = _named(models)
    device = runtime.device()
    begin = perf_counter()
    machine = machine or probe(device)
    subjects = [
        Subject(name, architecture, parameters, vocabulary, device, seed) for name, architecture in named.items()
    ]
    sweep = Sweep(
        subjects, batch, budget_s, begin, machine, Ledger() if ledger is None else ledger, progress or _silent, seed
    )
    for length in ladder(wanted):
        if not (sweep.measure(length) if length in wanted else sweep.approach(length, wanted)):
            break
    sweep.cross()
    return sweep.rows


@dataclass
class Sweep:
    """A bench under way: its subjects, what is left of its budget, and the rows so far."""

    subjects: list[Subject]
    batch: int
    budget_s: float
    begin: float  # perf_counter
    machine: Machine
    ledger: Ledger
    progress: Progress
    seed: int
    rows: list[Measurement] = field(default_factory=list)

    @property
    def left_s(self) -> float:
        """Return what is left of the budget."""
        return self.budget_s - (perf_counter() - self.begin)

    def approach(self, length: int, wanted: Sequence[int]) -> bool:
        """Run each subject once at a length that nobody asked for, to predict longer ones; as `measure`."""
        running = self._fitting(length, told=min(n for n in wanted if n > length), laps=3)
        for subject in running:
            subject.set(self.batch, length)
            self._weigh(subject, length)
            times = {phase: interleave({"": subject.call(phase)}, min_rounds=1)[""][0] for phase in PHASES}
            subject.lap_s[length] = float(sum(times.values()))
            subject.clear()
        return self._enough(running)

    def measure(self, length: int) -> bool:
        """Measure the subjects that fit; return whether it is worth going on."""
        running = self._fitting(length, told=length, laps=LAPS)
        if not self._enough(running):
            return False
        share_s = LENGTH_SHARE * max(self.left_s, 0.0)
        states: dict[str, int] = {}
        for subject in running:
            subject.set(self.batch, length)
            states[subject.name] = state_bytes(subject.state.backbone)
            self._weigh(subject, length)
        for phase, part in zip(PHASES, SHARES, strict=True):
            self.progress(f"length {length}: {WORDS[phase]}, {len(running)} models in turn")
            counts = sorted({1, runtime.threads()})
            variants = {f"{subject.name} on {n}": (subject, n) for subject in running for n in counts}
            calls = {name: on_threads(n, subject.call(phase)) for name, (subject, n) in variants.items()}
            samples = interleave(
                calls,
                min_rounds=MIN_ROUNDS,
                max_rounds=MAX_ROUNDS * (1 if phase == "train_step_s" else 3),
                min_time_s=part * share_s,
                max_time_s=max(self.left_s, 1e-3, part * share_s),
                warmup=1 if phase == "decode_token_s" else 0,  # the others have just run
                seed=self.seed + length,
            )
            for name, seconds in samples.items():
                subject, n = variants[name]
                lap_s = float(np.median(seconds))
                subject.lap_s[length] = subject.lap_s.get(length, 0.0) + lap_s
                held = subject.samples[phase].get(length)
                if held is None or lap_s < float(np.median(held)):
                    subject.samples[phase][length], subject.threads[phase, length] = seconds, n
        for subject in running:
            self._put_down(subject, length, states[subject.name])
            subject.clear()
        return True

    def cross(self) -> None:
        """Put down where models of different families change places."""
        ordered = sorted(self.subjects, key=lambda s: FAMILIES.index(s.family) if s.family in FAMILIES else 9)
        for phase in PHASES:
            for i, a in enumerate(ordered):
                for b in ordered[i + 1 :]:
                    shared = sorted(set(a.samples[phase]) & set(b.samples[phase]))
                    if a.family == b.family or len(shared) < 2:
                        continue
                    one, two = ([s.samples[phase][length] for length in shared] for s in (a, b))
                    found = crossover(shared, one, two, self.seed, REACH)
                    if found is None or (found.low is None and found.high is None):
                        continue  # the medians may cross, but nothing shows that the models do
                    kind = "extrapolated" if found.extrapolated else "measured"
                    labels: dict[str, Label] = {"phase": phase, "a": a.name, "b": b.name, "batch": self.batch}
                    n = min(len(x) for x in one + two)
                    self._add("crossover", found.value, "steps", labels, found.low, found.high, n, kind)

    def _enough(self, running: list[Subject]) -> bool:
        return len(running) >= min(2, len(self.subjects))

    def _weigh(self, subject: Subject, length: int) -> None:
        subject.model.train()
        subject.train_step()  # so that the optimizer's state is there: from the second step on all are alike
        subject.live_bytes[length] = float(peak_live_bytes(subject.train_step).total_bytes)

    def _fitting(self, length: int, told: int, laps: int) -> list[Subject]:
        """Return the subjects that fit time and memory; put down why the others do not, as of length `told`."""
        left_s, room = max(self.left_s, 0.0), available_bytes(self.subjects[0].device)
        fitting: list[Subject] = []
        needed = {s.name: laps * (predict(s.lap_s, length) or 0.0) for s in self.subjects}
        for subject in self._in_turn(needed):
            live, need_s = predict(subject.live_bytes, length) or 0.0, needed[subject.name]
            if room is not None and live > MEMORY_SHARE * room:
                reason = f"predicted {live / 2**30:.3g} GiB of live tensors; {room / 2**30:.3g} GiB are available"
                self._skip(subject, told, live, "B", reason)
            elif need_s > left_s:
                reason = f"predicted {need_s:.3g} s; {left_s:.3g} s of the budget of {self.budget_s:g} s were left"
                self._skip(subject, told, need_s, "s", reason)
            else:
                left_s -= need_s
                fitting.append(subject)
        if not self._enough(fitting):
            for subject in fitting:
                self._skip(
                    subject, told, needed[subject.name], "s", "no other model fits budget and memory at this length"
                )
            self.progress(f"length {told} and beyond: not measured, beyond budget or memory")
        return sorted(fitting, key=self.subjects.index)

    def _in_turn(self, needed: Mapping[str, float]) -> list[Subject]:
        """Return the subjects by who goes on first: the cheapest of each family, so that these can still cross."""
        ordered = sorted(self.subjects, key=lambda s: needed[s.name])
        first = {subject.family: subject.name for subject in reversed(ordered)}
        return sorted(ordered, key=lambda s: first[s.family] != s.name)

    def _skip(self, subject: Subject, length: int, value: float, unit: str, reason: str) -> None:
        labels = {**self._labels(subject, length), "reason": reason}
        if any(
            row.what == "skipped" and row.labels["model"] == subject.name and row.labels["length"] == length
            for row in self.rows
        ):
            return  # said on the way there
        self._add("skipped", value, unit, labels, kind="predicted", spec=subject.digest)

    def _put_down(self, subject: Subject, length: int, held_bytes: int) -> None:
        labels, spec = self._labels(subject, length), subject.digest
        for phase in PHASES:
            samples = subject.samples[phase][length]
            median = median_interval(samples, self.seed)
            about: dict[str, Label] = {**labels, "threads": subject.threads[phase, length]}
            self._add(phase, median.value, "s", about, median.low, median.high, len(samples), spec=spec)
            tokens = self.batch * (1 if phase == "decode_token_s" else length)
            flops = subject.flops(phase, self.batch, length)
            limit = self.machine.flops_per_s
            rates = [("tokens_per_s", "1/s", tokens)] + ([("of_limit", "1", flops / limit)] if flops and limit else [])
            for what, unit, top in rates:
                value, low, high = top / median.value, top / median.high, top / median.low
                self._add(what, value, unit, {**labels, "phase": phase}, low, high, len(samples), spec=spec)
        self._add("train_peak_bytes", subject.live_bytes[length], "B", labels, spec=spec)
        self._add("state_bytes", held_bytes, "B", labels, spec=spec)

    def _labels(self, subject: Subject, length: int) -> dict[str, Label]:
        about: dict[str, Label] = {"model": subject.name, "family": subject.family, "length": length}
        return {**about, "batch": self.batch, "parameters": subject.parameters}

    def _add(
        self,
        what: str,
        value: float,
        unit: str,
        labels: dict[str, Label],
        low: float | None = None,
        high: float | None = None,
        n: int = 1,
        kind: str = "measured",
        spec: str = "",
    ) -> None:
        row = Measurement(
            what=what, value=value, unit=unit, low=low, high=high, n=n, kind=kind, labels=labels, spec=spec,
            machine=self.machine.digest(),
        )  # fmt: skip
        self.ledger.append(row)
        self.rows.append(row)


def on_threads(n: int, call: Callable[[], object]) -> Callable[[], object]:
    """Return the call, made with n CPU threads."""

    def timed() -> object:
        with runtime.using_threads(n):
            return call()

    return timed


def predict(known: Mapping[int, float], length: int) -> float | None:
    """Return a quantity at a length from the last two shorter ones: a power of the length, at least linear.

    From one alone it is taken to grow by the square, the worst there is; None where nothing is known.
    """
    points = sorted((n, y) for n, y in known.items() if n < length and y > 0)[-2:]
    if len(points) < 2:
        return points[0][1] * (length / points[0][0]) ** 2 if points else None
    (n1, y1), (n2, y2) = points
    power = min(max(math.log(y2 / y1) / math.log(n2 / n1), 1.0), 3.0)
    return y2 * (length / n2) ** power


def ladder(wanted: Sequence[int]) -> list[int]:
    """Return the lengths wanted, with others before and between: from SHORT on each at most doubles the one before."""
    first = wanted[0]
    while first > SHORT:
        first = -(-first // 2)
    steps = [first]
    for length in wanted:
        while steps[-1] * 2 < length:
            steps.append(steps[-1] * 2)
        steps.append(length)
    return sorted(set(steps))


def _named(models: Iterable[str | Architecture] | Mapping[str, Architecture]) -> dict[str, Architecture]:
    if isinstance(models, Mapping):
        named = {str(name): resolve(Architecture, model) for name, model in models.items()}
    else:
        found = [resolve(Architecture, model) for model in models]
        named = {model.name(): model for model in found}
        if len(named) != len(found):
            raise ValueError("two models have the same name: give them names of your own, {'wide gru': ...}")
    if not named:
        raise ValueError("nothing to measure: name at least one model")
    return named


def _silent(_: str) -> None:
    return None

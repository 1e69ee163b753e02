"""Monitor: score a stream of lines live, and tell with evidence when the rate of a class moves.

The test is Page's CUSUM (1954, Biometrika 41:100) of the log likelihood ratio of each line's class, one for a rate that
rises and one for a rate that falls. Its false alarms are bounded by Lorden 1971 (Annals of Mathematical Statistics
42:1897) and by Pollak's martingale of the Shiryaev-Roberts sum, which no CUSUM exceeds.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import pydantic
import torch
from scipy.stats import binomtest

from seqloom.core import runtime
from seqloom.core.registry import nearest
from seqloom.core.spec import Spec
from seqloom.data.batches import Packed
from seqloom.data.streams import Arrived, Notice
from seqloom.lab.trained import Trained

BATCH = 64  # lines scored at once: what has arrived, but no more
EXAMPLES = 3  # lines that an alert shows
LEVEL = 0.95  # of intervals of rates
_TEXT = 300  # characters of a line that an alert shows

Event = dict[str, Any]  # JSON values; "event" says of what kind


class Found(NamedTuple):
    """What the model says of a text."""

    label: str
    probability: float  # of the class that is watched


Score = Callable[[list[str]], list[Found | str]]  # texts -> what is said of each, or why it cannot be scored


class Watching(Spec):
    """What is watched, and how much evidence an alert needs."""

    watch: str  # class whose rate is watched
    baseline: float | None = pydantic.Field(default=None, gt=0, lt=1)  # its rate as it should be; None: learnt
    learn: int = pydantic.Field(default=200, ge=10)  # lines from which the rate is learnt, at first and after an alert
    factor: float = pydantic.Field(default=2.0, gt=1, allow_inf_nan=False)  # change of odds looked for, up or down
    false_alarm_every: int = pydantic.Field(default=10_000, ge=10)  # lines between false alarms, on average, at least
    window: int = pydantic.Field(default=100, gt=0)  # lines of the rolling rate

    @property
    def threshold(self) -> float:
        """Return h of the CUSUMs, with exp(h) = 2 false_alarm_every.

        Under a rate that has not moved, exp(S) of each of the two is at most a Shiryaev-Roberts sum R with E[R_n] <= n,
        so that E[n at the alarm] >= exp(h) / 2, and P(alarm within n lines) <= 2 n / exp(h).
        """
        return math.log(2 * self.false_alarm_every)


class Rate(NamedTuple):
    """A rate with its exact binomial interval (Clopper and Pearson 1934)."""

    rate: float
    low: float
    high: float
    lines: int

    @classmethod
    def of(cls, hits: int, lines: int) -> Self:
        """Return the rate of so many hits among lines, at least one."""
        interval = binomtest(hits, lines).proportion_ci(LEVEL, method="exact")
        return cls(hits / lines, float(interval.low), float(interval.high), lines)


class Cusum:
    """One side of the test: S <- max(0, S + log p1(x) / p0(x)), x whether a line is of the class.

    Args:
        rate: p0, the rate as it was.
        factor: odds of p1 / odds of p0: above 1 for a rise, below for a fall.
    """

    def __init__(self, rate: float, factor: float) -> None:
        odds = rate / (1 - rate) * factor
        moved = odds / (1 + odds)
        self.rises = factor > 1
        self._steps = (math.log((1 - moved) / (1 - rate)), math.log(moved / rate))  # of a miss, of a hit
        self.statistic = 0.0
        self._restart(0)

    def add(self, number: int, text: str, hit: bool, probability: float) -> float:
        """Take a line and return the statistic. Work and memory O(1)."""
        if self.statistic == 0.0:
            self._restart(number)
        self.statistic = max(0.0, self.statistic + self._steps[hit])
        self.lines += 1
        self.hits += hit
        if hit == self.rises:
            sure = probability if hit else 1 - probability
            shown = {"line": number, "text": text[:_TEXT], "probability": probability}
            self._kept = sorted([*self._kept, (-sure, number, shown)], key=lambda kept: kept[:2])[:EXAMPLES]
        return self.statistic

    @property
    def examples(self) -> list[Event]:
        """Return lines since the change that speak for it, those first of which the model is surest."""
        return [shown for _, _, shown in self._kept]

    def _restart(self, number: int) -> None:
        self.since, self.lines, self.hits = number, 0, 0
        self._kept: list[tuple[float, int, Event]] = []


class Monitor:
    """Follows one stream: `events` of it as it comes, and `summary` of what came."""

    def __init__(self, settings: Watching, score: Score) -> None:
        self.settings = settings
        self._score = score
        self._window: deque[bool] = deque(maxlen=settings.window)
        self._lines = self._scored = self._hits = self._broken = self._alerts = 0
        self._learnt = [0, 0]  # lines, hits
        self._before: Rate | None = None
        self._sides: list[Cusum] = []
        if settings.baseline is not None:
            self._begin(Rate(settings.baseline, settings.baseline, settings.baseline, 0))

    def events(self, batches: Iterable[Arrived]) -> Iterator[Event]:
        """Yield what happens, in the stream's order: "score", "baseline", "alert", "broken" and "notice".

        Memory is O(window + the batch that arrived).
        """
        for batch in batches:
            for start in range(0, len(batch), BATCH):
                yield from self._of_lines(batch[start : start + BATCH])

    def summary(self) -> Event:
        """Return what came so far."""
        return {
            "event": "summary",
            "watch": self.settings.watch,
            "lines": self._lines,
            "scored": self._scored,
            "broken": self._broken,
            "rate": self._hits / self._scored if self._scored else None,
            "alerts": self._alerts,
        }

    def _of_lines(self, batch: Arrived) -> Iterator[Event]:
        texts = [line.text for line in batch if not isinstance(line, Notice) and line.broken is None]
        found = iter(self._score(texts) if texts else [])
        for line in batch:
            if isinstance(line, Notice):
                yield {"event": "notice", "text": line.text}
                continue
            self._lines = line.number
            answer = line.broken if line.broken is not None else next(found)
            if isinstance(answer, str):
                self._broken += 1
                yield {"event": "broken", "line": line.number, "reason": answer}
            else:
                yield from self._of_line(line.number, line.text, answer)

    def _of_line(self, number: int, text: str, found: Found) -> Iterator[Event]:
        hit = found.label == self.settings.watch
        self._scored += 1
        self._hits += hit
        self._window.append(hit)
        raised = [
            side for side in self._sides if side.add(number, text, hit, found.probability) >= self.settings.threshold
        ]
        yield {
            "event": "score",
            "line": number,
            "label": found.label,
            "probability": found.probability,
            "rate": sum(self._window) / len(self._window),
            "statistic": max((side.statistic for side in self._sides), default=0.0),
        }
        if self._before is None:
            yield from self._learn(number, hit)
        elif raised:
            yield self._alert(number, raised[0])

    def _learn(self, number: int, hit: bool) -> Iterator[Event]:
        self._learnt[0] += 1
        self._learnt[1] += hit
        if self._learnt[0] == self.settings.learn:
            self._begin(Rate.of(self._learnt[1], self._learnt[0]))
            assert self._before is not None
            yield {"event": "baseline", "line": number, "watch": self.settings.watch, **self._before._asdict()}

    def _begin(self, before: Rate) -> None:
        """Test from here on. A rate that was learnt may be anywhere in its interval: each side takes its far end."""
        self._before = before
        high = [Cusum(before.high, self.settings.factor)] if before.high < 1 else []
        self._sides = [*high, *([Cusum(before.low, 1 / self.settings.factor)] if before.low > 0 else [])]

    def _alert(self, number: int, side: Cusum) -> Event:
        assert self._before is not None
        self._alerts += 1
        event = {
            "event": "alert",
            "line": number,
            "watch": self.settings.watch,
            "direction": "up" if side.rises else "down",
            "since": side.since,
            "before": self._before._asdict(),
            "after": Rate.of(side.hits, side.lines)._asdict(),
            "statistic": side.statistic,
            "threshold": self.settings.threshold,
            "false_alarm_every": self.settings.false_alarm_every,
            "examples": side.examples,
        }
        # the rate is learnt anew from lines that had no part in the alert: those that had are chosen for their rate
        self._before, self._sides, self._learnt = None, [], [0, 0]
        return event


def scorer(trained: Trained, watch: str) -> Score:
    """Return what scores texts with a trained run that tells classes, watching one of them.

    Raises:
        ValueError: the run does not classify lines, or has no such class.
    """
    interface = trained.interface
    encode = interface.coding.encode
    if interface.head.kind != "labels" or encode is None or not interface.labels:
        raise ValueError(
            f"monitor needs a run that tells the class of a line, and this one is of {trained.experiment.task.name()}; "
            "train one: seqloom train classify --data FILE --text COL --label COL --epochs 3"
        )
    if watch not in interface.labels:
        raise ValueError(f"no class '{watch}' in this run{nearest(watch, list(interface.labels))}")
    place = interface.labels.index(watch)

    def encoded(text: str) -> np.ndarray | str:
        try:
            steps = encode(text)
        except ValueError as error:
            return str(error)
        return steps if len(steps) else "nothing in it that the model reads"

    def score(texts: list[str]) -> list[Found | str]:
        steps = [encoded(text) for text in texts]
        read = [found for found in steps if not isinstance(found, str)]
        answers = iter(_answers(trained, read, place) if read else [])
        return [found if isinstance(found, str) else next(answers) for found in steps]

    return score


def _answers(trained: Trained, steps: list[np.ndarray], place: int) -> list[Found]:
    batch = Packed.of(steps, np.zeros(len(steps), np.int64)).batch(np.arange(len(steps))).to(runtime.device())
    with torch.no_grad():
        chances = trained.model(batch.inputs, segment=batch.segment)[0].float().softmax(dim=-1)
    names = [trained.interface.labels[i] for i in chances.argmax(dim=-1).tolist()]
    return [Found(name, chance) for name, chance in zip(names, chances[:, place].tolist(), strict=True)]

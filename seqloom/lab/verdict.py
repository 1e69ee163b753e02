"""The verdict: which model to use for each task, how sure that is, and what would change it.

The rule, the same for every task. A model is *shown worse* than another when their 95 % intervals of the test metric
are disjoint. Among the models that no other is shown better than, and that clearly beat the floor, the best score is
chosen, unless a peer gets there in a shown shorter time; a peer's score lies within the best one's interval, for an
interval that overlaps only because it is wide must not win by speed. Confidence: *high* when the intervals are
disjoint and rest on three seeds or more, *moderate* when they are disjoint on fewer seeds, *none* when they overlap
(then no difference is claimed), *unknown* where no interval was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seqloom.lab import wording, words
from seqloom.lab.evidence import FAMILIES, Entry, Estimate, apart, better, entries, shown_better
from seqloom.measure.ledger import Measurement

ONCE = 1.2  # how much sooner a model must be where times were measured once and have no interval
RULE = (
    "High: the 95 % intervals do not overlap, with three seeds or more. Moderate: they do not overlap, with fewer "
    "seeds. None: they overlap, so no difference is claimed. Unknown: no interval was measured."
)


@dataclass(frozen=True)
class TaskVerdict:
    """What to use for one task."""

    name: str
    title: str
    metric: str
    better: str
    floor: float | None
    entries: tuple[Entry, ...]
    best_of: Mapping[str, Entry]  # family -> its best model by score
    equals: tuple[Entry, ...]  # no other model is shown better than these
    peers: tuple[Entry, ...]  # those of them whose score lies within the best one's interval
    choice: Entry | None  # None: nothing clearly beats the floor, or nothing was measured
    rival: Entry | None  # the model the choice is told against: the best of another family
    either: bool  # neither quality nor time tells the choice from its rival
    sentence: str
    reason: str
    confidence: Mapping[str, str]  # {"quality": word, "time": word}
    changes: tuple[wording.Change, ...]
    cards: Mapping[str, Entry] = field(default_factory=dict)  # best, fastest, smallest
    frontier: tuple[str, ...] = ()  # models that none beats in both score and time


@dataclass(frozen=True)
class Verdict:
    """The answer over all tasks."""

    sentence: str
    confidence: str
    changes: tuple[str, ...]
    tasks: tuple[TaskVerdict, ...]

    def to_data(self) -> dict[str, Any]:
        """Return the verdict as JSON data: the sentence, its confidence, what would change it, and each task's."""
        return {
            "sentence": self.sentence,
            "confidence": self.confidence,
            "changes": list(self.changes),
            "tasks": {
                task.name: {
                    "use": task.choice.model if task.choice else None,
                    "sentence": task.sentence,
                    "reason": task.reason,
                    "confidence": dict(task.confidence),
                    "changes": [change.words for change in task.changes],
                    "frontier": list(task.frontier),
                }
                for task in self.tasks
            },
        }

    @property
    def table(self) -> list[list[str]]:
        """Return the verdict as rows of words for a terminal, the first of them the head."""
        head = ["task", *FAMILIES, "use", "confidence"]
        return [head, *([t.name, *(best_of(t, f) for f in FAMILIES), use(t), confidence(t)] for t in self.tasks)]


def verdict(run: Mapping[str, Any], rows: list[Measurement]) -> Verdict:
    """Judge a run from its `run.json` and its ledger; a pure function of both."""
    tasks = tuple(_judge(name, run, rows) for name in run["tasks"])
    if not tasks:
        return Verdict("This run compared nothing: it has no task.", "none", (), ())
    if len(tasks) == 1:
        return Verdict(tasks[0].sentence, confidence(tasks[0]), wording.all_changes([("", tasks[0].changes)]), tasks)
    changes = wording.all_changes([(task.name, task.changes) for task in tasks])
    sure = wording.overall([(task.name, *_decided_by(task)) for task in tasks])
    return Verdict(wording.headline([(t.name, use(t) if t.choice else None) for t in tasks]), sure, changes, tasks)


def best_of(task: TaskVerdict, family: str) -> str:
    """Return a family's best model with its score, for a table's cell."""
    entry = task.best_of.get(family)
    return f"{entry.title} {wording.score(entry)}" if entry else "none measured"


def use(task: TaskVerdict) -> str:
    """Return what to use for a task, in a word or two."""
    if task.choice is None:
        return "undecided"
    if task.either and task.rival:
        return f"{task.choice.title} or the {task.rival.title}"
    return task.choice.title


def confidence(task: TaskVerdict) -> str:
    """Return how sure a task's verdict is, in words."""
    quality, time = task.confidence["quality"], task.confidence["time"]
    metric = words.metric(task.metric)
    if task.choice is None or task.rival is None or quality in ("high", "moderate"):
        return f"{quality} for {metric}"
    return f"{quality} for {metric}, {time} for time"


def _judge(name: str, run: Mapping[str, Any], rows: list[Measurement]) -> TaskVerdict:
    task = run["tasks"][name]
    direction, found = task["better"], entries(name, run, rows)
    scored = sorted((e for e in found if e.quality), key=lambda e: _value(e.quality), reverse=direction == "higher")
    by_family = {f: next(e for e in scored if e.family == f) for f in dict.fromkeys(e.family for e in scored)}
    equals = tuple(e for e in scored if not any(_beats(other, e, direction) for other in scored))
    peers = _peers(tuple(e for e in equals if e.above_floor is not False))
    choice = _choose(peers)
    rival = _rival(choice, scored, by_family, equals)
    equal = rival in equals if rival else False
    sooner = bool(choice and rival and _faster(choice, rival))
    either = rival in peers and not sooner
    changes = wording.changes(choice, rival, equal, rows, str(run.get("budget", "")))
    return TaskVerdict(
        name=name,
        title=str(task.get("title", name)),
        metric=task["metric"],
        better=direction,
        floor=task.get("floor"),
        entries=found,
        best_of=by_family,
        equals=equals,
        peers=peers,
        choice=choice,
        rival=rival,
        either=either,
        sentence=wording.answer(
            choice, rival, equal=equal, sooner=sooner, either=either, scored=scored, floor=task.get("floor")
        ),
        reason=wording.reason(choice, rival, equals, scored),
        confidence={"quality": _level(choice, rival, "quality"), "time": _level(choice, rival, "time_s")},
        changes=tuple(changes),
        cards=_cards(scored, peers),
        frontier=_frontier(scored, direction),
    )


def _value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


def _beats(a: Entry, b: Entry, direction: str) -> bool:
    return bool(a.quality and b.quality and shown_better(a.quality, b.quality, direction))


def _faster(a: Entry, b: Entry) -> bool:
    """Tell whether a reached its quality sooner: by disjoint intervals, or clearly where it was timed only once."""
    if a.time_s is None or b.time_s is None or a.time_s.value >= b.time_s.value:
        return False
    if a.time_s.known and b.time_s.known:
        return apart(a.time_s, b.time_s)
    return a.time_s.value * ONCE < b.time_s.value


def _peers(equals: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Return the best of the equals and those whose score lies within its interval (all, where it has none)."""
    best = equals[0].quality if equals else None
    if best is None or best.low is None or best.high is None:
        return equals
    return tuple(e for e in equals if best.low <= _value(e.quality) <= best.high)


def _choose(peers: tuple[Entry, ...]) -> Entry | None:
    """Return the best of the peers, or the fastest of those that got there sooner."""
    if not peers:
        return None
    sooner = [e for e in peers if _faster(e, peers[0])]
    return min(sooner, key=lambda e: _value(e.time_s)) if sooner else peers[0]


def _rival(
    choice: Entry | None, scored: list[Entry], by_family: Mapping[str, Entry], equals: tuple[Entry, ...]
) -> Entry | None:
    """Return the model to tell the choice against: recurrence against attention, else another family, else any."""
    if choice is None:
        return None
    opposite = {"recurrent": "attention", "attention": "recurrent"}.get(choice.family)
    if opposite is not None and opposite in by_family:
        return by_family[opposite]
    others = [entry for family, entry in by_family.items() if family != choice.family]
    others = others or [e for e in scored if e is not choice]
    return min(others, key=lambda e: e not in equals, default=None)


def _level(a: Entry | None, b: Entry | None, what: str) -> str:
    if a is None:
        return "none"
    one, two = (getattr(entry, what) if entry else None for entry in (a, b))
    if one is None or two is None or not (one.known and two.known):
        return "unknown"
    if not apart(one, two):
        return "none"
    return "high" if min(one.n, two.n) >= 3 else "moderate"


def _cards(scored: list[Entry], peers: tuple[Entry, ...]) -> dict[str, Entry]:
    """Return the best score, the fastest of its peers, and the least memory among models above the floor."""
    if not scored:
        return {}
    timed = [e for e in peers or tuple(scored[:1]) if e.time_s]
    weighed = [e for e in scored if e.peak_bytes]
    useful = [e for e in weighed if e.above_floor] or weighed
    cards = {"best": scored[0]}
    if timed:
        cards["fastest"] = min(timed, key=lambda e: _value(e.time_s))
    if useful:
        cards["smallest"] = min(useful, key=lambda e: _value(e.peak_bytes))
    return cards


def _frontier(scored: list[Entry], direction: str) -> tuple[str, ...]:
    """Return the models that no other beats in score and time both, the fastest first."""
    timed = sorted((e for e in scored if e.time_s), key=lambda e: _value(e.time_s))
    kept: list[Entry] = []
    for entry in timed:  # by rising time: one is kept where its score is the best so far
        assert entry.quality is not None
        if not kept or better(entry.quality, kept[-1].quality or entry.quality, direction):
            kept.append(entry)
    return tuple(entry.model for entry in kept)


def _decided_by(task: TaskVerdict) -> tuple[str, str]:
    """Return what a task's verdict rests on (a metric or time), and how sure that is."""
    quality, time = task.confidence["quality"], task.confidence["time"]
    if task.choice is None or quality in ("high", "moderate") or time not in ("high", "moderate"):
        return words.metric(task.metric), quality
    return "time", time

"""Where two models change places as sequences grow longer, in numbers and in words.

The crossing itself is a row of the ledger that `bench` wrote; which model is faster on which side is read from the
timings.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from seqloom.lab import words
from seqloom.lab.evidence import Estimate, apart, estimate, pick
from seqloom.measure.ledger import Measurement

PHASES = {"train_step_s": "trains", "prefill_s": "reads a prompt", "decode_token_s": "writes a token"}


@dataclass(frozen=True)
class Crossing:
    """Two models, a phase, and the length at which they change places; `at` is None where they do not."""

    phase: str
    below: str  # the faster model at short lengths
    above: str  # the faster model at long lengths
    at: Estimate | None
    shortest: int
    longest: int
    shown: tuple[str, str]  # the model shown faster at the shortest and longest length; "" where intervals overlap

    def words(self) -> str:
        """Return where the two change places, in words that take no side."""
        verb, below, above = PHASES[self.phase], words.title(self.below), words.title(self.above)
        if self.at is not None:
            prefix = "" if self.at.kind == "measured" else f"{self.at.kind}: "
            length = f"about {steps(self.at.value)} steps{interval(self.at)}"
            sides = f"the {below} {verb} faster on this machine, on longer ones the {above}"
            return f"{prefix}on sequences shorter than {length} {sides}"
        (first, last), same = self.shown, self.shown[0] == self.shown[1]
        if self.shortest == self.longest:
            return f"{_end(self.shortest, first, verb)} on this machine, the only length where both were timed"
        if same and first:
            where = f"at {words.count(self.shortest)} and at {words.count(self.longest)} steps"
            return f"the {words.title(first)} {verb} faster {where} on this machine; no crossing was found between"
        ends = f"{_end(self.shortest, first, verb)}, {_end(self.longest, last, verb)}"
        return f"{ends}; no crossing was pinned down on this machine"


def _end(length: int, model: str, verb: str) -> str:
    told = f"the {words.title(model)} {verb} faster" if model else "no difference in speed was shown"
    return f"at {words.count(length)} steps {told}"


def steps(value: float) -> str:
    """Return a length rounded to two digits: a crossing is never known better."""
    return words.significant(value, 2)


def interval(at: Estimate) -> str:
    """Return the interval of a length in brackets, with a space before it, or nothing; it may be open to one side."""
    if at.low is None and at.high is None:
        return ""
    if at.low is None or at.high is None:
        return f" (at least {steps(at.low)})" if at.low is not None else f" (at most {steps(at.high or at.value)})"
    return f" ({steps(at.low)} {words.DASH} {steps(at.high)})"


def crossing(rows: Iterable[Measurement], a: str, b: str, phase: str = "train_step_s") -> Crossing | None:
    """Return how two models compare over length in one phase, or None where they were not both timed.

    Where the ledger holds several crossings of the pair, the one on the shortest length stands: it is met first.
    """
    rows = list(rows)
    sides = {model: {int(r.labels["length"]): r for r in pick(rows, phase, model=model)} for model in (a, b)}
    shared = sorted(set(sides[a]) & set(sides[b]))
    if not shared:
        return None
    ends: list[str] = []
    shown: list[str] = []
    for length in (shared[0], shared[-1]):
        one, two = (estimate([sides[m][length]], phase) for m in (a, b))
        assert one is not None and two is not None
        ends.append(a if one.value <= two.value else b)
        shown.append(ends[-1] if apart(one, two) else "")
    at = _recorded(rows, a, b, phase)
    if at is not None and ends[0] == ends[1]:  # beyond the timed lengths, or crossed twice: trust the side it lies on
        far = at.value > shared[-1]
        ends = [ends[0], _other(ends[0], a, b)] if far else [_other(ends[0], a, b), ends[0]]
    return Crossing(phase, ends[0], ends[1], at, shared[0], shared[-1], (shown[0], shown[1]))


def _recorded(rows: list[Measurement], a: str, b: str, phase: str) -> Estimate | None:
    names = {phase, phase.removesuffix("_s"), phase.split("_")[0]}
    found = [
        row
        for row in pick(rows, "crossover")
        if {row.labels.get("a"), row.labels.get("b")} == {a, b} and row.labels.get("phase") in names
    ]
    if not found:
        return None
    row = min(found, key=lambda row: row.value)
    return Estimate(row.value, row.low, row.high, row.n, row.kind)


def _other(model: str, a: str, b: str) -> str:
    return b if model == a else a

"""The sentences of the verdict: what to use, why, and what would change it.

Every sentence is made from estimates alone, claims no difference where intervals overlap, and says "timed once" where
a time has no interval.
"""

from collections.abc import Sequence
from typing import NamedTuple

from seqloom.lab import words
from seqloom.lab.crossings import crossing
from seqloom.lab.evidence import Entry, Estimate
from seqloom.measure.ledger import Measurement

SEEDS_WORTH = 30  # beyond this many seeds a difference is too small to chase


class Change(NamedTuple):
    """Something that would change a verdict; `of_machine`: it holds whatever the task."""

    words: str
    of_machine: bool = False


def score(entry: Entry) -> str:
    """Return a model's test score with its interval in words."""
    quality = entry.quality
    if quality is None:
        return "not measured"
    interval = words.span_scored(entry.metric, quality.low, quality.high)
    return f"{words.scored(entry.metric, quality.value)} {interval}".strip()


def faster(choice: Entry, rival: Entry) -> str:
    """Return how many times faster the choice reached its quality, with a note where that was timed once."""
    if choice.time_s is None or rival.time_s is None:
        return ""
    ratio = rival.time_s.value / max(choice.time_s.value, 1e-30)
    once = "" if choice.time_s.known and rival.time_s.known else " (timed once)"
    return f"{words.significant(ratio)} times faster{once}"


def answer(
    choice: Entry | None,
    rival: Entry | None,
    *,
    equal: bool,
    sooner: bool,
    either: bool,
    scored: Sequence[Entry],
    floor: float | None,
) -> str:
    """Return the verdict of one task in a sentence.

    Args:
        choice: the model to use; None where nothing clearly beats the floor.
        rival: the model it is told against.
        equal: no difference in quality between the two was shown.
        sooner: the choice reached its quality in a shown shorter time.
        either: their scores are alike, and no such difference in time was shown.
        scored: every model with a test score, the best first.
        floor: the trivial score.
    """
    if not scored:
        return "No verdict: no model was tested."
    name = scored[0].metric
    metric, trivial = words.metric(name), "unknown height" if floor is None else words.scored(name, floor)
    if choice is None:
        best = f"{scored[0].title}: {score(scored[0])}"
        return f"No verdict: no model clearly beats the floor of {trivial} {metric} at this budget ({best})."
    if rival is None:
        return f"Only the {choice.title} was tested: {metric} {score(choice)}, floor {trivial}."
    if either:
        tail = " or in time to it" if choice.time_s and rival.time_s else ""
        return f"Use the {choice.title} or the {rival.title}: no difference in {metric}{tail} was shown at this budget."
    if equal and sooner:
        gain = f"it gets there {faster(choice, rival)} than the {rival.title}"
        return f"Use the {choice.title}: {gain}, and no difference in {metric} was shown."
    assert choice.quality is not None and rival.quality is not None
    return (
        f"Use the {choice.title}: {metric} {words.scored(name, choice.quality.value)} against "
        f"{words.scored(name, rival.quality.value)} for the {rival.title}"
        f"{', though no difference was shown at this budget' if equal else ''}."
    )


def reason(choice: Entry | None, rival: Entry | None, equals: Sequence[Entry], scored: Sequence[Entry]) -> str:
    """Return the figures behind the verdict of one task."""
    if choice is None or choice.quality is None:
        return "; ".join(f"{e.title} {score(e)}" for e in scored[:3]) or "Nothing was measured"
    text = f"{words.metric(choice.metric)} {score(choice)}"
    if rival is not None:
        text += f" against {score(rival)} for the {rival.title}"
    n = choice.quality.n
    text += f", {n} seeds each" if n > 1 else ", one seed"
    if rival is not None and choice.time_s and rival.time_s:
        times = [words.seconds(e.time_s.value) for e in (choice, rival) if e.time_s]
        text += f"; within 1 % of its best after {times[0]} against {times[1]}"
    others = [e for e in scored if e is not choice and e is not rival]
    same = [e.title for e in others if e in equals]
    worse = [e.title for e in others if e not in equals]
    text += f"; no difference from {words.listing(same, 'or')} shown" if same else ""
    text += f"; {words.listing(worse)} shown worse" if worse else ""
    return words.sentence(text)


def changes(
    choice: Entry | None, rival: Entry | None, equal: bool, rows: list[Measurement], budget: str
) -> list[Change]:
    """Return what would change the verdict of one task: the crossing length, more seeds, or a larger budget."""
    if choice is None:
        return [Change(f"telling needs a larger budget{f' than {budget}' if budget else ''}")]
    if rival is None:
        return []
    found: list[Change] = []
    cross = crossing(rows, choice.model, rival.model)
    if cross and cross.at:
        found.append(Change(cross.words(), of_machine=True))
    if equal:
        found.append(Change(seeds_needed(choice, rival)))
    growing = [e.title for e in (choice, rival) if still_improving(e)]
    if growing:
        verb = "was" if len(growing) == 1 else "were"
        found.append(Change(f"the {words.listing(growing)} {verb} still improving when the budget ended"))
    return found or ([Change(cross.words())] if cross else [])


def all_changes(tasks: Sequence[tuple[str, Sequence[Change]]]) -> tuple[str, ...]:
    """Return the changes of several tasks in words: what holds of the machine first, each once, named by its tasks."""
    where: dict[Change, list[str]] = {}
    for name, found in tasks:
        for change in found:
            where.setdefault(change, []).append(name)
    order = sorted(where, key=lambda change: not change.of_machine)
    bare = {change for change in order if change.of_machine or len(where[change]) == len(tasks)}
    return tuple(c.words if c in bare else f"on {words.listing(where[c])}, {c.words}" for c in order)


def seeds_needed(a: Entry, b: Entry) -> str:
    """Return how many seeds would tell two scores apart, were their difference what was measured.

    Half-widths shrink at best as 1/√n, so n' = n ((h_a + h_b) / |a - b|)² is a lower bound.
    """
    one, two, metric = a.quality, b.quality, words.metric(a.metric)
    if not (one and two and one.known and two.known):
        return f"telling {metric} apart takes several seeds"
    gap = abs(one.value - two.value)
    needed = min(one.n, two.n) * ((_half(one) + _half(two)) / gap) ** 2 if gap > 0 else float("inf")
    if needed > SEEDS_WORTH:
        return f"telling {metric} apart takes more than {SEEDS_WORTH} seeds, if it differs at all"
    return f"telling {metric} apart takes at least about {max(int(needed) + 1, 2)} seeds"


def still_improving(entry: Entry) -> bool:
    """Tell whether a model got within 1 % of its best only in the last twentieth of its training."""
    return bool(entry.time_s and entry.train_s and entry.time_s.value >= 0.95 * entry.train_s.value)


def headline(uses: Sequence[tuple[str, str | None]]) -> str:
    """Return one sentence over several tasks.

    Args:
        uses: (task, what to use for it), in the run's order; None where there is no verdict.
    """
    groups: dict[str | None, list[str]] = {}
    for task, model in uses:
        groups.setdefault(model, []).append(task)
    open_tasks = groups.pop(None, [])
    if not groups:
        return f"No verdict: no model clearly beats the floor on {words.listing(open_tasks)} at this budget."
    if len(groups) == 1 and not open_tasks:
        ((model, tasks),) = groups.items()
        return f"Use the {model} for each task: {words.listing(tasks)}."
    clauses = [
        f"for {words.listing(tasks)} {'' if n else 'use '}the {m}" for n, (m, tasks) in enumerate(groups.items())
    ]
    text = words.sentence("; ".join(clauses) if any(" and " in c for c in clauses) else ", ".join(clauses))
    if open_tasks:
        text += f"; on {words.listing(open_tasks)} no model clearly beats the floor yet"
    return text + "."


def overall(decided: Sequence[tuple[str, str, str]]) -> str:
    """Return the confidence over several tasks.

    Args:
        decided: (task, what its verdict rests on, how sure that is).
    """
    levels: dict[str, list[str]] = {}
    for task, ground, level in decided:
        levels.setdefault(level, []).append(f"{task} (by {ground})" if level in ("high", "moderate") else task)
    order = [level for level in ("high", "moderate", "none", "unknown") if level in levels]
    return ", ".join(f"{level} for {words.listing(levels[level])}" for level in order)


def _half(estimate: Estimate) -> float:
    assert estimate.low is not None and estimate.high is not None
    return (estimate.high - estimate.low) / 2

"""What stands in each section of the report, as plain values for the template: cards, tables, figures, sentences."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from seqloom.lab import wording, words
from seqloom.lab.evidence import FAMILIES, Entry, estimate, pick
from seqloom.lab.figures import Style
from seqloom.lab.report_figures import Axis, Figure, Line, Point, Table, lines, thin
from seqloom.lab.verdict import TaskVerdict, Verdict, confidence, use
from seqloom.measure.ledger import Measurement

CURVE_LINES = 400  # of a learning curve's table
Rows = list[Measurement]
Run = Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """Best, fastest or smallest: the model, its figures, and whether it fits this machine."""

    heading: str
    title: str
    style: Style
    text: str
    fit: str
    fits: bool
    note: str


def model_styles(run: Run) -> dict[str, Style]:
    """Return each model's look: its family's colour and shape, its rank in the family the shade."""
    seen: dict[str, int] = {}
    found: dict[str, Style] = {}
    for model, about in run["models"].items():
        family = str(about.get("family", ""))
        found[model] = Style(family, seen.get(family, 0))
        seen[family] = found[model].rank + 1
    return found


def cards(task: TaskVerdict, styles: Mapping[str, Style], run: Run) -> list[Card]:
    """Return the three cards of a task's first screen."""
    headings = {"best": "Best", "fastest": "Fastest to good", "smallest": "Smallest"}
    return [_card(heading, key, task, styles, run) for key, heading in headings.items()]


def _card(heading: str, key: str, task: TaskVerdict, styles: Mapping[str, Style], run: Run) -> Card:
    entry = task.cards.get(key)
    if entry is None:
        lack = {"best": "score", "fastest": "time to quality", "smallest": "memory"}[key]
        return Card(heading, "Not known", Style(""), f"No {lack} was measured.", "", False, "")
    parts = [wording.score(entry)]
    if entry.time_s:
        parts.append(words.seconds(entry.time_s.value))
    if entry.peak_bytes:
        parts.append(words.size(entry.peak_bytes.value))
    fit, fits = fits_hardware(entry, run)
    return Card(heading, entry.title, styles[entry.model], " · ".join(parts), fit, fits, _note(key, entry, task))


def fits_hardware(entry: Entry, run: Run) -> tuple[str, bool]:
    """Return whether a model's training fits this machine's memory, in words and as a fact."""
    memory = run.get("machine", {}).get("memory_bytes")
    if not entry.peak_bytes or not memory:
        return "fit not known", False
    share = entry.peak_bytes.value / memory
    part = "under 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")
    if share <= 0.8:
        return f"fits: {part} of {words.size(memory)}", True
    return (f"tight: {part} of {words.size(memory)}" if share <= 1 else f"does not fit in {words.size(memory)}"), False


def _note(key: str, entry: Entry, task: TaskVerdict) -> str:
    others = [e.title for e in task.equals if e is not entry]
    peers = [e for e in task.peers if e is not entry]
    if entry.above_floor is False:
        return "does not clearly beat the floor"
    if key == "best" and others:
        return f"no difference from {words.listing(others)} shown"
    if key == "fastest":
        return "among models of like score" if peers else "no other is known to be as good"
    if key == "smallest":
        if entry.decode_s:
            return f"decodes {words.count(1 / max(entry.decode_s.value, 1e-12))} steps a second"
        return "least memory above the floor"
    return "shown better than the others" if len(task.entries) > 1 else ""


def verdict_table(verdict: Verdict) -> Table:
    """Return a line a task: the best of each family, what to use, how sure, what would change it."""
    head = ["task", *(f"best {family}" for family in FAMILIES), "use", "confidence", "what would change it"]
    rows = [
        [
            task.name,
            *(_best_cell(task, family) for family in FAMILIES),
            use(task),
            confidence(task),
            words.sentence("; ".join(change.words for change in task.changes)) or "nothing measured says",
        ]
        for task in verdict.tasks
    ]
    return Table(head, rows)


def _best_cell(task: TaskVerdict, family: str) -> str:
    entry = task.best_of.get(family)
    return f"{entry.title}\n{words.unbroken(wording.score(entry))}" if entry else "none measured"


def results_table(verdict: Verdict, styles: Mapping[str, Style], rows: Rows) -> Table:
    """Return a line a task and model: metrics, floor, times, parameters, memory."""
    head = "model|family|test score|against floor|other scores|trained|to quality|parameters|memory|seeds"
    groups: list[str] = []
    found: list[list[str]] = []
    marks: list[Style | None] = []
    for task in verdict.tasks:
        for e in sorted(task.entries, key=lambda e: _order(e, task)):
            groups.append(_group(task))
            found.append(
                [
                    e.title + (" ◆" if e.model in task.frontier else ""),
                    e.family,
                    wording.score(e) if e.quality else f"not measured: {e.missing}",
                    _against_floor(e, task),
                    _other_scores(e, task, rows),
                    words.seconds(e.train_s.value) if e.train_s else "not measured",
                    words.seconds(e.time_s.value) if e.time_s else "not measured",
                    words.count(e.parameters.value) if e.parameters else "not counted",
                    words.size(e.peak_bytes.value) if e.peak_bytes else "not measured",
                    str(e.quality.n) if e.quality else "0",
                ]
            )
            marks.append(styles[e.model])
    note = (
        "◆ on the frontier of score against time. Test scores with 95 % intervals; those of other scores are in the "
        "raw data. Memory: peak."
    )
    return Table([*head.split("|")], found, marks, note, groups)


def _group(task: TaskVerdict) -> str:
    floor = "" if task.floor is None else f", floor {words.scored(task.metric, task.floor)}"
    return f"{task.name}: {words.metric(task.metric)}, {task.better} is better{floor}"


def _order(entry: Entry, task: TaskVerdict) -> tuple[bool, float]:
    value = entry.quality.value if entry.quality else 0.0
    return entry.quality is None, -value if task.better == "higher" else value


def _against_floor(entry: Entry, task: TaskVerdict) -> str:
    if entry.quality is None or task.floor is None:
        return "not known"
    floor = words.scored(task.metric, task.floor)
    if entry.above_floor is None:
        return f"{floor}, but no interval"
    return "clearly better" if entry.above_floor else "not clearly better"


def _other_scores(entry: Entry, task: TaskVerdict, rows: Rows) -> str:
    here = [r for r in rows if r.labels.get("task") == task.name and r.labels.get("model") == entry.model]
    names = dict.fromkeys(r.what for r in here if r.labels.get("split") == "test" and r.what != task.metric)
    found = [(name, estimate(here, name, split="test")) for name in names]
    return "; ".join(f"{words.metric(n)} {words.scored(n, e.value)}" for n, e in found if e)


def curves(verdict: Verdict, styles: Mapping[str, Style], rows: Rows) -> list[Figure]:
    """Return the learning curves of each task: validation score over training time, a line a model and seed."""
    return [_curve(n, task, styles, rows) for n, task in enumerate(verdict.tasks)]


def _curve(n: int, task: TaskVerdict, styles: Mapping[str, Style], rows: Rows) -> Figure:
    found: dict[tuple[Entry, Any], Rows] = {}
    for e in task.entries:
        for row in pick(rows, "validation", task=task.name, model=e.model):
            if "train_s" in row.labels:
                found.setdefault((e, row.labels.get("seed", 0)), []).append(row)
    drawn: list[Line] = []
    table: list[list[str]] = []
    marks: list[Style | None] = []
    shown = max(1, min(8, CURVE_LINES // max(len(found), 1)))
    for (e, seed), mine in found.items():
        points = sorted((Point(float(r.labels["train_s"]), r.value) for r in mine), key=lambda p: p.x)
        drawn.append(Line(e.title, styles[e.model], points, faint=any(line.name == e.title for line in drawn)))
        for p in thin(points, shown + 1)[1:] or points:
            table.append([e.title, words.clip(str(seed)), words.seconds(p.x), words.scored(task.metric, p.y)])
            marks.append(styles[e.model])
    metric = words.metric(task.metric)
    note = f"At most {shown} points of each curve; the raw data below hold more."
    return lines(
        f"curve-{n}",
        f"{task.name}: validation {metric}",
        f"Over seconds of its own training; {task.better} is better. One line a seed, the first seed strong.",
        Axis("training time", words.seconds),
        Axis(f"validation {metric}", partial(words.scored, task.metric)),
        drawn,
        Table(["model", "seed", "time", metric], table, marks, note),
    )


def thin_rows(rows: Rows, most: int) -> Rows:
    """Return the rows with each learning curve thinned to a number of points; other rows stay."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for n, row in enumerate(rows):
        if "step" in row.labels:
            key = (row.what, *(row.labels.get(k) for k in ("task", "model", "seed")))
            groups.setdefault(key, []).append(n)
    kept = {n for g in groups.values() for n in (g[:: -(-len(g) // most)] + g[-1:])}
    return [row for n, row in enumerate(rows) if "step" not in row.labels or n in kept]

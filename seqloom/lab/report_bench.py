"""What the report shows of the bench and of gradients: speed and memory over length, crossings, gradient reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from seqloom.lab import words
from seqloom.lab.crossings import PHASES, Crossing, crossing, interval, steps
from seqloom.lab.evidence import ABSENT, FAMILIES, Estimate, pick
from seqloom.lab.figures import Style
from seqloom.lab.report_figures import Axis, Band, Figure, Line, Point, Table, lines
from seqloom.lab.verdict import Verdict
from seqloom.measure.ledger import Measurement

LOG_NAMES = {
    "train_step_s": "One training step",
    "prefill_s": "Reading a prompt (prefill)",
    "decode_token_s": "Writing one token (decode)",
    "train_peak_bytes": "Peak memory of a training step",
    "state_bytes": "State kept while decoding",
}
Rows = list[Measurement]


def over_length(what: str, styles: Mapping[str, Style], rows: Rows, pair: tuple[str, str] | None) -> Figure:
    """Return one quantity of the bench over sequence length, log-log, with the crossing of a pair marked."""
    found = [r for r in pick(rows, what) if isinstance(r.labels.get("length"), int | float)]
    lengths = sorted({int(r.labels["length"]) for r in found})
    models = [m for m in styles if any(r.labels.get("model") == m for r in found)]
    by = {(str(r.labels.get("model")), int(r.labels["length"])): r for r in found}
    read = words.seconds if what.endswith("_s") else words.size
    drawn = [
        Line(words.title(m), styles[m], [_point(length, by[m, length]) for length in lengths if (m, length) in by])
        for m in models
    ]
    table = Table(
        ["length", *(words.title(m) for m in models)],
        [[words.count(n), *(_cell(by.get((m, n)), read, rows, what, m, n) for m in models)] for n in lengths],
    )
    cross = crossing(rows, *pair, what) if pair and what in PHASES else None
    bands = _bands(cross, lengths)
    axis = Axis("sequence length, steps (log scale)", words.length, log=True, marks=lengths)
    unit = "seconds" if what.endswith("_s") else "bytes"
    return lines(
        what.replace("_", "-"),
        LOG_NAMES[what],
        _caption(cross, unit),
        axis,
        Axis(LOG_NAMES[what], read, True),
        drawn,
        table,
        bands,
    )


def _point(length: int, row: Measurement) -> Point:
    return Point(float(length), row.value, row.low, row.high, row.kind)


def _cell(row: Measurement | None, read: Callable[[float], str], rows: Rows, what: str, model: str, length: int) -> str:
    if row is not None:
        spread = "" if row.low is None or row.high is None else f" ({read(row.low)} {words.DASH} {read(row.high)})"
        return f"{read(row.value)}{spread}" + ("" if row.kind == "measured" else f", {row.kind}")
    for lack in rows:
        if lack.what in ABSENT and lack.labels.get("model") == model and lack.labels.get("length") == length:
            return f"not measured: {lack.labels.get('why') or lack.labels.get('reason') or 'no reason given'}"
    return "not measured"


def _bands(cross: Crossing | None, lengths: list[int]) -> list[Band]:
    if cross is None or cross.at is None or not lengths[0] <= cross.at.value <= lengths[-1]:
        return []
    at = cross.at
    return [Band(at.value, at.low, at.high, f"{steps(at.value)}{interval(at)}", at.kind)]


def _caption(cross: Crossing | None, unit: str) -> str:
    if cross is None:
        return f"In {unit}; both axes by their logarithm."
    if cross.at is None:
        return words.sentence(cross.words()) + "."
    kind = "" if cross.at.kind == "measured" else f", {cross.at.kind}"
    return (
        f"Below {steps(cross.at.value)} steps{interval(cross.at)}{kind} the {words.title(cross.below)} is faster, "
        f"above the {words.title(cross.above)}."
    )


def crossover_table(rows: Rows) -> Table:
    """Return every crossing that the bench found."""
    found = [
        [
            _phase(str(r.labels.get("phase", ""))),
            words.title(str(r.labels.get("a", ""))),
            words.title(str(r.labels.get("b", ""))),
            steps(r.value),
            interval(Estimate(r.value, r.low, r.high)).strip(" ()") or "no interval",
            r.kind,
        ]
        for r in pick(rows, "crossover")
    ]
    return Table(["phase", "model", "and", "crossing, steps", "interval", "kind"], found)


def _phase(name: str) -> str:
    return next((told for what, told in LOG_NAMES.items() if name in (what, what[:-2], what.split("_")[0])), name)


def memory_words(styles: Mapping[str, Style], rows: Rows, pair: tuple[str, str] | None) -> list[str]:
    """Return what grows with length and what does not, in sentences."""
    said: list[str] = []
    if pair:
        by = {m: {int(r.labels["length"]): r.value for r in pick(rows, "train_peak_bytes", model=m)} for m in pair}
        shared = sorted(set(by[pair[0]]) & set(by[pair[1]]))
        if shared:
            at = shared[-1]
            more, less = sorted(pair, key=lambda m: -by[m][at])
            ratio = by[more][at] / max(by[less][at], 1)
            told = f"{words.significant(ratio)} times" if ratio >= 1.05 else "about"
            said.append(
                f"At {words.count(at)} steps a training step of the {words.title(more)} holds "
                f"{words.size(by[more][at])}, {told} the {words.size(by[less][at])} of the {words.title(less)}."
            )
    grows: dict[bool, list[str]] = {True: [], False: []}
    for model in styles:
        found = sorted(pick(rows, "state_bytes", model=model), key=lambda r: float(r.labels.get("length", 0)))
        if len(found) > 1:
            grows[found[-1].value > 1.05 * found[0].value].append(words.title(model))
    if grows[True]:
        said.append(f"The state kept while decoding grows with length for {words.listing(grows[True])}.")
    if grows[False]:
        said.append(f"It stays the same size at every length measured for {words.listing(grows[False])}.")
    return said


@dataclass(frozen=True)
class Reach:
    """How far gradients reach on one task: figures, sentences, and the verdict on each model."""

    task: str
    figures: list[Figure]
    said: list[str]
    table: Table


def gradients(styles: Mapping[str, Style], rows: Rows) -> list[Reach]:
    """Return how far back gradients reach on each task where that was measured; one without a name at least."""
    found = [r for r in rows if r.what in ("gradient_norm", "gradient_decay")]
    tasks = list(dict.fromkeys(str(r.labels.get("task", "")) for r in found)) or [""]
    return [
        _reach(n, task, styles, [r for r in found if r.labels.get("task", "") == task]) for n, task in enumerate(tasks)
    ]


def _reach(n: int, task: str, styles: Mapping[str, Style], rows: Rows) -> Reach:
    names = {"initial": "At initialisation", "trained": "After training"}
    figures = [_gradient(f"gradient-{n}-{when}", when, name, styles, rows) for when, name in names.items()]
    return Reach(task, figures, _gradient_words(styles, rows), _gradient_table(styles, rows))


def _gradient(name: str, when: str, title: str, styles: Mapping[str, Style], rows: Rows) -> Figure:
    found = [r for r in pick(rows, "gradient_norm", when=when) if isinstance(r.labels.get("lag"), int | float)]
    lags = sorted({int(r.labels["lag"]) for r in found})
    models = [m for m in styles if any(r.labels.get("model") == m for r in found)]
    by = {(str(r.labels.get("model")), int(r.labels["lag"])): r for r in found}
    drawn = [
        Line(words.title(m), styles[m], [_point(g, by[m, g]) for g in lags if (m, g) in by and by[m, g].value > 0])
        for m in models
    ]
    shown = lags[:: -(-len(lags) // 24)] if lags else []
    table = Table(
        ["lag", *(words.title(m) for m in models)],
        [
            [words.count(g), *(f"{by[m, g].value:.2e}" if (m, g) in by else "not measured" for m in models)]
            for g in shown
        ],
    )
    y = Axis("norm of dLoss_T/dh_(T - lag), relative to lag 0", _power, log=True)
    caption = "Gradient of the last step's loss that reaches this many steps back, its norm relative to lag 0."
    return lines(name, title, caption, Axis("lag, steps", words.short_count), y, drawn, table)


def _power(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("e0", "")


def _gradient_table(styles: Mapping[str, Style], rows: Rows) -> Table:
    """Return the verdict on each model's gradients, before and after training: vanishing, exploding or neither."""
    found = {(r.labels.get("model"), r.labels.get("when")): r for r in pick(rows, "gradient_decay")}
    models = [m for m in styles if any(model == m for model, _ in found)]
    body = [[words.title(m), *(_decay(found.get((m, when))) for when in ("initial", "trained"))] for m in models]
    note = "The number is the slope of the logarithm of the norm, per step of lag; its interval stands in the raw data."
    return Table(["model", "initial", "trained"], body, [styles[m] for m in models], note)


def _decay(row: Measurement | None) -> str:
    if row is None:
        return "not measured"
    slope = f"{row.value:.3f}".replace("-", "\N{MINUS SIGN}")
    return f"{row.labels.get('verdict', 'no verdict')}\n{slope}"


def _gradient_words(styles: Mapping[str, Style], rows: Rows) -> list[str]:
    """Return the gradient verdict of each family after training (at initialisation where that alone was measured)."""
    found = pick(rows, "gradient_decay")
    trained = [r for r in found if r.labels.get("when") == "trained"]
    told_as = {"neither": "neither vanishing nor exploding"}
    said: list[str] = []
    for family in FAMILIES:
        told: dict[str, list[str]] = {}
        for row in trained or found:
            if row.labels.get("family") == family and row.labels.get("model") in styles:
                told.setdefault(str(row.labels.get("verdict")), []).append(words.title(str(row.labels["model"])))
        if told:
            parts = [f"{told_as.get(v, v)} in {words.listing(models)}" for v, models in told.items()]
            said.append(f"{words.sentence(family)}: {'; '.join(parts)}.")
    when = "After training" if trained else "At initialisation"
    return [f"{when}, gradients are:", *said] if said else []


def main_pair(verdict: Verdict, rows: Rows) -> tuple[str, str] | None:
    """Return the two models whose crossing matters most: of the first task whose choice and rival were both timed."""
    pairs = [(t.choice.model, t.rival.model) for t in verdict.tasks if t.choice and t.rival]
    timed = [pair for pair in pairs if crossing(rows, *pair)]
    return next((p for p in timed if (c := crossing(rows, *p)) and c.at), timed[0] if timed else None)

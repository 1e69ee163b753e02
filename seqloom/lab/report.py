"""The report: one HTML file that answers which model to use, with its evidence, and needs nothing else.

A pure function of `run.json` and the ledger. Styles, script, figures and the rows themselves are inside the file; it
makes no request. All that comes from data is escaped: by jinja2 in the page, by `figures` in the drawings, by `embed`
in the rows; and a content security policy lets no script run but the page's own.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from seqloom.lab import report_bench as bench
from seqloom.lab import report_prose as prose
from seqloom.lab import report_sections as sections
from seqloom.lab import report_sweep as sweep
from seqloom.lab.figures import Style, glyph
from seqloom.lab.report_frontier import frontier
from seqloom.lab.verdict import RULE, Verdict, confidence, use, verdict
from seqloom.measure.ledger import Measurement

MOST_BYTES = 2_000_000  # of the file
DATA_BYTES = 1_100_000  # of the rows inside it


def write_report(run: Mapping[str, Any], rows: list[Measurement], path: Path) -> None:
    """Write the report of a run as one HTML file.

    Args:
        run: the content of `run.json`.
        rows: the ledger.
        path: the file to write; it is replaced in one step.
    """
    text = render(run, rows)
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def render(run: Mapping[str, Any], rows: list[Measurement]) -> str:
    """Return the report of a run as HTML."""
    files = resources.files("seqloom.lab")
    css, script = (files.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(glyph=glyph, family_style=Style, plain=prose.plain)
    template = environment.from_string(files.joinpath("report.html").read_text(encoding="utf-8"))
    context = view(run, rows, verdict(run, rows))
    room = DATA_BYTES
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = ""
    for _ in range(2):  # again with less data where the page itself is large
        data, note = embed(run, rows, room)
        text = template.render(
            **context, css=Markup(css), script=Markup(script), script_digest=digest, data=data, data_note=note
        )
        over = len(text.encode()) - MOST_BYTES
        if over <= 0:
            break
        room = min(room, len(data)) - over - 200  # the note may grow
    assert len(text.encode()) <= MOST_BYTES, f"the report has {len(text.encode())} bytes, more than {MOST_BYTES}"
    return text


def view(run: Mapping[str, Any], rows: list[Measurement], judged: Verdict) -> dict[str, Any]:
    """Return all that the template shows."""
    styles = sections.model_styles(run)
    pair = bench.main_pair(judged, rows)
    swept = sweep.figures(run, judged, styles)
    return {
        "run": run,
        "verdict": judged,
        "rule": RULE,
        "kicker": prose.kicker(run, judged),
        "chips": prose.chips(run, rows),
        "command": str(run.get("command", "")),
        "panels": [
            {
                "task": task,
                "use": use(task),
                "confidence": confidence(task),
                "figure": frontier(task, styles, f"frontier-{n}"),
                "cards": sections.cards(task, styles, run),
            }
            for n, task in enumerate(judged.tasks)
        ],
        "verdict_table": sections.verdict_table(judged),
        "results": sections.results_table(judged, styles, rows),
        "curves": sections.curves(judged, styles, rows),
        "speed": [
            bench.over_length(what, styles, rows, pair) for what in ("train_step_s", "prefill_s", "decode_token_s")
        ],
        "crossovers": bench.crossover_table(rows),
        "memory": [bench.over_length(what, styles, rows, None) for what in ("train_peak_bytes", "state_bytes")],
        "gradients": bench.gradients(styles, rows),
        "memory_words": bench.memory_words(styles, rows, pair),
        "recall": prose.recall(run, judged),
        "recall_swept": swept.pop("recall", []),
        "swept": [figure for figures in swept.values() for figure in figures],
        "method": prose.method(run, judged),
        "environment": prose.environment(run),
        "floors": prose.floors(run),
        "data_facts": prose.data_facts(run),
        "models": [(model, about, styles[model]) for model, about in run["models"].items()],
        "n_rows": len(rows),
    }


def embed(run: Mapping[str, Any], rows: list[Measurement], most_bytes: int) -> tuple[Markup, str]:
    """Return run and rows as JSON that is safe inside a script element, and a note on what was left out to fit.

    Where the rows are too many for the file, learning curves are thinned first, then the last rows left out.
    """
    head, notes = _json(run), []
    if len(head) > most_bytes // 2:
        head = _json({key: value for key, value in run.items() if key != "tasks"})
        notes.append("The tasks are too large to embed here: see run.json.")
    lines = {id(row): _json(vars(row)) for row in rows}
    room = most_bytes - len(head)

    def fits(some: list[Measurement]) -> bool:
        return sum(len(lines[id(row)]) + 1 for row in some) <= room

    kept, most = rows, 512
    while not fits(kept) and most > 4:
        kept, most = sections.thin_rows(rows, most), most // 2
    while kept and not fits(kept):
        kept = kept[: len(kept) * 3 // 4]
    if len(kept) < len(rows):
        notes.append(f"Embedded here: {len(kept):,} of {len(rows):,} rows, curves thinned; ledger.jsonl holds all.")
    else:
        notes.append(f"All {len(rows):,} rows of the ledger are embedded here.")
    return Markup('{"run":' + head + ',"rows":[' + ",".join(lines[id(row)] for row in kept) + "]}"), " ".join(notes)


def _json(value: Any) -> str:
    """Return JSON in which no character can end or begin an element."""
    text = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _finite(value: Any) -> Any:
    """Return the value with what JSON cannot say (NaN, infinity, odd types) as null or text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value if value is None or isinstance(value, str | int | bool) else str(value)

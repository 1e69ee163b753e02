"""The report of a scaling: one HTML file with the picture, the numbers behind it, the machine and the command.

The page is `report_scale.html` in the style of the other reports; all that comes from data is escaped by markupsafe.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from seqloom.lab import words
from seqloom.lab.report_figures import Figure, Table
from seqloom.lab.report_prose import environment
from seqloom.lab.scale_figure import marks, shown

METHOD = (
    "Every round has three things in it, so that what disturbs the machine disturbs all alike: a step of the whole "
    "batch on one process while the others are idle, the same on all of them at once, and a step under the plan. "
    "Intervals are bootstrapped over rounds.",
    "The ceiling is what the machine allows: the work of as many independent processes in the same time. The ideal is "
    "the number of processes.",
    "Predictions are made before the rounds, from steps here with fewer rows and shorter ones: prices of the model's "
    "work are fitted on one process, links are measured, and each plan is tried with three quarters, half "
    "and a quarter of the steps, or with shorter rows where those take long, which tell less.",
    "At the door is the time in calls that wait for messages and for others, a pipeline's bubble included. Gradients "
    "that go while others are computed (data) are not in it, nor are the messages of a schedule other than gpipe. Data "
    "is the collating of random tokens; compute is the rest.",
)
_RATES = ("flops_per_s", "bytes_per_s", "call_overhead_s")  # 0 where they were not measured
Cases = Sequence[Mapping[str, Any]]


def write(
    path: Path, cases: Sequence[dict[str, Any]], machine: Mapping[str, Any], command: str, created: str,
    versions: Mapping[str, str],
) -> None:  # fmt: skip
    """Write the report of cases, as `scale.by_case` gives them.

    Args:
        path: the file.
        cases: at least one of them measured.
        machine: its facts.
        command: what reproduces it.
        created: when.
        versions: of what figures depend on.

    Raises:
        ValueError: no case was measured.
    """
    path.write_text(render(cases, machine, command, created, versions), encoding="utf-8")


def render(
    cases: Sequence[dict[str, Any]], machine: Mapping[str, Any], command: str, created: str,
    versions: Mapping[str, str],
) -> str:  # fmt: skip
    """Return the page; arguments and errors as those of `write`."""
    rows = [case for case in cases if "speedup" in case]
    speedup = _speedup(rows)
    picture = shown(cases, speedup)
    files = resources.files("seqloom.lab")
    page, css = (files.joinpath(name).read_text(encoding="utf-8") for name in ("report_scale.html", "report.css"))
    known = {name: value for name, value in machine.items() if value or name not in _RATES}
    tables = environment({"machine": known, "versions": versions, "created": created})
    return Markup(page).format(
        sentence=_sentence(rows),
        css=Markup(css + marks()),
        kicker=_kicker(rows[0], machine),
        beside=_beside(rows),
        picture=_picture(picture),
        command=command,
        speedup=_table(speedup, "Speed-up"),
        split=_table(_split(rows), "Where the time of a step goes"),
        lacking=_lacking(cases),
        method=Markup("").join(Markup("<li>{}</li>").format(line) for line in METHOD),
        environment=Markup("").join(_table(table, table.head[0], "facts") for table in tables if table.rows),
        created=created,
    )


def _sentence(rows: Cases) -> str:
    best = max(rows, key=lambda case: case["speedup"])
    if best["speedup_interval"][0] <= 1:
        return "No plan is shown faster than one process"
    name = f"{words.title(best['model'])} under {best['plan'].replace(',', ', ')}"
    return f"{name} is {best['speedup']:.2f} times as fast as one process {_span(best, 'speedup')}"


def _beside(rows: Cases) -> str:
    """Return what the ceiling was, and how far predictions were off."""
    ceilings = [case["ceiling"] for case in rows]
    low, high = min(ceilings), max(ceilings)
    told = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    n = rows[0]["processes"]
    said = [f"The machine itself allows {told} times the work of one process to {n} independent ones; ideal: {n}."]
    errors = [abs(case["predicted_step_s"] / case["step_s"] - 1) for case in rows if "predicted_step_s" in case]
    if errors:
        mean = sum(errors) / len(errors)
        said.append(f"Predicted steps were off by {mean:.0%} on average, {max(errors):.0%} at worst.")
    return " ".join(said)


def _kicker(case: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    cores = machine.get("cores")
    parts = [
        f"{case['processes']} processes", *([f"{cores}-core CPU"] if cores else []), f"{case['batch']} rows",
        f"{case['length']} tokens a row", f"{case['scaling']} scaling",
    ]  # fmt: skip
    return " · ".join(parts)


def _speedup(rows: Cases) -> Table:
    head = ["model", "plan", "speed-up", "predicted", "ceiling", "of ceiling", "efficiency"]
    told = [
        [
            words.title(case["model"]), case["plan"],
            *(_value(case, name) for name in ("speedup", "predicted_speedup", "ceiling", "of_ceiling", "efficiency")),
        ]
        for case in rows
    ]  # fmt: skip
    sizes = {words.title(case["model"]): f"{case['parameters']:,}" for case in rows}
    note = "Parameters, token table aside: " + "; ".join(f"{name} {size}" for name, size in sizes.items()) + "."
    return Table(head, told, note=note)


def _split(rows: Cases) -> Table:
    head = ["model", "plan", "step", "one process", "compute", "at the door", "data", "bubble, predicted", "messages",
            "sent"]  # fmt: skip
    return Table(head, [
        [
            words.title(case["model"]), case["plan"], words.seconds(case["step_s"]),
            words.seconds(case["one_process_s"]),
            *(f"{case[name]:.1%}" for name in ("compute_share", "door_share", "data_share")),
            f"{case['predicted_bubble_share']:.1%}" if "predicted_bubble_share" in case else "not predicted",
            f"{case['messages']:,.0f}", words.size(case["sent_bytes"]),
        ]
        for case in rows
    ])  # fmt: skip


def _lacking(cases: Cases) -> Markup:
    """Return which plans were not measured or not predicted, and why; nothing where all were."""
    found = [
        [words.title(case["model"]), case["plan"], what, case[key]]
        for case in cases
        for key, what in (("skipped", "not measured"), ("not_predicted", "not predicted"))
        if key in case
    ]
    if not found:
        return Markup("")
    opened = Markup('<section id="lacking" aria-labelledby="lacking-h"><h2 id="lacking-h">What is not here</h2>')
    return opened + _table(Table(["model", "plan", "", "why"], found), "What is not here") + Markup("</section>")


def _value(case: Mapping[str, Any], name: str) -> str:
    return f"{case[name]:.2f} {_span(case, name)}" if name in case else "not predicted"


def _span(case: Mapping[str, Any], name: str) -> str:
    low, high = case[f"{name}_interval"]
    return f"({low:.2f} {words.DASH} {high:.2f})"


def _picture(found: Figure) -> Markup:
    caption = Markup("<figcaption>{}<small>{}</small></figcaption>").format(found.title, found.caption)
    both = Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(found.wide, found.narrow)
    return Markup("<figure>{}{}</figure>").format(caption, both)


def _table(found: Table, label: str, css: str = "") -> Markup:
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in found.head)
    rows = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(_cell(cell) for cell in row)) for row in found.rows
    )
    opened = Markup('<div class="scroll" tabindex="0" role="region" aria-label="{}"><table class="{}">').format(
        label, css
    )
    note = Markup('<p class="cap">{}</p>').format(found.note) if found.note else ""
    return opened + Markup("<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>{}").format(head, rows, note)


def _cell(text: str) -> Markup:
    css = "wide" if len(text) > 60 else "tight" if len(text) < 24 else ""
    return Markup('<td class="{}">{}</td>').format(css, text)

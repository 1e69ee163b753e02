"""The report: one file, no request, nothing from data becomes markup, every figure has its numbers."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from invented import golden, make_run, row, scored

from seqloom.lab.report import MOST_BYTES, render, write_report

HOSTILE = (
    "</script><!--\"><img src=x onerror=alert(1)>' {{ 7*7 }} <script>alert(2)</script> ]]> javascript:alert(3) \u2028é"
)


class Page(HTMLParser):
    """Collect what a browser would see: elements, attributes, the text of the data element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data, self._in_data = "", False
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_data = tag == "script" and ("id", "data") in attrs

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data
        else:
            self.text.append(data)

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(*golden()))


def hostile_run() -> tuple[dict[str, Any], list[Any]]:
    """Return a run whose every word from outside is an attack."""
    model = f"m{HOSTILE}"
    run = make_run(
        {
            HOSTILE: {
                "title": HOSTILE,
                "floor_of": HOSTILE,
                "labels": [HOSTILE, "b"],
                "rejects": [{"line": 3, "reason": HOSTILE}],
            }
        },
        {model: "recurrent", "x" + HOSTILE: HOSTILE, "transformer": "attention"},
        command=f"seqloom compare --data {HOSTILE}",
        versions={HOSTILE: HOSTILE},
        method=[HOSTILE],
    )
    run["tasks"][HOSTILE]["facts"] = {HOSTILE: HOSTILE, "list": [HOSTILE]}
    run["tasks"][HOSTILE]["spec"] = {"name": "recall", "data": HOSTILE}
    run["machine"]["cpu"] = HOSTILE
    rows = scored(HOSTILE, model, 0.9, 0.01, time=10, family="recurrent")
    rows += scored(HOSTILE, "transformer", 0.9, 0.01, time=30)
    rows += [row("missing", 0, task=HOSTILE, model="x" + HOSTILE, why=HOSTILE), row(HOSTILE, 1, **{HOSTILE: HOSTILE})]
    rows += [row(HOSTILE, 0.5, task=HOSTILE, model=model, split="test")]
    for n, length in enumerate((64, 256)):
        rows += [
            row(w, 1.0 + n, model=m, length=length)
            for m in (model, "transformer")
            for w in ("train_step_s", "state_bytes")
        ]
        rows += [row("gradient_norm", 1.0, model=model, lag=length, when="initial")]
        rows += [row("validation", 0.5, task=HOSTILE, model=model, train_s=float(n), step=n, seed=HOSTILE)]
    rows += [row("crossover", 100, phase=HOSTILE, a=HOSTILE, b=model, kind="measured")]
    rows += [row("gradient_decay", -0.1, model=model, family="recurrent", when="trained", verdict=HOSTILE)]
    return run, rows


def test_nothing_from_data_becomes_markup():
    text = render(*hostile_run())
    found = Page(text)
    assert len(found.tags("script")) == 2 and not found.tags("img") and not found.tags("iframe")
    names = {name for _, attributes in found.elements for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    links = [a.get("href") or "" for a in found.tags("a")]
    assert all(link.startswith("#") for link in links)
    assert "49" not in "".join(re.findall(r"\{\{.*?\}\}", "".join(found.text)))
    assert "{{ 7*7 }}" in "".join(found.text)  # shown as it is, neither run nor lost


def test_hostile_data_survives_in_the_embedded_rows():
    run, rows = hostile_run()
    held = json.loads(Page(render(run, rows)).data)
    assert held["run"] == run
    assert held["rows"] == [dataclasses.asdict(r) for r in rows]


def test_the_embedded_rows_are_the_ledger(page: Page):
    run, rows = golden()
    held = json.loads(page.data)
    assert held == {"run": run, "rows": [dataclasses.asdict(r) for r in rows]}


def test_the_page_asks_for_nothing(page: Page):
    assert not page.tags("img") and not page.tags("iframe") and not page.tags("object")
    assert [a["href"] for a in page.tags("link")] == ["data:,"]
    assert all("src" not in a for a in page.tags("script"))
    policy = next(a["content"] or "" for a in page.tags("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy and "unsafe-inline'; script-src 'sha256-" in policy
    text = render(*golden())
    assert "url(" not in text and "@import" not in text


def test_the_policy_names_the_script_of_the_page():
    import base64
    import hashlib

    text = render(*golden())
    script = text[text.rindex("<script>") + 8 : text.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in text


def test_every_figure_has_its_numbers_behind_it():
    text = render(*golden())
    figures = re.findall(r"<figure>.*?</figure>", text, flags=re.S)
    assert len(figures) == 3 + 3 + 3 + 2 + 2
    for figure in figures:
        assert 'role="img"' in figure and "<desc " in figure
        body = figure[figure.index("<details>") :]
        assert body.count("<td") > 3, figure[:200]


def test_ids_are_unique_and_links_lead_somewhere(page: Page):
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {(a["href"] or "")[1:] for a in page.tags("a")} <= set(ids)
    named = [name for a in page.tags("svg") for name in (a.get("aria-labelledby") or "").split()]
    assert named and set(named) <= set(ids)


def test_a_family_has_one_colour_and_one_shape_everywhere():
    text = render(*golden())
    for colour, shape in (("rec", "circle"), ("att", "rect"), ("hyb", "path")):
        marks = re.findall(rf'<g class="m {colour} r\d (?:full|hollow|half)"><(\w+)', text)
        assert marks and set(marks) == {shape}


def test_predicted_is_dashed_and_extrapolated_dotted():
    run = make_run()
    kinds = ("measured", "measured", "predicted", "predicted", "extrapolated")
    rows = [row("train_step_s", 2.0**n, model="gru", length=2**n, kind=kind) for n, kind in enumerate(kinds)]
    text = render(run, rows)
    figure = next(f for f in re.findall(r"<figure>.*?</figure>", text, flags=re.S) if "One training step" in f)
    lines = re.findall(r'<path class="line" d="([^"]*)"( stroke-dasharray="[^"]*")?/>', figure)
    assert [(path.count("L"), dash.strip()) for path, dash in lines] == [
        (1, ""),
        (2, 'stroke-dasharray="7 4"'),
        (1, 'stroke-dasharray="1.5 4"'),
    ]
    assert "2 predicted, dashed" in text and "1 extrapolated, dotted" in text
    assert "16 s, extrapolated" in text


def test_gradients_are_shown_for_each_task_they_were_measured_on():
    rows = [
        row("gradient_norm", 0.5**lag, model="gru", family="recurrent", task=task, when=when, lag=lag)
        for task in ("digits", "recall")
        for when in ("initial", "trained")
        for lag in (0, 1, 2)
    ]
    rows.append(
        row("gradient_decay", -0.7, model="gru", family="recurrent", task="recall", when="trained", verdict="vanishing")
    )
    text = render(make_run({"digits": {}, "recall": {}}), rows)
    assert text.count("<figcaption>At initialisation") == 2
    assert "On recall" in text and "Recurrent: vanishing in GRU." in text


def test_an_empty_ledger_says_what_was_not_measured():
    text = render(make_run({"digits": {}, "recall": {"spec": {"name": "recall"}}}), [])
    assert "not measured in this run" in text and "No verdict" in text
    assert "shows nothing of the two families" in text


def test_a_missing_measurement_says_why():
    rows = scored("digits", "gru", 0.9, 0.01, time=3)
    rows += [row("missing", 0, task="digits", model="transformer", why="it needs more memory than there is")]
    rows += [row("train_step_s", 1, model=m, length=n) for m, n in (("gru", 64), ("gru", 128), ("transformer", 64))]
    rows += [row("skipped", 0, of="train_step_s", model="transformer", length=128, why="the budget ran out")]
    text = render(make_run(), rows)
    assert "not measured: it needs more memory than there is" in text
    assert "not measured: the budget ran out" in text


def test_a_model_at_the_floor_is_called_so():
    rows = scored("digits", "gru", 0.9, 0.01, time=3) + scored("digits", "transformer", 0.11, 0.03, time=3)
    assert "not clearly better" in render(make_run(), rows)


def test_the_recall_task_is_told_in_words():
    text = " ".join(Page(render(*golden())).text)
    assert "With 16 pairs to remember, 64 steps and 64 symbols, the best attention model (Transformer)" in text
    assert "attention is shown better here" in text and "at equal parameters" in text


def test_recall_claims_nothing_where_intervals_overlap():
    run = make_run({"recall": {"spec": {"name": "recall", "pairs": 4}}})
    rows = scored("recall", "gru", 0.98, 0.02) + scored("recall", "transformer", 0.99, 0.02)
    text = render(run, rows)
    assert "no difference is shown at this budget" in text and "shown better here" not in text


def test_recall_that_was_not_learned_shows_nothing():
    run = make_run({"recall": {"floor": 0.125, "spec": {"name": "recall", "pairs": None}, "facts": {"pairs": 8}}})
    text = render(run, scored("recall", "gru", 0.084, 0.007) + scored("recall", "transformer", 0.124, 0.005))
    assert "With 8 pairs to remember" in text and "shows nothing yet" in text and "textbook" not in text


def test_rows_used_and_rejected_add_up_and_are_listed(page: Page):
    text = " ".join(page.text)
    assert "1,812 rows in = 1,809 used + 3 rejected" in text and "not UTF-8 at byte 17" in text


def test_what_does_not_fit_is_not_said_to_fit():
    rows = scored("digits", "gru", 0.9, 0.01, time=3, peak=9e9) + scored("digits", "transformer", 0.5, 0.01, peak=7e9)
    text = render(make_run(), rows)
    assert "does not fit in 8.0 GB" in text and "tight: 88 % of 8.0 GB" in text


def test_a_huge_ledger_stays_within_the_size_and_says_what_was_thinned():
    run, rows = golden()
    rows = rows + [
        row("validation", 0.5 + n / 1e5, task="digits", model=m, train_s=n / 10, step=n, seed=s)
        for m in run["models"]
        for s in range(3)
        for n in range(700)
    ]
    text = render(run, rows)
    assert len(text.encode()) <= MOST_BYTES
    assert "ledger.jsonl holds all" in text
    held = json.loads(Page(text).data)["rows"]
    assert sum(r["what"] == "crossover" for r in held) == 4  # only curves were thinned


def test_many_models_seeds_and_long_names_stay_within_the_size():
    models = {f"m{n}": ("recurrent", "attention")[n % 2] for n in range(20)}
    tasks = {f"t{n}": {"labels": ["long " * 20000] * 100, "facts": {"odd": "x" * 100000}} for n in range(6)}
    rows = [
        row("validation", 0.5 + n / 1e5, task=t, model=m, train_s=n / 10, step=n, seed=s)
        for t in tasks
        for m in models
        for s in range(6)
        for n in range(40)
    ]
    run = make_run(tasks, models)
    text = render(run, rows)
    assert len(text.encode()) <= MOST_BYTES
    assert "too large to embed" in text and "(100,000 characters)" in text


def test_numbers_that_json_cannot_say_are_null():
    run, rows = golden()
    run["tasks"]["digits"]["facts"]["odd"] = [math.nan, math.inf, 1.5]
    assert json.loads(Page(render(run, rows)).data)["run"]["tasks"]["digits"]["facts"]["odd"] == [None, None, 1.5]


def test_one_task_has_no_switch():
    rows = scored("digits", "gru", 0.9, 0.01, time=3) + scored("digits", "transformer", 0.5, 0.01, time=9)
    assert not Page(render(make_run(), rows)).tags("input")
    assert len(Page(render(*golden())).tags("input")) == 3


def test_the_same_run_gives_the_same_file(tmp_path: Path):
    run, rows = golden()
    write_report(run, rows, tmp_path / "a.html")
    write_report(run, rows, tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == render(run, rows)
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]

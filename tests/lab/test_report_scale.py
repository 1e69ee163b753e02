"""The report of a scaling: one file that asks for nothing, shows every case, and takes no markup from data."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from seqloom.lab.report_scale import render

HOSTILE = "</style><script>alert(1)</script><img src=x onerror=alert(2)> {0} {css} é"


def case(model: str, plan: str, speedup: float, **more: Any) -> dict[str, Any]:
    values = {"speedup": speedup, "ceiling": 1.9, "of_ceiling": speedup / 1.9, "efficiency": speedup / 2}
    spans = {f"{what}_interval": [0.9 * value, 1.1 * value] for what, value in values.items()}
    about = {
        "model": model, "family": "recurrent", "plan": plan, "processes": 2, "batch": 16, "length": 256,
        "parameters": 1_000_123, "scaling": "strong", "step_s": 0.1 / speedup, "one_process_s": 0.1, "door_share": 0.2,
        "data_share": 0.01, "compute_share": 0.79, "messages": 3, "sent_bytes": 4000, "ideal": 2,
    }  # fmt: skip
    return {**about, **values, **spans, **more}


def foretold(model: str, plan: str, speedup: float, off: float) -> dict[str, Any]:
    told = {"predicted_step_s": 0.1 / speedup * off, "predicted_speedup": speedup / off, "predicted_bubble_share": 0.2}
    return case(model, plan, speedup, **told, predicted_speedup_interval=[0.7 * speedup, 1.4 * speedup])


def page(cases: list[dict[str, Any]], word: str = "x") -> str:
    return render(cases, {"cpu": word, "cores": 2, "flops_per_s": 0.0}, f"seqloom scale {word}", word, {word: "1"})


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def test_the_page_shows_every_case_and_asks_for_nothing() -> None:
    lacks = {"model": "bilstm", "plan": "sequence=2", "skipped": "it sees the future"}
    html = page([foretold("lstm", "data=2", 1.5, 1.1), foretold("gru", "pipeline=2", 1.2, 0.7), lacks])
    said = text_of(html)
    for word in ("LSTM data=2", "GRU pipeline=2", "1.50 (1.35 – 1.65)", "1,000,123", "it sees the future", "20.0%"):
        assert word in said
    tags = [tag for tag, _ in Elements(html).found]
    assert "script" not in tags and "img" not in tags and "iframe" not in tags
    assert tags.count("svg") == 2  # for wide screens and for narrow ones
    assert "url(" not in html and "@import" not in html and "http://" not in html and "https://" not in html
    assert "matrix rate" not in said  # which nobody measured


def test_nothing_from_data_becomes_markup() -> None:
    html = page([foretold(HOSTILE, HOSTILE, 1.5, 1.1), {"model": "m", "plan": "p", "skipped": HOSTILE}], HOSTILE)
    tags = {tag for tag, _ in Elements(html).found}
    assert not tags & {"script", "img"}
    assert not [name for _, attributes in Elements(html).found for name in attributes if name.startswith("on")]
    assert "{css}" in html  # shown as it is


def test_the_headline_is_the_fastest_plan_where_one_is_shown_faster() -> None:
    cases = [foretold("lstm", "data=2", 1.5, 1.1), foretold("gru", "pipeline=2", 1.7, 0.8)]
    assert "GRU under pipeline=2 is 1.70 times as fast as one process (1.53 – 1.87)" in text_of(page(cases))
    assert "No plan is shown faster than one process" in text_of(page([case("lstm", "data=2", 1.05)]))


def test_errors_of_predictions_are_of_the_cases_that_have_one() -> None:
    both = [foretold("lstm", "data=2", 1.5, 1.1), foretold("gru", "data=2", 1.7, 0.7), case("gpt", "data=2", 1.2)]
    assert "off by 20% on average, 30% at worst" in text_of(page(both))
    assert "Predicted steps" not in text_of(page([case("gpt", "data=2", 1.2)]))
    assert "not predicted" in text_of(page([case("gpt", "data=2", 1.2, not_predicted="its steps depend on the data")]))


def test_of_nothing_measured_there_is_no_report() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        page([{"model": "m", "plan": "p", "skipped": "why"}])

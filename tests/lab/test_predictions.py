"""The ledger of predictions: its band is of its rows, a machine's rows are replaced, what is no case is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.core.spec import resolve
from seqloom.lab.predictions import Case, band, keep, read

ABOUT = {
    "model": "gru", "family": "recurrent", "parameters": 200_000, "batch": 8, "length": 512, "plan": "data=2",
    "predicted_s": 0.11, "measured_s": 0.1, "predicted_bytes": 1e6, "measured_bytes": 1e6, "machine": "here",
    "time": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


def case(**more: Any) -> Case:
    return resolve(Case, {**ABOUT, **more})


@given(st.lists(st.floats(-0.9, 3.0), min_size=1, max_size=9), st.floats(1e-4, 10.0))
def test_the_band_is_that_of_the_rows(errors: list[float], seconds: float) -> None:
    rows = [
        case(predicted_s=seconds * (1 + error), measured_s=seconds, predicted_bytes=1e6 * (1 + error / 2))
        for error in errors
    ]
    found, sizes = band(rows, "here"), sorted(abs(error) for error in errors)
    assert found.cases == len(rows)
    assert found.mean == pytest.approx(sum(sizes) / len(sizes)) and found.worst == pytest.approx(sizes[-1])
    assert found.median == pytest.approx((sizes[len(sizes) // 2] + sizes[(len(sizes) - 1) // 2]) / 2)
    assert found.memory_worst == pytest.approx(sizes[-1] / 2)
    assert found == band(rows[::-1], "here")._replace(mean=found.mean, memory_mean=found.memory_mean)


def test_a_machine_s_own_cases_count_where_it_has_some_and_else_those_of_the_others_which_are_named() -> None:
    rows = [case(), case(machine="there", predicted_s=0.15, plan="data=2,tensor=2")]
    assert band(rows, "here").worst == pytest.approx(0.1) and band(rows, "here").machine == "here"
    assert band(rows, "there").worst == pytest.approx(0.5) and band(rows, "there").processes == 4
    elsewhere = band(rows, "nowhere")
    assert elsewhere.cases == 2 and elsewhere.machine == "here; there"
    assert "off by 30.0% on average (median 30.0%, worst 50.0%)" in elsewhere.said()


def test_where_nothing_was_measured_that_is_said(tmp_path: Path) -> None:
    found = band(read(tmp_path / "none.jsonl"), "h200x8")
    assert found.cases == 0 and found.mean is found.median is found.worst is None
    assert "No such prediction was held against a measurement on h200x8" in found.said()


def test_keeping_replaces_a_model_s_cases_on_a_machine_and_leaves_the_others(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    there = case(machine="there")
    keep([case(), there], ledger)
    assert read(ledger) == [case(), there]
    keep([case(predicted_s=0.2), case(model="gpt")], ledger)
    assert read(ledger) == [there, case(predicted_s=0.2), case(model="gpt")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (json.dumps({**ABOUT, "speed": 1}), "line 2.*speed"),
        (json.dumps({name: value for name, value in ABOUT.items() if name != "plan"}), "line 2.*plan"),
        (json.dumps({**ABOUT, "measured_s": 0}), "line 2.*measured_s"),
        ('{"model": "gru"', "line 2"),
        ("[]", "line 2"),
    ],
    ids=["unknown field", "no plan", "no time", "torn", "a list"],
)
def test_what_is_no_case_is_refused_and_named(line: str, said: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text(f"{json.dumps(ABOUT)}\n{line}\n")
    with pytest.raises(ValueError, match=said):
        read(ledger)


def test_the_ledger_of_the_package_can_be_read() -> None:
    cases = read()
    fields = ("what", "model", "parameters", "batch", "length", "plan", "machine")
    assert len({tuple(getattr(case, name) for name in fields) for case in cases}) == len(cases)
    assert sum(case.what == "training" for case in cases) >= 40


def test_training_and_decoding_are_kept_beside_each_other_and_a_band_tells_of_memory_where_it_was_measured(
    tmp_path: Path,
) -> None:
    ledger, token = tmp_path / "ledger.jsonl", case(what="decoding", predicted_bytes=None, measured_bytes=None)
    keep([case()], ledger)
    keep([token], ledger)
    assert read(ledger) == [case(), token]
    assert "memory" not in band([token], "here").said() and "in turns" not in band([token], "here").said()
    assert "memory" in band([case()], "here").said() and "in turns" in band([case()], "here").said()

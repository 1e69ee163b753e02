"""The ledger: rows come back as they were, and damage is told, never hidden."""

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqloom.measure.ledger import Ledger, Measurement

finite = st.floats(allow_nan=False, allow_infinity=False)
labels = st.dictionaries(st.text(max_size=5), st.text(max_size=8) | st.integers(-(2**60), 2**60) | finite, max_size=4)


def row(value: float = 1.5, **more) -> Measurement:
    return Measurement(what="train_step_s", value=value, unit="s", **more)


@given(value=finite, labels=labels, n=st.integers(0, 10**9), unit=st.text(max_size=4))
@settings(max_examples=40)
def test_rows_round_trip(value, labels, n, unit) -> None:
    before = Measurement(what="x", value=value, unit=unit, labels=labels, n=n)
    line = before.to_json()
    assert "\n" not in line
    assert Measurement.from_json(line) == before


def test_rows_are_on_disk_at_once_and_come_back_in_order(tmp_path) -> None:
    path = tmp_path / "new" / "ledger.jsonl"
    ledger = Ledger(path)
    assert not path.exists()
    for value in range(5):
        ledger.append(row(value, labels={"model": "gru", "length": 2**value}))
        assert len(path.read_text().splitlines()) == value + 1
    again = Ledger(path)
    assert again.rows() == ledger.rows()
    assert [r.value for r in again.select("train_step_s", model="gru", length=8)] == [3.0]
    assert again.select("other") == [] and again.damaged == []


@pytest.mark.parametrize("keep", [1, 20, -1])
def test_a_torn_last_line_is_told_and_nothing_else_is_lost(tmp_path, keep) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).extend([row(1), row(2)])
    whole = path.read_bytes()
    torn = whole + row(3).to_json().encode()[:keep]
    path.write_bytes(torn)
    with pytest.warns(UserWarning, match="line 3"):
        ledger = Ledger(path)
    assert [r.value for r in ledger.rows()] == [1, 2]
    assert [d.line for d in ledger.damaged] == [3]
    ledger.append(row(4))
    assert path.read_bytes().startswith(torn)  # only ever added to
    with pytest.warns(UserWarning, match="1 line"):
        assert [r.value for r in Ledger(path).rows()] == [1, 2, 4]


def test_a_last_line_without_its_end_is_whole_if_it_reads(tmp_path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text(row(1).to_json())
    ledger = Ledger(path)
    ledger.append(row(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [r.value for r in Ledger(path).rows()] == [1, 2]


@pytest.mark.parametrize(
    "line",
    [
        b"\0\0\0\0",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"what":"x","value":NaN,"unit":"s"}',
        b'{"what":"x","value":1,"unit":"s","colour":1}',
        b'{"what":"x","value":"1","unit":"s"}',
        b'{"what":"x","value":1,"unit":"s","labels":[]}',
        b'{"what":"x","value":1,"unit":"s","kind":"guessed"}',
    ],
)
def test_damage_in_the_middle_is_listed_with_line_and_reason(tmp_path, line) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(row(1).to_json().encode() + b"\n" + line + b"\n" + row(2).to_json().encode() + b"\n")
    with pytest.warns(UserWarning):
        ledger = Ledger(path)
    assert [r.value for r in ledger.rows()] == [1, 2]
    assert ledger.damaged[0].line == 2 and ledger.damaged[0].reason


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["value", "low", "high"])
def test_numbers_that_are_not_finite_are_refused(bad, name) -> None:
    with pytest.raises(ValueError, match=f"{name} = .*finite"):
        Measurement(**{"what": "x", "value": 1.0, "unit": "s", name: bad})
    with pytest.raises(ValueError, match="finite"):
        row(labels={"train_s": bad})


def test_bounds_in_the_wrong_order_and_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="swap"):
        row(low=2, high=1)
    with pytest.raises(ValueError, match="guessed"):
        row(kind="guessed")
    with pytest.raises(ValueError, match="label"):
        row(labels={"model": None})


def test_numbers_of_numpy_become_plain() -> None:
    made = row(np.float32(0.5), n=np.int64(3), labels={"length": np.int32(7)})
    assert type(made.value) is float and type(made.labels["length"]) is int
    assert json.loads(made.to_json())["n"] == 3


def test_an_empty_ledger_is_not_taken_for_none() -> None:
    assert Ledger()


def test_a_ledger_in_memory_writes_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = Ledger()
    ledger.append(row())
    assert len(ledger.rows()) == 1 and list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_a_full_disk_leaves_earlier_rows(tmp_path) -> None:
    import resource
    import signal

    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append(row(1))
    size = path.stat().st_size
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limit[1]))
    try:
        with pytest.raises(OSError):
            ledger.append(row(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    ledger.append(row(3))
    assert [r.value for r in ledger.rows()] == [1, 3]
    with pytest.warns(UserWarning):
        assert [r.value for r in Ledger(path).rows()] == [1, 3]

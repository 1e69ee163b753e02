"""The bench: which lengths are tried, what is skipped and why, and which rows come out; never how fast anything is."""

from collections.abc import Iterator

import numpy as np
import pytest

from seqloom.core.spec import resolve
from seqloom.lab import bench as module
from seqloom.lab.bench import LENGTHS, PHASES, Sweep, bench, ladder, predict
from seqloom.measure.ledger import Ledger, Measurement
from seqloom.measure.machine import describe
from seqloom.zoo.architecture import Architecture

MACHINE = describe().replace(flops_per_s=1e9)
SMALL = {"parameters": 4000, "vocabulary": 16, "batch": 2, "machine": MACHINE}


def of(rows: list[Measurement], what: str, **labels) -> list[Measurement]:
    return [r for r in rows if r.what == what and labels.items() <= r.labels.items()]


@pytest.fixture(scope="module", autouse=True)
def few_rounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_ROUNDS", module.MIN_ROUNDS)
        yield


@pytest.fixture(scope="module")
def two(few_rounds) -> tuple[list[Measurement], Ledger, list[str]]:
    ledger, said = Ledger(), []
    rows = bench(["gru", "transformer"], lengths=[16, 8], budget_s=60, ledger=ledger, progress=said.append, **SMALL)
    return rows, ledger, said


def test_every_quantity_is_put_down_for_every_model_and_length(two) -> None:
    rows, ledger, said = two
    assert ledger.rows() == rows and said
    for model, family in (("gru", "recurrent"), ("transformer", "attention")):
        for length in (8, 16):
            labels = {"model": model, "length": length, "batch": 2, "family": family}
            for what in (*PHASES, "train_peak_bytes", "state_bytes"):
                (row,) = of(rows, what, **labels)
                assert row.value > 0 and row.machine == MACHINE.digest() and row.spec
                assert abs(row.labels["parameters"] - 4000) < 400
            for what in PHASES:
                (row,) = of(rows, what, **labels)
                assert row.unit == "s" and row.n >= 1 and row.low <= row.value <= row.high
            assert len(of(rows, "tokens_per_s", **labels)) == 3
            assert {r.labels["phase"] for r in of(rows, "of_limit", **labels)} == {"train_step_s", "prefill_s"}
    assert not of(rows, "skipped")


def test_a_model_that_needs_a_source_reads_one_of_the_length() -> None:
    rows = bench(["seq2seq"], lengths=[8], budget_s=60, **SMALL)
    for what in (*PHASES, "state_bytes"):
        (row,) = of(rows, what, model="seq2seq", length=8)
        assert row.value > 0


def test_rates_follow_from_the_medians(two) -> None:
    rows, _, _ = two
    for row in of(rows, "tokens_per_s"):
        labels = {key: row.labels[key] for key in ("model", "length")}
        (time,) = of(rows, row.labels["phase"], **labels)
        tokens = 2 * (1 if row.labels["phase"] == "decode_token_s" else row.labels["length"])
        assert row.value == pytest.approx(tokens / time.value)
        assert row.low == pytest.approx(tokens / time.high)


def test_state_grows_with_length_for_attention_and_not_for_a_recurrence(two) -> None:
    rows, _, _ = two
    states = {(r.labels["model"], r.labels["length"]): r.value for r in of(rows, "state_bytes")}
    assert states["gru", 8] == states["gru", 16]
    assert states["transformer", 16] == 2 * states["transformer", 8]
    peaks = {(r.labels["model"], r.labels["length"]): r.value for r in of(rows, "train_peak_bytes")}
    assert all(peaks[model, 16] > peaks[model, 8] for model in ("gru", "transformer"))


def test_without_time_the_first_length_is_measured_and_the_next_says_why_not() -> None:
    rows = bench(["gru", "transformer"], lengths=[8, 16, 32], budget_s=1e-6, **SMALL)
    assert {r.labels["length"] for r in of(rows, "train_step_s")} == {8}
    skipped = of(rows, "skipped")
    assert {(r.labels["model"], r.labels["length"]) for r in skipped} == {("gru", 16), ("transformer", 16)}
    assert all(r.kind == "predicted" and r.unit == "s" and "budget" in r.labels["reason"] for r in skipped)


def test_without_memory_a_length_is_not_begun(monkeypatch) -> None:
    monkeypatch.setattr(module, "available_bytes", lambda device: 1)
    rows = bench(["gru"], lengths=[8, 16], budget_s=60, **SMALL)
    (row,) = of(rows, "skipped")
    assert row.unit == "B" and row.labels["length"] == 16 and "available" in row.labels["reason"]


def test_lengths_far_apart_are_approached_by_doubling() -> None:
    assert ladder([256, 512, 1024]) == [256, 512, 1024]
    assert ladder([8, 64]) == [8, 16, 32, 64]
    assert ladder([2000]) == [250, 500, 1000, 2000]
    assert ladder([256, 700]) == [256, 512, 700]
    for wanted in ([1], [5, 9, 4000], list(LENGTHS)):
        steps = ladder(wanted)
        assert set(wanted) <= set(steps) and steps == sorted(set(steps)) and steps[0] <= max(wanted[0], 256)
        assert all(b <= 2 * a for a, b in zip(steps, steps[1:], strict=False))


def test_lengths_on_the_way_are_not_reported() -> None:
    rows = bench(["mingru"], lengths=[4, 16], budget_s=60, **SMALL)
    assert {r.labels["length"] for r in rows} == {4, 16}


def test_predictions_follow_the_last_power_and_are_never_less_than_linear() -> None:
    assert predict({}, 8) is None
    assert predict({4: 1.0}, 8) == 4.0
    assert predict({1: 9.0, 4: 2.0, 8: 4.0}, 16) == pytest.approx(8.0)
    assert predict({4: 1.0, 8: 4.0}, 32) == pytest.approx(64.0)
    assert predict({4: 2.0, 8: 2.0}, 16) == pytest.approx(4.0)
    assert predict({4: 1.0, 8: 4.0, 16: 1.0}, 16) == pytest.approx(16.0)  # only from shorter ones


class Invented:
    """A model whose samples are made up: seconds = scale * length ** power."""

    def __init__(self, name: str, family: str, scale: float, power: float) -> None:
        rng = np.random.default_rng(len(name))
        self.name, self.family = name, family
        self.samples = {
            phase: {n: scale * n**power * rng.lognormal(0, 0.02, 7) for n in (256, 512, 1024)} for phase in PHASES
        }


def crossings(*subjects: Invented) -> list[Measurement]:
    sweep = Sweep(list(subjects), 4, 1.0, 0.0, MACHINE, Ledger(), print, 0)  # type: ignore[arg-type]
    sweep.cross()
    return sweep.rows


def test_crossovers_are_named_between_families_with_their_interval() -> None:
    transformer = Invented("transformer", "attention", 1e-6, 2)
    rows = crossings(transformer, Invented("gru", "recurrent", 6e-4, 1), Invented("lstm", "recurrent", 7e-4, 1))
    assert {r.labels["phase"] for r in rows} == set(PHASES)
    found = {r.labels["a"]: r for r in rows if r.labels["phase"] == "prefill_s"}
    assert set(found) == {"gru", "lstm"} and all(r.labels["b"] == "transformer" for r in rows)
    assert found["gru"].value == pytest.approx(600, rel=0.05)  # noise of 2 % in time
    assert found["gru"].low < found["gru"].value < found["gru"].high and found["gru"].kind == "measured"


def test_crossovers_beyond_what_was_measured_are_called_extrapolated_or_left_out() -> None:
    transformer = Invented("transformer", "attention", 1e-6, 2)
    near = crossings(Invented("gru", "recurrent", 2e-3, 1), transformer)
    assert len(near) == 3 and all(r.kind == "extrapolated" and r.value > 1024 for r in near)
    assert crossings(Invented("gru", "recurrent", 1e-1, 1), transformer) == []


def test_the_cheapest_of_each_family_go_on_first() -> None:
    subjects = [Invented(n, f, 1, 1) for n, f in (("gru", "r"), ("lstm", "r"), ("transformer", "a"))]
    sweep = Sweep(subjects, 4, 1.0, 0.0, MACHINE, Ledger(), print, 0)  # type: ignore[arg-type]
    ordered = sweep._in_turn({"gru": 2.0, "lstm": 1.0, "transformer": 9.0})
    assert [subject.name for subject in ordered] == ["lstm", "transformer", "gru"]


def test_architectures_may_have_names_of_your_own() -> None:
    wide = resolve(Architecture, {"name": "gru", "layers": 1})
    rows = bench({"one layer": wide}, lengths=[4], budget_s=60, **SMALL)
    assert {r.labels["model"] for r in rows} == {"one layer"}
    with pytest.raises(ValueError, match="same name"):
        bench([wide, "gru"], lengths=[4], **SMALL)


@pytest.mark.parametrize(
    "wrong",
    [{"lengths": [0]}, {"lengths": []}, {"batch": 0}, {"budget_s": 0}, {"budget_s": -1}, {"budget_s": float("nan")}],
)
def test_settings_outside_their_rule_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="must be"):
        bench(["gru"], **{**SMALL, **wrong})
    with pytest.raises(ValueError, match="at least one"):
        bench([])

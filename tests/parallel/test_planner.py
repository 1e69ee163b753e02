"""Predictions of plans: what they must say whatever the prices, prices that are found again, machines that are none."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from seqloom.core.spec import resolve
from seqloom.lab.planner import FEATURES, Prediction, Prices, candidates, described, features, predict
from seqloom.lab.prices import corrected, curve, fitted, kept_bytes, non_negative, sizes
from seqloom.model.model import ModelSpec
from seqloom.parallel.cluster import KNOWN, Cluster, read_cluster
from seqloom.parallel.plan import Plan
from seqloom.zoo.architecture import Architecture

FAST_LINKS = {"link_s": 1e-15, "link_bytes_per_s": 1e18}
SLOW_LINKS = {"link_s": 1e-3, "link_bytes_per_s": 1e8}


def cluster(**settings: float) -> Cluster:
    about = {"memory_bytes": 1e12, "flops_per_s": 1e12, "bytes_per_s": 1e18, "step_s": 1e-15}
    return resolve(Cluster, {**about, **FAST_LINKS, **settings})


def spec(name: str) -> ModelSpec:
    heads = {"heads": 4} if name in ("gpt", "hybrid") else {}
    return resolve(Architecture, {"name": name, "width": 64, "layers": 4, **heads}).standard(256)


def predicted(name: str, plans: list[Plan], machine: Cluster, batch: int = 16, length: int = 256) -> list[Prediction]:
    found = predict(spec(name), plans, batch, length, machine, described(machine, 250.0, 0.0))
    by_plan = {each.plan: each for each in found}
    return [by_plan[str(plan)] for plan in plans]


@pytest.mark.parametrize("name", ["gru", "mamba2", "gpt"])
def test_two_replicas_with_free_messages_take_half_the_time(name: str) -> None:
    one, two = predicted(name, [Plan(), Plan(data=2)], cluster())
    assert one.step_s is not None and two.step_s == pytest.approx(one.step_s / 2, rel=0.01)


def test_a_pipeline_waits_for_the_share_of_the_textbook() -> None:
    plan = Plan(pipeline=4, parts=8)
    (found,) = predicted("gru", [plan], cluster())
    assert found.bubble == pytest.approx(3 / 11)


def test_schedules_wait_less_or_hold_less_than_all_forward_and_all_back() -> None:
    plans = [Plan(pipeline=2, parts=8, schedule=name) for name in ("gpipe", "1f1b", "interleaved", "zero_bubble")]
    every, one, two, zero = predicted("gru", plans, cluster())
    for each in (every, one, two, zero):
        assert each.bubble is not None and each.memory_bytes and not each.why_not
    assert one.bubble == every.bubble and one.memory_bytes < every.memory_bytes  # type: ignore[operator]
    assert zero.bubble < two.bubble < every.bubble  # type: ignore[operator]


def test_the_last_stretch_of_attention_has_more_to_do_than_its_share_and_a_scan_has_not() -> None:
    for name, least, most in (("gpt", 0.6, 1.0), ("mingru", 0.49, 0.52)):
        one, two = predicted(name, [Plan(), Plan(sequence=2)], cluster(), length=8192)
        assert one.step_s is not None and two.step_s is not None
        assert least < two.step_s / one.step_s < most


def test_a_recurrence_in_columns_waits_for_messages_at_every_step_and_attention_does_not() -> None:
    slow = cluster(**SLOW_LINKS)
    for name, per_step in (("lstm", True), ("gpt", False)):
        (found,) = predicted(name, [Plan(tensor=2)], slow)
        assert found.message_s is not None
        assert (found.message_s > 4 * 256 * slow.link_s) == per_step
        assert found.limit == "messages"


def test_a_relay_pays_the_steps_of_every_group_and_a_fold_does_not() -> None:
    slow = cluster(step_s=1e-3, flops_per_s=1e18)
    for name, faster in (("mingru", True), ("lstm", False)):
        one, two = predicted(name, [Plan(), Plan(sequence=2)], slow)
        assert one.step_s is not None and two.step_s is not None
        assert (two.step_s < 1.05 * one.step_s) == faster


def test_parts_of_a_model_need_less_memory_and_what_does_not_fit_is_refused() -> None:
    whole, stages, columns = predicted("gru", [Plan(), Plan(pipeline=2), Plan(tensor=2)], cluster())
    assert whole.memory_bytes and stages.memory_bytes and columns.memory_bytes
    assert max(stages.memory_bytes, columns.memory_bytes) < whole.memory_bytes
    (shared,) = predicted("gru", [Plan(data=2, sharded=True)], cluster())
    assert shared.memory_bytes and shared.memory_bytes < whole.memory_bytes
    (small,) = predicted("gru", [Plan()], cluster(memory_bytes=1e5))
    assert "GiB on a device that has" in small.why_not[0] and small.step_s is not None


def test_plans_that_cannot_be_say_why_and_stand_last() -> None:
    plans = [Plan(pipeline=8), Plan(data=32), Plan(), Plan(sequence=512)]
    found = predict(spec("gru"), plans, 16, 256, cluster(), described(cluster(), 0.0, 0.0))
    assert [bool(each.why_not) for each in found] == [False, True, True, True]
    told = " ".join(reason for each in found for reason in each.why_not)
    assert "without a block" in told and "without a row" in told and "without a step" in told


def test_iterations_that_depend_on_the_data_are_not_predicted_and_not_proposed() -> None:
    (found,) = predicted("gru", [Plan(sequence=2, newton=True)], cluster())
    assert found.step_s is None and "depend on the data" in found.why_not[0]
    assert not any(plan.newton for plan in candidates(8, causal=True))


def test_candidates_are_all_plans_whose_processes_divide_the_devices() -> None:
    plans = list(candidates(8, causal=True))
    assert {plan.processes for plan in plans} == {1, 2, 4, 8}
    assert len(plans) == len({str(plan) for plan in plans})
    plain = [plan for plan in plans if plan == Plan().replace(**plan.degrees())]
    assert sum(plan.processes == 8 for plan in plain) == math.comb(3 + 3, 3)
    assert not any(plan.cuts == "time" for plan in candidates(8, causal=False))


def test_the_interval_holds_the_prediction_and_widens_with_the_axes() -> None:
    one, two = predicted("gru", [Plan(data=2), Plan(data=2, pipeline=2)], cluster())
    for each in (one, two):
        assert each.low is not None and each.step_s is not None and each.high is not None
        assert each.low < each.step_s < each.high
    assert two.high / two.step_s > one.high / one.step_s  # type: ignore[operator]


def test_planted_prices_are_found_again_and_none_is_negative() -> None:
    model = spec("gpt").build(0)
    sizes = [(rows, steps) for rows in (1, 4, 16) for steps in (16, 64, 256)]
    asked = np.array([features(model, *size) for size in sizes])
    planted = np.array([3e-12, 1e-5, 2e-10, 1e-9])
    assert asked.shape[1] == len(FEATURES)
    np.testing.assert_allclose(asked @ non_negative(asked, asked @ planted), asked @ planted, rtol=1e-6)
    without = non_negative(asked, asked @ np.array([3e-12, 0, 0, 0]))
    assert (without >= 0).all()
    assert (non_negative(asked, asked[:, 0] * 1e-12 - asked[:, 1] * 1e-9 + 1e-5) >= 0).all()


def test_prices_are_fitted_to_steps_of_the_model_itself() -> None:
    prices = fitted(spec("gru"), 8, 64, budget_s=0.1)
    assert isinstance(prices, Prices) and prices.points >= 4
    assert (prices.seconds >= 0).all() and prices.seconds.sum() > 0 and prices.error >= 0.05
    assert not any(rows == 8 and steps == 64 for rows, steps in prices.sizes)  # what is asked about is not measured


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 5), (32, 128), (64, 8192)])
def test_sizes_that_are_measured_are_smaller_than_what_is_asked_and_at_least_four(batch: int, length: int) -> None:
    found = sizes(batch, length)
    assert len(found) == len(set(found)) >= 4
    if length >= 64:
        assert all(
            rows <= batch and steps <= length and 4 * rows * steps <= 3 * batch * length for rows, steps in found
        )


def test_what_plans_took_here_corrects_their_kind_alone() -> None:
    plain, both = described(cluster(), 100.0, 0.0), Plan(data=2, pipeline=2)
    plans = [Plan(data=2), Plan(data=4), Plan(pipeline=2), Plan(), both]

    def told(rows: int, steps: int, prices: Prices = plain) -> dict[str, float]:
        found = predict(spec("gru"), plans, rows, steps, cluster(), prices)
        return {each.plan: each.step_s or 0.0 for each in found}

    def took(rows: int, steps: int) -> float:  # calls that the prices do not know, and all of it slower
        return 0.5 + 3 * told(rows, steps)["data=2"]

    taken = {Plan(data=2): [(rows, steps, took(rows, steps)) for rows, steps in [(8, 256), (16, 32), (16, 128)]]}
    found = told(16, 256, corrected(plain, spec("gru"), cluster(), taken))
    for plan, seconds in told(16, 256).items():
        same = plan in ("data=1", "pipeline=2")
        assert found[plan] == pytest.approx(seconds if same else 0.5 + 3 * seconds)
    steps = [(8, 256), (16, 32), (16, 128)]
    taken[Plan(pipeline=2)] = [(*each, 0.25 + 2 * told(*each)["pipeline=2"]) for each in steps]
    found = told(16, 256, corrected(plain, spec("gru"), cluster(), taken))
    assert found[str(both)] == pytest.approx(0.75 + 6 * told(16, 256)[str(both)])  # what stays adds up
    few = {Plan(data=2): [(16, 128, 2 * told(16, 128)["data=2"])]}
    assert told(16, 256, corrected(plain, spec("gru"), cluster(), few))["data=2"] == pytest.approx(
        2 * told(16, 256)["data=2"]
    )


def test_a_curve_is_a_line_with_a_part_that_stays_or_a_power_and_never_below_zero() -> None:
    told = np.array([1.0, 2.0, 3.0])
    assert curve(told, 0.5 + 2 * told)(4.0) == pytest.approx(8.5)
    assert curve(told, 3 * told**1.2)(4.0) == pytest.approx(3 * 4**1.2)
    assert curve(told, told**3).power == 1.5 and curve(told, told**3)(0.01) > 0  # no steeper
    assert curve(told, 1 / told).power == 1.0  # shorter steps cannot be told to take longer
    assert curve(told[:1], np.array([2.0]))(4.0) == pytest.approx(8.0)


def test_what_is_left_of_a_fit_corrects_sizes_near_it() -> None:
    prices = Prices(np.ones(4), 0.0, 0.0, 0.05, 2, np.array([[1, 16], [32, 64]]), np.array([2.0, 0.5]))
    assert prices.correction(1, 16) == pytest.approx(2) and prices.correction(32, 64) == pytest.approx(0.5)
    assert 1 < prices.correction(2, 16) < 2 and 0.5 < prices.correction(32, 4096) < 1
    assert described(cluster(), 0.0, 0.0).correction(7, 7) == 1.0


def test_what_a_token_keeps_grows_with_the_layers() -> None:
    deep = resolve(Architecture, {"name": "gru", "width": 64, "layers": 8}).standard(256)
    (block, outside), (same, _) = kept_bytes(deep), kept_bytes(spec("gru"))
    assert block == pytest.approx(same, rel=0.2) and block > 0 and outside >= 0


def test_a_machine_is_a_name_or_a_file(tmp_path: Path) -> None:
    assert read_cluster("h200x8") is KNOWN["h200x8"]
    file = tmp_path / "box.json"
    file.write_text(json.dumps({"memory_bytes": 8e9, "flops_per_s": 1e12, "bytes_per_s": 1e11, "step_s": 1e-6,
                                "link_s": 1e-5, "link_bytes_per_s": 1e9, "devices": 4}))  # fmt: skip
    assert read_cluster(str(file)).name == "box" and read_cluster(str(file)).devices == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "expected a Cluster"),
        ('{"memory_bytes": 1}', "flops_per_s"),
        ('{"speed": 1}', "speed"),
    ],
    ids=["half", "list", "lacking", "unknown"],
)
def test_a_file_that_describes_no_machine_is_refused(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "box.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=said):
        read_cluster(str(file))
    with pytest.raises(ValueError, match="no machine 'h200'.*h200x8"):
        read_cluster("h200")

"""Scale: rows of one step beside one process and the ceiling, the same on all processes, and plans that do not suit."""

from typing import Any
from xml.etree import ElementTree

import pytest
from ranks import on_ranks

from seqloom.core.spec import resolve
from seqloom.lab.scale import by_case, scale, suited
from seqloom.lab.scale_figure import figure
from seqloom.parallel.plan import Plan
from seqloom.zoo.architecture import Architecture

SVG = "{http://www.w3.org/2000/svg}"


def named(*names: str) -> dict[str, Architecture]:
    return {name: resolve(Architecture, {"name": name, "layers": 2}) for name in names}


def measured(models: dict[str, Architecture], plans: list[Plan], weak: bool = False) -> list[dict[str, Any]]:
    return by_case(scale(models, plans, batch=4, length=8, parameters=4000, vocabulary=16, budget_s=1e-3, weak=weak))


def test_each_model_and_plan_has_its_figures() -> None:
    plans = [Plan(data=2), Plan(pipeline=2, cuts="time"), Plan(sequence=2), Plan(tensor=2)]
    first, second = on_ranks(2, measured, named("gru", "transformer"), plans)
    assert [(case["model"], case["plan"]) for case in first] == [
        (model, str(plan)) for model in ("gru", "transformer") for plan in plans
    ]
    for case, other in zip(first, second, strict=True):
        assert min(case["step_s"], case["one_process_s"], case["speedup"], case["ceiling"], case["of_ceiling"]) > 0
        assert case["efficiency"] == pytest.approx(case["speedup"] / 2)
        assert 0 <= case["door_share"] < 1
        assert case["messages"] > 0 and case["sent_bytes"] > 0
        assert case["parameters"] == other["parameters"]


def test_data_parallel_sends_each_gradient_once() -> None:
    (case, _) = on_ranks(2, measured, named("gru"), [Plan(data=2)])
    spec, _ = suited(named("gru")["gru"], Plan(data=2), 4000, 16)
    # gradients and the loss in float32, the number of targets in float64
    assert case[0]["sent_bytes"] == 4 * spec.build(0).n_parameters + 4 + 8


def test_a_plan_that_does_not_suit_is_told_and_not_measured() -> None:
    for cases in on_ranks(2, measured, named("gru"), [Plan(tensor=2), Plan(pipeline=2)], True):
        assert all("take data or sequence" in case["reason"] and "step_s" not in case for case in cases)


def test_a_width_is_found_that_the_plan_divides() -> None:
    spec, reasons = suited(named("transformer")["transformer"], Plan(tensor=4), 10_000, 16)
    assert not reasons and spec.width % 4 == 0


def test_the_picture_shows_every_measured_case_and_is_whole() -> None:
    case = {"family": "recurrent", "processes": 2, "speedup": 1.5, "speedup_interval": [1.4, 1.7], "ceiling": 1.9}
    drawn = figure(
        [{**case, "model": "gru", "plan": "data=2"}, {**case, "model": "a<b", "plan": "tensor=2"}, {"reason": ""}]
    )
    assert [text.text for text in ElementTree.fromstring(drawn).iter(f"{SVG}text") if "=" in (text.text or "")] == [
        "gru, data=2",
        "a<b, tensor=2",
    ]
    with pytest.raises(ValueError, match="nothing to draw"):
        figure([{"reason": "it does not suit"}])


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one model and one plan"):
        scale({}, [Plan(data=2)])

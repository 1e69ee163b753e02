"""Scale: rows of one step beside one process, the ceiling and a prediction, plans that do not suit, and the picture."""

from typing import Any
from xml.etree import ElementTree

import pytest
from ranks import on_ranks

from seqloom.core.spec import resolve
from seqloom.lab.planner import Prediction
from seqloom.lab.scale import by_case, scale, suited
from seqloom.lab.scale_figure import figure
from seqloom.lab.scale_prediction import Told
from seqloom.parallel.plan import Plan
from seqloom.zoo.architecture import Architecture

SVG = "{http://www.w3.org/2000/svg}"


def named(*names: str) -> dict[str, Architecture]:
    return {name: resolve(Architecture, {"name": name, "layers": 2}) for name in names}


def measured(
    models: dict[str, Architecture], plans: list[Plan], weak: bool = False, predicted: bool = False
) -> list[dict[str, Any]]:
    sizes = {"batch": 4, "length": 8, "parameters": 4000, "vocabulary": 16}
    return by_case(scale(models, plans, **sizes, budget_s=1e-3, weak=weak, predicted=predicted))


def test_each_model_and_plan_has_its_figures() -> None:
    plans = [Plan(data=2), Plan(pipeline=2, cuts="time"), Plan(sequence=2), Plan(tensor=2)]
    first, second = on_ranks(2, measured, named("gru", "transformer"), plans)
    assert [(case["model"], case["plan"]) for case in first] == [
        (model, str(plan)) for model in ("gru", "transformer") for plan in plans
    ]
    for case, other in zip(first, second, strict=True):
        assert min(case["step_s"], case["one_process_s"], case["speedup"], case["ceiling"], case["of_ceiling"]) > 0
        assert case["efficiency"] == pytest.approx(case["speedup"] / 2)
        assert 0 <= case["door_share"] < 1 and 0 < case["data_share"] < 1
        assert case["compute_share"] + case["door_share"] + case["data_share"] == pytest.approx(1)
        assert case["ideal"] == 2 and "predicted_speedup" not in case
        assert case["messages"] > 0 and case["sent_bytes"] > 0
        assert case["parameters"] == other["parameters"]


def test_what_is_predicted_stands_beside_what_is_measured_alike_on_all_processes() -> None:
    plans = [Plan(pipeline=2), Plan(sequence=2, newton=True)]
    (first, unknown), (second, _) = on_ranks(2, measured, named("gru"), plans, False, True)
    told = ("predicted_step_s", "predicted_speedup")
    for name in told:
        low, high = first[f"{name}_interval"]
        assert 0 < low < first[name] < high and first[name] == second[name]
    assert first["predicted_bubble_share"] == pytest.approx(1 / 5)  # of 4 parts and 2 stages
    assert first["step_s"] > 0 and first["step_s"] != first["predicted_step_s"]
    assert unknown["step_s"] > 0 and "predicted_speedup" not in unknown
    assert "depend on the data" in unknown["not_predicted"]


def test_a_speed_up_is_of_what_is_predicted_for_both() -> None:
    one = Prediction("data=1", 1, 8.0, 7.0, 9.0, None, None, None, None, [])
    two = one._replace(plan="data=2", processes=2, step_s=5.0, low=4.0, high=10.0)
    assert Told(one, two).speedup(1) == pytest.approx((1.6, 0.8, 2.0))
    assert Told(one, two).speedup(2) == pytest.approx((3.2, 1.6, 4.0))


def test_data_parallel_sends_each_gradient_once() -> None:
    (case, _) = on_ranks(2, measured, named("gru"), [Plan(data=2)])
    spec, _ = suited(named("gru")["gru"], Plan(data=2), 4000, 16)
    # gradients and the loss in float32, the number of targets in float64
    assert case[0]["sent_bytes"] == 4 * spec.build(0).n_parameters + 4 + 8


def test_a_plan_that_does_not_suit_is_told_and_not_measured() -> None:
    for cases in on_ranks(2, measured, named("gru"), [Plan(tensor=2), Plan(pipeline=2)], True):
        assert all("take data or sequence" in case["skipped"] and "step_s" not in case for case in cases)


def test_a_width_is_found_that_the_plan_divides() -> None:
    spec, reasons = suited(named("transformer")["transformer"], Plan(tensor=4), 10_000, 16)
    assert not reasons and spec.width % 4 == 0


def test_the_picture_shows_every_measured_case_and_is_whole() -> None:
    case = {"family": "recurrent", "processes": 2, "speedup": 1.5, "speedup_interval": [1.4, 1.7], "ceiling": 1.9}
    told = {**case, "model": "a<b", "plan": "tensor=2", "predicted_speedup": 1.25}
    drawn = ElementTree.fromstring(figure([{**case, "model": "gru", "plan": "data=2"}, told, {"skipped": ""}]))
    names = [text.text for text in drawn.iter(f"{SVG}text") if "=" in (text.text or "")]
    assert names == ["GRU, data=2", "a<b, tensor=2"]
    tips = [tip.text for tip in drawn.iter(f"{SVG}title")]
    assert tips.count("predicted: 1.25") == 1 and tips.count("ceiling: 1.90") == 2 and "ideal: 2" in tips
    with pytest.raises(ValueError, match="nothing to draw"):
        figure([{"skipped": "it does not suit"}])


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one model and one plan"):
        scale({}, [Plan(data=2)])

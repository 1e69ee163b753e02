"""Plans: degrees are at least 1, and a plan says why it cannot run."""

import pytest

from seqloom.core import registry
from seqloom.core.spec import resolve
from seqloom.parallel.plan import Plan


def test_one_process_needs_no_strategy():
    assert Plan().why_not(processes=1) == []
    assert Plan().processes == 1


def test_every_axis_has_its_strategy():
    assert Plan(data=2, tensor=2, pipeline=3, sequence=2).why_not(processes=24) == []


def test_a_degree_above_one_needs_its_strategy(monkeypatch):
    monkeypatch.setattr(registry, "catalog", lambda folder: {"data": None})
    reasons = Plan(tensor=2, pipeline=3).why_not(processes=6)
    assert len(reasons) == 2
    assert "tensor=2 needs the strategy 'tensor'" in reasons[0] and "take tensor=1" in reasons[0]
    assert "pipeline=3" in reasons[1]


@pytest.mark.parametrize(("processes", "said"), [(1, "there is 1;"), (3, "there are 3;")])
def test_the_number_of_processes_must_be_the_product_of_degrees(processes, said):
    reasons = Plan(data=2, sequence=2).why_not(processes)
    assert any("for 4 processes" in reason and said in reason for reason in reasons)


@pytest.mark.parametrize("degree", [0, -1, 1.5])
def test_a_degree_below_one_or_broken_is_refused(degree):
    with pytest.raises(ValueError, match="data"):
        resolve(Plan, {"data": degree})


def test_an_unknown_axis_gets_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'sequence'"):
        resolve(Plan, {"sequences": 2})


def test_a_plan_goes_to_json_and_back():
    plan = Plan(data=2, pipeline=2)
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.degrees() == {"data": 2, "tensor": 1, "pipeline": 2, "sequence": 1}

"""A plan checked without its machines: all processes call alike, what is sent is awaited, what is wrong is found."""

import pytest
import torch
from ranks import on_ranks

from seqloom.core.registry import catalog
from seqloom.core.spec import resolve
from seqloom.lab.planner import candidates
from seqloom.lab.scale import suited
from seqloom.model.model import ModelSpec
from seqloom.parallel import pipeline
from seqloom.parallel._door import local
from seqloom.parallel.check import Checked, check
from seqloom.parallel.layout import Layout, why_not
from seqloom.parallel.plan import Plan
from seqloom.zoo.architecture import Architecture


def checked(name: str, plan: Plan) -> Checked:
    spec, reasons = suited(resolve(Architecture, {"name": name}), plan, 30_000, 16)
    assert not reasons
    return check(spec, plan)


CAUSAL = [name for name in catalog("zoo") if resolve(Architecture, name).needs != "future"]


@pytest.mark.parametrize("name", CAUSAL)
def test_all_processes_of_a_plan_of_all_axes_call_alike(name: str) -> None:
    layers = {"pipeline": 2} if name != "hierarchical" else {}
    found = checked(name, Plan(data=2, sequence=2, **layers))
    assert found.processes == 8 and found.disagreements == []
    assert found.traffic["replicas"]["sum"].calls >= 2  # gradients, and the loss


@pytest.mark.parametrize("name", ["gpt", "lstm", "seq2seq"])
def test_tensor_goes_with_data_and_pipeline(name: str) -> None:
    assert checked(name, Plan(data=2, tensor=2, pipeline=2)).disagreements == []


def test_what_is_shared_out_is_gathered_by_all() -> None:
    found = checked("gpt", Plan(data=4, sharded=True))
    assert found.disagreements == []
    assert found.traffic["replicas"]["gather"].calls > found.traffic["replicas"]["scatter_sum"].calls > 1


@pytest.mark.parametrize("name", ["gru", "gpt"])
def test_every_plan_that_is_proposed_runs_or_is_refused_with_a_reason(name: str) -> None:
    spec, _ = suited(resolve(Architecture, {"name": name, "layers": 4}), Plan(tensor=2), 30_000, 16)
    whole, ran = spec.build(0), 0
    for plan in candidates(4, causal=True):
        if not why_not(plan, whole):
            assert check(spec, plan).disagreements == []
            ran += 1
    assert ran > 15
    assert any("both cut time" in reason for reason in why_not(Plan(sequence=2, pipeline=2, cuts="time"), whole))


def test_64_processes_are_checked_in_one() -> None:
    found = checked("gpt", Plan(data=8, tensor=8))
    assert found.processes == 64 and found.disagreements == []


def test_a_process_that_calls_otherwise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = pipeline.handed

    def drops(anchor, parts, axis, to, *more):
        return anchor if axis.index == 0 else keep(anchor, parts, axis, to, *more)

    monkeypatch.setattr(pipeline, "handed", drops)
    found = checked("gru", Plan(pipeline=2))
    assert any("sends 0 messages to 1, which awaits 4" in said for said in found.disagreements)


def test_a_plan_that_does_not_suit_is_refused_with_its_reasons() -> None:
    spec, _ = suited(resolve(Architecture, {"name": "gru", "layers": 2}), Plan(), 4000, 16)
    with pytest.raises(ValueError, match="leaves stages without a block"):
        check(spec, Plan(pipeline=5))


def loads_its_half(spec: ModelSpec) -> bool:
    """Whether a parameter that is shared out has this process's half of the numbers it is given."""
    model = spec.build(0)
    whole = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    layout = Layout(Plan(data=2, sharded=True), model)
    layout.load(whole)
    mine = layout.mesh.replicas.index
    return all(torch.equal(local(layout.parameters[name]), whole[name].chunk(2)[mine]) for name in whole)


def test_a_check_leaves_nothing_behind_that_a_run_would_take_for_its_own() -> None:
    spec, _ = suited(resolve(Architecture, {"name": "gru", "layers": 4}), Plan(tensor=2), 30_000, 16)
    check(spec, Plan(data=2, sharded=True))
    assert on_ranks(2, loads_its_half, spec) == [True, True]

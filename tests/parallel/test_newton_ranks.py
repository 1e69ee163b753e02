"""A recurrence solved on all stretches at once: steps equal one process, all stop together, giving up is told."""

import math
import warnings
from typing import Any

import pytest
import torch
from ranks import on_ranks
from test_folded import short_step, stacked
from test_strategies import hold, spec

from seqloom.core.types import Where, fresh_place, locate
from seqloom.lab.play import play
from seqloom.mixers.attention import Attention
from seqloom.mixers.gru import GRU
from seqloom.mixers.lstm import LSTM
from seqloom.mixers.mingru import MinGRU
from seqloom.mixers.rnn import RNN
from seqloom.ops.newton import newton
from seqloom.ops.recurrence import Weights
from seqloom.parallel import newton as module
from seqloom.parallel._door import Mesh
from seqloom.parallel.check import check
from seqloom.parallel.layout import why_not
from seqloom.parallel.plan import Plan
from seqloom.parallel.sequence import InTime

CELLS = {"gru": GRU(), "lstm": LSTM(), "tanh": RNN(), "relu": RNN(activation="relu")}
PLAN = Plan(sequence=2, newton=True)
ROWS, WIDTH = 2, 12


@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
def test_three_steps_equal_those_of_one_process(name: str) -> None:
    hold(spec(name), PLAN)  # a warning, that steps were relayed, would fail it


@pytest.mark.parametrize("cell", CELLS)
def test_documents_and_padding_are_respected_also_where_a_stretch_has_padding_alone(cell: str) -> None:
    hold(stacked(CELLS[cell]), Plan(sequence=4, newton=True), short_step)


AXES = [
    Plan(data=2, sequence=2, newton=True),
    Plan(sequence=2, sharded=True, newton=True),
    Plan(pipeline=2, parts=2, sequence=2, newton=True),
    Plan(pipeline=2, parts=2, sequence=2, schedule="1f1b", newton=True),
]


@pytest.mark.parametrize("plan", AXES, ids=str)
def test_other_axes_go_with_it(plan: Plan) -> None:
    hold(stacked(GRU(), LSTM()), plan, short_step)


def test_recurrences_are_solved_beside_mixers_that_fold_and_keys_that_go_round() -> None:
    hold(stacked(MinGRU(), GRU(), Attention(heads=2)), Plan(sequence=2, newton=True, ring=True), short_step)


def _place(length: int, documents: bool) -> Where:
    segment = None
    if documents:  # of three stretches: one begins inside, one at a cut, and one goes on behind padding of a stretch
        segment = torch.ones((ROWS, length), dtype=torch.int64)
        segment[0, length // 2 :] = 2
        segment[0, 2 * length // 3 :] = 3
        segment[1, length // 3 : 2 * length // 3] = 0
    return locate(segment, fresh_place(ROWS), ROWS, length)[0]


def _mixed(plan: Plan, cell: str, length: int, dtype: torch.dtype, scale: float, documents: bool, spoil: bool) -> Any:
    """Return y, gradients and, of stretches, what is known of the solution, what was told, and what was sent."""
    torch.manual_seed(3)
    mixer: Any = CELLS[cell].build(WIDTH).double()
    x = torch.randn((ROWS, length, WIDTH), dtype=torch.float64)
    with torch.no_grad():
        mixer.weight_hh *= scale
        x[0, -1, 0] = math.nan if spoil else 0.0
    mixer, x, place = mixer.to(dtype), x.to(dtype), _place(length, documents)
    mesh = Mesh(plan)
    axis = mesh["sequence"]
    mine = slice(axis.index * length // axis.size, (axis.index + 1) * length // axis.size)
    layer = mixer if axis.size == 1 else InTime(mixer, axis, at_once=plan.newton)
    part, place = x[:, mine].clone().requires_grad_(), place.select(mine)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        y = layer(part, None, place)[0]
        y = torch.where(place.real[..., None], y, 0.0)
        (y.sin() * torch.linspace(1, 2, WIDTH, dtype=dtype)).sum().backward()
        certificate = getattr(layer, "certificate", None)
        if certificate is not None and certificate.reason:
            layer(part, None, place)  # told once
            notice = layer.notice()
            assert notice and notice.endswith("relayed in 2 calls: states 2 times")
    known = {} if certificate is None else {**vars(certificate), "gradients": [*map(tuple, certificate.gradients)]}
    said = [str(each.message) for each in told if each.category is UserWarning]  # torch's own are of other kinds
    sent = {name: tuple(count) for name, count in mesh.traffic.counts().get("sequence", {}).items()}
    slopes = [mesh.replicas.sum(parameter.grad.clone()) for parameter in mixer.parameters()]
    return y.detach(), part.grad, slopes, known, said, sent


def _held(found: Any, expected: Any, error: float) -> None:
    for n in range(2):
        whole = torch.cat([part[n] for part in found], dim=1)
        assert (whole - expected[n]).abs().max() <= error * expected[n].abs().max()
    for part in found:
        for mine, slope in zip(part[2], expected[2], strict=True):
            assert (mine - slope).abs().max() <= error * slope.abs().max()


def _run(plan: Plan, *given: Any) -> Any:
    """Return (what the processes found, what one process does)."""
    (expected,) = on_ranks(1, _mixed, Plan(), *given)
    return on_ranks(plan.processes, _mixed, plan, *given), expected


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_long_rows_with_documents_over_three_processes_equal_one(cell: str, dtype: torch.dtype, error: float) -> None:
    found, expected = _run(Plan(sequence=3, newton=True), cell, 210, dtype, 1.0, True, False)
    _held(found, expected, error)
    for _, _, _, known, told, _ in found:
        assert known == found[0][3] and known["reason"] == "" and told == []
        assert 0 < known["iterations"] < 70 and known["gradients"][0][2] == ""


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_iterations_are_those_of_one_process_and_each_costs_one_message(cell: str) -> None:
    length = 240
    mixer: Any = CELLS[cell].build(WIDTH)
    found = on_ranks(2, _mixed, PLAN, cell, length, torch.float64, 1.0, False, False)
    torch.manual_seed(3)
    mixer = CELLS[cell].build(WIDTH).double()
    x = torch.randn((ROWS, length, WIDTH), dtype=torch.float64)
    x[0, -1, 0] = 0.0
    weights = Weights(mixer.weight_ih, mixer.weight_hh, mixer.bias_ih, mixer.bias_hh)
    alone = newton(cell, x, weights)[2]
    for _, _, _, known, _, sent in found:
        assert abs(known["iterations"] - alone.iterations) <= 1
        back = known["gradients"][0][0]
        assert list(sent) == ["gather"] and sent["gather"][0] == known["iterations"] + 3 + back + 1


@pytest.mark.parametrize("why", ["exponent", "stalled", "nan"])
def test_what_does_not_converge_is_relayed_by_all_and_told_once(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "stalled":
        monkeypatch.setattr(module, "exponent", lambda *_: -0.01)  # an estimate may be wrong
    given = ("gru", 300, torch.float64, 1.0 if why == "nan" else 30.0, False, why == "nan")
    found = on_ranks(2, _mixed, PLAN, *given)
    relayed = on_ranks(2, _mixed, PLAN.replace(newton=False), *given)
    reason = {"exponent": "Lyapunov", "stalled": "no longer falls", "nan": "residual is nan"}[why]
    for mine, other in zip(found, relayed, strict=True):
        assert reason in mine[3]["reason"] and mine[3]["reason"] == found[0][3]["reason"]
        for a, b in zip([*mine[:2], *mine[2]], [*other[:2], *other[2]], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    (told,), nothing = found[0][4], found[1][4]
    assert "gru: States are handed" in told and reason in told and nothing == []


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gradients_that_do_not_converge_go_back_from_stretch_to_stretch(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_relative", _never_back)
    found, expected = _run(Plan(sequence=3, newton=True), cell, 120, torch.float64, 1.0, True, False)
    _held(found, expected, 1e-10)
    assert "newton" in found[0][4][0] and "Gradients are handed" in found[0][4][0]
    for _, _, _, known, *_ in found:
        assert known["reason"] == "" and known["gradients"][0][2]
    # the gradient of each state goes to the stretch before
    assert [sent.get("send", (0, 0))[0] for *_, sent in found] == [0, *[2 if cell == "lstm" else 1] * 2]


_relative = module._relative


def _never_back(told: Any, floor: float) -> float:
    return _relative(told, floor) if floor else math.inf


def test_what_cannot_be_solved_is_refused_with_every_reason() -> None:
    assert any("newton: stretches" in reason for reason in Plan(data=2, newton=True).why_not(2))
    assert PLAN.why_not(2) == [] and why_not(PLAN, stacked(GRU()).build(0)) == []
    assert any("newton is of rnn" in reason for reason in why_not(PLAN, stacked(MinGRU()).build(0)))
    both = why_not(PLAN.replace(tensor=2), stacked(GRU()).build(0))
    assert any("tensor=2 cuts them" in reason for reason in both)


def test_processes_that_are_played_have_no_numbers_to_stop_by() -> None:
    with pytest.raises(ValueError, match="newton: how often"):
        check(stacked(GRU()), PLAN)
    with pytest.raises(ValueError, match="newton: how often"):
        play(stacked(GRU()), PLAN, 0, 2, 8)

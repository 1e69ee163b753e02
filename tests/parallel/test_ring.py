"""Keys and values that go round a ring: steps equal one process, nothing is gathered, every kind of attention."""

from typing import Any

import pytest
import torch
from ranks import on_ranks
from test_folded import short_step, stacked
from test_strategies import batch, count, hold, part, said

from seqloom.lab.play import play
from seqloom.mixers._entries import Entries, visible
from seqloom.mixers.attention import Attention
from seqloom.mixers.gru import GRU
from seqloom.mixers.ssd import SSD
from seqloom.parallel import ring
from seqloom.parallel._door import Mesh
from seqloom.parallel.layout import Layout, why_not
from seqloom.parallel.plan import Plan

KINDS = {
    "plain": Attention(heads=2, rotary=None),
    "rotary": Attention(heads=2),
    "shared-keys": Attention(heads=4, kv_heads=2),
    "window": Attention(heads=2, window=3),
    "both-ways": Attention(heads=2, causal=False),
    "both-ways-window": Attention(heads=2, causal=False, window=2),
}
PLANS = [Plan(sequence=2, ring=True), Plan(sequence=3, ring=True), Plan(sequence=2, tensor=2, ring=True)]


@pytest.mark.parametrize("plan", PLANS, ids=said)
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_round_a_ring_equals_that_of_one_process(kind: str, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "_SCORES", 0)
    monkeypatch.setattr(ring, "_LEAST", 2)  # queries in several pieces
    hold(stacked(KINDS[kind], KINDS[kind]), plan, short_step)


def test_attention_goes_round_beside_recurrences_that_fold_and_relay() -> None:
    hold(stacked(SSD(heads=2, state_size=8), Attention(heads=2), GRU()), Plan(sequence=2, ring=True), short_step)


def _sent(spec: Any, plan: Plan) -> Any:
    layout = Layout(plan, spec.build(0).double())
    whole = batch(0, False, False)
    mine = part(whole, layout.share(whole.rows.numpy()).tolist())
    layout.gradients([mine], [count(mine)])
    return {name: tuple(each) for name, each in layout.mesh.traffic.counts()["sequence"].items()}


def test_keys_go_to_the_next_alone_and_are_never_gathered() -> None:
    spec = stacked(Attention(heads=2))
    for found in on_ranks(2, _sent, spec, Plan(sequence=2, ring=True)):
        calls, sent = found["send"]
        length, rows = batch(0, False, False).inputs.shape[1], 4
        stretch = 2 * rows * (length // 2) * 16 * 8  # keys and values of a stretch, in float64
        assert calls == 1 + 2 and sent == stretch * (1 + 2 + 1)  # once round; back with gradients, then these alone
        assert "scatter_sum" not in found
    assert "scatter_sum" in on_ranks(2, _sent, spec, Plan(sequence=2))[0]


def test_a_ring_holds_less_than_a_gathering() -> None:
    spec = stacked(Attention(heads=2), Attention(heads=2))
    plans = Plan(sequence=8, ring=True), Plan(sequence=8)
    round_it, gathered = (play(spec, plan, 7, 1, 4096).memory_bytes for plan in plans)
    assert round_it < gathered


def _together(plan: Plan, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> Any:
    axis = Mesh(plan)["sequence"]
    steps = slice(axis.index * 2, axis.index * 2 + 2)
    ids, at = torch.tensor([[1, 1, 0, 2]]), torch.arange(4)[None]
    found = ring.ring(axis, True, None)(
        query[:, steps], Entries(key[:, steps], value[:, steps], ids[:, steps], at[:, steps])
    )
    return found


def test_a_document_that_begins_later_sees_none_of_the_stretch_before_and_stays_finite() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 4, 1, 8, dtype=torch.float64)
    parts = on_ranks(2, _together, Plan(sequence=2, ring=True), query, key, value)
    ids, at = torch.tensor([[1, 1, 0, 2]]), torch.arange(4)[None]
    every = Entries(key, value, ids, at)
    score = torch.einsum("bthk,bshk->bhts", query, key) / 8**0.5
    weight = score.masked_fill(~visible(every, every, True, None)[:, None], -torch.inf).softmax(dim=-1)
    expected = torch.einsum("bhts,bshk->bthk", weight, value)
    seen = ids[0] != 0  # what padding answers is nobody's
    found = torch.cat(parts, dim=1)
    assert found.isfinite().all()
    torch.testing.assert_close(found[:, seen], expected[:, seen])


def test_what_has_no_ring_is_refused_with_its_reason() -> None:
    plan = Plan(sequence=2, ring=True)
    for mixer in (GRU(), Attention(heads=2, alibi=True, rotary=None), Attention(heads=2, dropout=0.1)):
        assert any("ring is of attention" in reason for reason in why_not(plan, stacked(mixer).build(0)))
    assert any("no ring" in reason for reason in Plan(data=2, ring=True).why_not(2))
    assert why_not(plan, stacked(Attention(heads=2, causal=False)).build(0)) == []
    assert why_not(Plan(sequence=2), stacked(Attention(heads=2, causal=False)).build(0)) != []

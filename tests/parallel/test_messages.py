"""Messages along an axis go while a process computes on, arrive in their order, and are counted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from ranks import on_ranks
from torch import Tensor

from seqloom.core.spec import resolve
from seqloom.lab.steps import RandomTokens
from seqloom.parallel._door import Axis, Mesh
from seqloom.parallel.plan import Plan
from seqloom.train.experiment import Optimizer
from seqloom.train.learner import learner
from seqloom.zoo.architecture import Architecture

PLAN = Plan(pipeline=2, timeout_s=10)
LONG = 2**21  # numbers: more than a socket takes before the other side reads


def _axis() -> Axis:
    return Mesh(PLAN)["pipeline"]


def _both_ways(messages: int) -> tuple[list[float], tuple[int, int], int]:
    axis = _axis()
    other = 1 - axis.index
    for number in range(messages):
        axis.send([torch.full((LONG,), 10.0 * axis.index + number)], other)
    found = [axis.receive([torch.empty(LONG)], other)[0] for _ in range(messages)]
    axis.sent()
    assert all(bool((each == each[0]).all()) for each in found)
    return [float(each[0]) for each in found], tuple(axis.traffic.counts()["pipeline"]["send"]), len(axis._going)


def test_two_that_send_before_they_receive_do_not_wait_for_each_other() -> None:
    first, second = on_ranks(2, _both_ways, 3)
    assert first[0] == [10.0, 11.0, 12.0] and second[0] == [0.0, 1.0, 2.0]
    assert first[1] == second[1] == (3, 3 * 4 * LONG)
    assert first[2] == second[2] == 0


def _expected() -> list[float]:
    axis = _axis()
    if axis.index == 0:
        for number in range(4):
            axis.send([torch.full((3 + number,), float(number))], 1)
        axis.sent()
        return []
    found: list[float] = []
    for number in range(4):
        found += axis.receive([torch.empty(3 + number)], 0)[0][:1].tolist()
        if number == 1:
            axis.expect([torch.empty(5)], 0)
            assert len(axis._coming[0]) == 1
    return found


def _many() -> int:
    axis = _axis()
    most = 0
    for number in range(9):
        if axis.index == 0:
            axis.send([torch.full((7,), float(number))], 1)
            most = max(most, len(axis._going))
        else:
            assert axis.receive([torch.empty(7)], 0)[0][0] == number
    axis.sent()
    return most


def test_a_few_messages_are_on_their_way_and_no_more() -> None:
    assert on_ranks(2, _many)[0] == 4


def _step(plan: Plan) -> list[bool]:
    spec = resolve(Architecture, {"name": "gru", "width": 16, "layers": 2, "dropout": 0.0}).standard(8)
    learns = learner(spec.build(0), lambda: spec.build(0), Optimizer(), plan)
    known: list[bool] = []
    receive = Axis.receive

    def noted(axis: Axis, likes: Sequence[Tensor], source: int) -> list[Tensor]:
        known.append(bool(axis._coming[source]))
        return receive(axis, likes, source)

    Axis.receive = noted  # type: ignore[method-assign]  # in this process alone, which ends
    learns.update(RandomTokens(8, 8, 16), np.arange(8), 1e-3)
    return known


@pytest.mark.parametrize("cuts", ["rows", "time"])
def test_a_stage_awaits_the_next_part_while_it_computes_one_on_both_ways(cuts: Any) -> None:
    for known in on_ranks(2, _step, Plan(pipeline=2, parts=4, cuts=cuts)):
        assert known == [False, True, True, True]


def test_what_is_expected_comes_in_the_order_in_which_it_was_sent() -> None:
    assert on_ranks(2, _expected)[1] == [0.0, 1.0, 2.0, 3.0]


def _another() -> None:
    axis = _axis()
    if axis.index == 0:
        axis.send([torch.zeros(5)], 1)
        axis.meet()
        return
    axis.expect([torch.empty(5)], 0)
    with pytest.raises(AssertionError, match="another message"):
        axis.receive([torch.empty(6)], 0)
    axis.meet()


def test_a_message_of_another_shape_than_is_expected_is_not_taken() -> None:
    on_ranks(2, _another)

"""Messages along an axis go while a process computes on, arrive in their order, and are counted."""

import pytest
import torch
from ranks import on_ranks

from seqloom.parallel._door import Axis, Mesh
from seqloom.parallel.plan import Plan

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
    return found


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

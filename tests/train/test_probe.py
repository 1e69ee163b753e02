"""A budget in seconds becomes steps: the first do not count, and finding out takes at most a tenth, or three steps."""

import pytest

from seqloom.core import runtime
from seqloom.train.probe import faster_threads, steps_within


class Clock:
    """Time that passes in steps alone."""

    def __init__(self, first_s, step_s, stall=None):
        self.now_s, self.first_s, self.step_s, self.steps = 100.0, first_s, step_s, []
        self.stall = stall or {}  # step -> its seconds

    def step(self, n):
        self.steps.append(n)
        self.now_s += self.stall.get(n, self.first_s if n == 0 else self.step_s)

    def __call__(self):
        return self.now_s


@pytest.mark.parametrize("budget_s", [1.0, 60.0, 3600.0])
def test_a_slow_first_step_does_not_count(budget_s):
    clock = Clock(first_s=0.4, step_s=0.01)
    steps, spent_s = steps_within(budget_s, clock.step, clock)
    assert steps == pytest.approx((budget_s - spent_s) / 0.01, abs=1)
    assert clock.steps == list(range(len(clock.steps)))


def test_finding_out_takes_a_twentieth_and_at_most_five_seconds():
    for budget_s, most_s in ((60.0, 3.0), (3600.0, 5.0)):
        clock = Clock(0.02, 0.01)
        assert steps_within(budget_s, clock.step, clock)[1] == pytest.approx(most_s, abs=0.02)


def test_steps_long_against_the_budget_are_tried_as_little_as_can_be():
    clock = Clock(50.0, 30.0)
    steps, spent_s = steps_within(60.0, clock.step, clock)
    assert (steps, spent_s, clock.steps) == (1, 80.0, [0, 1])


def test_few_steps_are_enough_where_a_tenth_of_the_budget_is_gone():
    clock = Clock(2.0, 2.0)
    steps, spent_s = steps_within(60.0, clock.step, clock)
    assert (steps, spent_s) == (26, 8.0)  # one to warm up, three timed


def test_a_stall_of_the_machine_is_not_taken_for_the_steps_own_time():
    clock = Clock(0.1, 0.1, stall={4: 0.8})
    steps, spent_s = steps_within(10.0, clock.step, clock)
    assert steps == int((10.0 - spent_s) / 0.125)  # 1.25 times the median, not the mean


@pytest.mark.parametrize(("cost_s", "best"), [({1: 1.0, 2: 3.0}, 1), ({1: 3.0, 2: 1.0}, 2), ({1: 1.04, 2: 1.0}, 1)])
def test_the_threads_that_are_fastest_are_taken_and_fewer_where_it_makes_no_difference(cost_s, best):
    now_s = [0.0]

    def step(_):
        now_s[0] += cost_s[runtime.threads()]

    before = runtime.threads()
    assert faster_threads([1, 2], step, lambda: now_s[0]) == best
    assert runtime.threads() == before

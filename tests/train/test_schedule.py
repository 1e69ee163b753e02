"""The learning rate climbs linearly, then falls along a cosine to the final fraction."""

import pytest

from seqloom.train.schedule import rate_factor


def test_it_climbs_to_one_and_falls_to_the_final_fraction():
    factors = [rate_factor(step, 100, warmup=0.1, final=0.05) for step in range(100)]
    assert factors[10] == 1.0
    assert factors[-1] == pytest.approx(0.05)
    assert factors[:11] == sorted(factors[:11]) and factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[55 - 1] == pytest.approx(0.05 + 0.95 / 2, abs=0.02)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.9])
def test_the_shortest_runs_have_a_rate_at_every_step(steps, warmup):
    assert all(0 < rate_factor(step, steps, warmup, 0.1) <= 1 for step in range(steps))

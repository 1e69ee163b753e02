"""The clock: rounds, orders and limits; no test depends on how long anything takes."""

import gc
import math

import pytest

from seqloom.measure.clock import interleave, time


def test_every_round_runs_every_candidate_once() -> None:
    seen: list[str] = []
    samples = interleave({name: lambda name=name: seen.append(name) for name in "abc"}, min_rounds=7, warmup=2)
    assert seen[:6] == ["a", "b", "c"] * 2
    rounds = [seen[i : i + 3] for i in range(6, len(seen), 3)]
    assert len(rounds) == 7 and all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert all(s.shape == (7,) and (s > 0).all() for s in samples.values())


def test_orders_vary_and_follow_from_the_seed() -> None:
    def orders(seed: int) -> list[str]:
        seen: list[str] = []
        interleave({n: lambda n=n: seen.append(n) for n in "abcd"}, min_rounds=20, warmup=0, seed=seed)
        return seen

    assert orders(0) == orders(0) != orders(1)
    seen = orders(0)
    assert len({tuple(seen[i : i + 4]) for i in range(0, 80, 4)}) > 5


def test_time_limits_end_rounds_but_never_before_the_first() -> None:
    assert len(interleave({"a": int}, min_rounds=10**6, max_rounds=10**6, max_time_s=1e-9)["a"]) == 1
    assert len(interleave({"a": int}, min_rounds=3, max_rounds=9, min_time_s=math.inf)["a"]) == 9
    assert len(time(int, min_rounds=4)) == 4


def test_garbage_collection_comes_back_also_after_an_error() -> None:
    def fail() -> None:
        assert not gc.isenabled()
        raise KeyError("x")

    with pytest.raises(KeyError):
        interleave({"a": fail}, warmup=0)
    assert gc.isenabled()


@pytest.mark.parametrize(
    "limits",
    [{"min_rounds": 0}, {"min_rounds": 9, "max_rounds": 3}, {"max_time_s": 0}, {"min_time_s": 2, "max_time_s": 1}],
)
def test_limits_that_contradict_are_refused(limits) -> None:
    with pytest.raises(ValueError, match="need"):
        interleave({"a": int}, **limits)


def test_nothing_to_time_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        interleave({})

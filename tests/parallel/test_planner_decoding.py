"""Predictions of decoding: a recurrence takes the same after any context, attention more and more."""

import pytest

from seqloom.core.spec import resolve
from seqloom.lab.planner import Prediction
from seqloom.lab.planner_decoding import LIMITS, decoding, token_s
from seqloom.model.model import ModelSpec
from seqloom.parallel.cluster import Cluster
from seqloom.zoo.architecture import Architecture

MACHINE = Cluster(
    devices=4, memory_bytes=1e12, flops_per_s=1e11, bytes_per_s=1e10, step_s=1e-6, link_s=1e-6, link_bytes_per_s=1e10
)


def spec(name: str) -> ModelSpec:
    return resolve(Architecture, {"name": name, "width": 32, "layers": 2}).standard(64)


def on_one(name: str, length: int, measured: bool = False) -> Prediction:
    (found,) = decoding(spec(name), 2, length, MACHINE.replace(devices=1), measured)
    return found


@pytest.mark.parametrize("name", ["lstm", "mingru", "mamba2"])
def test_a_recurrence_takes_and_holds_the_same_after_any_context(name: str) -> None:
    short, long = on_one(name, 64), on_one(name, 65_536)
    assert short.step_s == long.step_s and short.memory_bytes == long.memory_bytes
    assert long.limit == LIMITS[0]


def test_attention_reads_and_holds_more_after_more() -> None:
    short, long = on_one("transformer", 64), on_one("transformer", 65_536)
    assert short.step_s and long.step_s and short.memory_bytes and long.memory_bytes
    assert long.step_s > 10 * short.step_s and long.memory_bytes > 10 * short.memory_bytes
    assert long.limit == LIMITS[1]


def test_rows_are_shared_out_over_replicas_and_no_replica_goes_without() -> None:
    found = decoding(spec("transformer"), 2, 4096, MACHINE, measured=False)
    assert [each.processes for each in found] == [2, 1]
    assert found[0].step_s and found[1].step_s and found[0].step_s < 0.6 * found[1].step_s


def test_what_does_not_fit_is_last_and_says_so() -> None:
    fits = decoding(spec("transformer"), 4, 65_536, MACHINE, measured=False)
    memory = sorted(each.memory_bytes or 0 for each in fits)
    tight = decoding(spec("transformer"), 4, 65_536, MACHINE.replace(memory_bytes=memory[0] + 1), measured=False)
    assert tight[0].why_not == [] and all("needs" in each.why_not[0] for each in tight[1:])


@pytest.mark.parametrize("name", ["gru", "transformer", "seq2seq"])
def test_on_this_machine_shorter_contexts_tell(name: str) -> None:
    found = on_one(name, 64, measured=True)
    assert found.low and found.step_s and found.high
    assert 0 < found.low < found.step_s < found.high
    assert token_s(spec(name).build(0), 1, 8, tokens=4) > 0


def test_sizes_below_one_and_models_that_see_the_future_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        decoding(spec("gru"), 0, 8, MACHINE, measured=False)
    with pytest.raises(ValueError, match="does not decode"):
        decoding(spec("bilstm"), 1, 8, MACHINE, measured=False)

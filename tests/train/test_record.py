"""What a run writes down names the experiment, the data, the machine and the versions."""

import numpy as np
import pytest

from seqloom.core import runtime
from seqloom.core.spec import resolve
from seqloom.data.batches import Arrays, Packed
from seqloom.train.directory import read_record
from seqloom.train.experiment import Experiment
from seqloom.train.loop import Training
from seqloom.train.record import fingerprint, unit_of


def test_run_json_has_all_that_is_needed_to_do_it_again(make, opened, tmp_path):
    Training(make(), opened, tmp_path).close()
    record = read_record(tmp_path)
    assert resolve(Experiment, record["experiment"]) == make()
    assert record["digest"] == make().digest() and record["verb"] == "train"
    assert record["machine"]["threads"] == runtime.threads() and record["machine"]["cores"] >= 1
    assert record["versions"]["torch"] and record["versions"]["python"]
    assert record["data"]["train"]["examples"] == len(opened.train)
    assert record["command"].startswith("seqloom")


def test_a_fingerprint_changes_with_lengths_inputs_and_targets():
    words = np.random.default_rng(0)
    inputs, target = words.integers(0, 9, (20, 5)), words.integers(0, 2, 20)
    base = fingerprint(Arrays(inputs, target))
    assert fingerprint(Arrays(inputs.copy(), target.copy())) == base
    assert fingerprint(Arrays(inputs[:19], target[:19])) != base
    assert fingerprint(Arrays(inputs, 1 - target)) != base


def test_no_edit_of_a_large_split_escapes_its_fingerprint():
    words = np.random.default_rng(0)
    offsets = np.cumsum([0, *words.integers(1, 9, 1000)])
    steps, target = words.integers(0, 9, offsets[-1]), words.integers(0, 2, 1000)
    base = fingerprint(Packed(steps, offsets, target))
    for row in words.integers(0, 1000, 20):
        other = steps.copy()
        other[offsets[row]] += 1
        assert fingerprint(Packed(other, offsets, target)) != base
        turned = target.copy()
        turned[row] = 1 - turned[row]
        assert fingerprint(Packed(steps, offsets, turned)) != base


@pytest.mark.parametrize(("metric", "unit"), [("bits_per_byte", "bit"), ("accuracy", "1"), ("loss", "nat")])
def test_metrics_have_units(metric, unit):
    assert unit_of(metric) == unit

"""The machine: ceilings are numbers, and its digest is of what it is, not of how fast it was just now."""

import torch

from seqloom.measure import machine
from seqloom.measure.machine import Machine, describe, probe, versions


def test_probe_measures_every_ceiling() -> None:
    found = probe(budget_s=0.1)
    assert found.flops_per_s > 0 and found.bytes_per_s > 0 and found.call_overhead_s > 0
    assert found.cores >= 1 and found.cpu and found.threads == torch.get_num_threads()
    assert found.facts()["digest"] == found.digest()


def test_digest_is_of_hardware_and_versions_not_of_rates() -> None:
    here = describe()
    assert here.replace(flops_per_s=1e12, call_overhead_s=1.0).digest() == here.digest()
    assert here.replace(cpu="another").digest() != here.digest()
    assert here.replace(torch="0").digest() != here.digest()
    assert here.replace(threads=here.threads + 1).digest() != here.digest()


def test_machine_goes_to_json_and_back() -> None:
    here = describe().replace(flops_per_s=3.5e10)
    assert Machine.from_json(here.to_json()) == here


def test_versions_name_what_figures_depend_on() -> None:
    assert {"python", "torch", "numpy", "seqloom"} <= versions().keys()


def test_a_copy_is_larger_than_the_caches() -> None:
    assert machine.COPY_BYTES >= 64 * 2**20
    assert machine._cache_bytes() >= 0

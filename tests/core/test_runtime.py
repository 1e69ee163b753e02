"""The runtime: one seed for all, data found or not, threads, determinism that is put back."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from seqloom.core import runtime


def test_a_seed_sets_every_generator():
    drawn = []
    for _ in range(2):
        runtime.seed_all(7)
        drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=f"seed {seed}"):
        runtime.seed_all(seed)


def test_the_data_folder_is_the_one_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SEQLOOM_DATA", str(tmp_path))
    assert runtime.data_dir() == tmp_path
    monkeypatch.setenv("SEQLOOM_DATA", str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="SEQLOOM_DATA=.*absent.*unset it"):
        runtime.data_dir()


def test_without_a_name_the_data_folder_is_beside_the_project_or_nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv("SEQLOOM_DATA", raising=False)
    monkeypatch.setattr(runtime, "_PROJECT", tmp_path / "project")
    assert runtime.data_dir() is None
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert runtime.data_dir() == tmp_path / "shared" / "data"


def test_the_device_is_the_one_named(monkeypatch):
    monkeypatch.setenv("SEQLOOM_DEVICE", "cpu")
    assert runtime.device() == torch.device("cpu")
    for wrong in ("toaster", "cuda:99"):
        monkeypatch.setenv("SEQLOOM_DEVICE", wrong)
        with pytest.raises(ValueError, match=f"SEQLOOM_DEVICE='{wrong}'"):
            runtime.device()


def test_threads_are_set_and_at_least_one():
    runtime.set_threads(2)
    assert runtime.threads() == 2
    with pytest.raises(ValueError, match="threads 0"):
        runtime.set_threads(0)


@pytest.mark.parametrize("before", [True, False])
def test_determinism_holds_inside_and_is_put_back(before):
    was = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(before)
    try:
        with runtime.deterministic():
            assert torch.are_deterministic_algorithms_enabled()
        assert torch.are_deterministic_algorithms_enabled() == before
    finally:
        torch.use_deterministic_algorithms(was)


@pytest.mark.parametrize(("value", "on"), [(None, False), ("", False), ("0", False), ("no", False), ("1", True)])
def test_debug_is_asked_for_by_the_environment(monkeypatch, value, on):
    monkeypatch.delenv("SEQLOOM_DEBUG", raising=False)
    if value is not None:
        monkeypatch.setenv("SEQLOOM_DEBUG", value)
    assert runtime.debug() == on


KEPT = """
import torch
from seqloom.core import runtime
kept = runtime.keep_memory()
held = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
before = held()
block = torch.ones(32 << 20)  # 128 MiB
del block
print(kept, held() - before > 100 << 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
@pytest.mark.parametrize("given", ["", "MALLOC_TRIM_THRESHOLD_"])
def test_freed_memory_stays_unless_the_user_says_otherwise(given):
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name.upper()}
    if given:
        environment[given] = "131072"
    done = subprocess.run([sys.executable, "-c", KEPT], env=environment, capture_output=True, text=True, timeout=60)
    kept, stays = done.stdout.split()
    if not given and kept == "False":
        pytest.skip("the C library is not glibc")
    assert kept == stays == str(not given)


def test_gloo_talks_where_the_user_says_and_not_through_the_loopback_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "mine")
    runtime.talk_towards("10.0.0.1")
    assert os.environ["GLOO_SOCKET_IFNAME"] == "mine"
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    runtime.talk_towards("127.0.0.1")
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    monkeypatch.setattr(runtime, "_interface", lambda address: "eth7" if address == "10.0.0.1" else None)
    runtime.talk_towards("10.0.0.1")
    assert os.environ.pop("GLOO_SOCKET_IFNAME") == "eth7"

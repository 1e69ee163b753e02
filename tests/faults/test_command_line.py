"""The command line under SIGKILL and Ctrl-C: `--resume` ends with the bits of an uninterrupted run."""

import signal
import subprocess
import sys
import time

import pytest

from seqloom.train import checkpoint

TRAIN = [
    "train",
    "digits",
    "--model=gru",
    "--width=16",
    "--dropout=0.1",
    "--steps=40",
    "--checkpoint-every=1",
    "--seed=3",
]


def start(out, *more):
    command = [sys.executable, "-m", "seqloom", *TRAIN, "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop_at(process, out, step, number):
    deadline = time.monotonic() + 60
    while max(checkpoint.steps(out / "checkpoints"), default=0) < step:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.005)
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


@pytest.mark.faults
def test_killed_and_stopped_runs_go_on_to_the_same_bits(tmp_path):
    whole = start(tmp_path / "whole")
    out = tmp_path / "run"
    first = start(out)
    stop_at(first, out, 5, signal.SIGKILL)
    assert first.returncode == -signal.SIGKILL
    second = start(out, "--resume")
    told = stop_at(second, out, 20, signal.SIGINT)
    assert second.returncode == 130 and "--resume" in told and "Traceback" not in told
    third = start(out, "--resume")
    _, told = third.communicate(timeout=60)
    assert third.returncode == 0, told
    assert whole.communicate(timeout=60) and whole.returncode == 0
    ends = [checkpoint.read_whole(path / "checkpoints" / "40") for path in (tmp_path / "whole", out)]
    assert all(ends[0][name] == ends[1][name] for name in ends[0] if name.endswith(".safetensors"))

"""SIGKILL at any moment loses nothing: what was whole stays whole, and a resumed run ends with the same bits.

Real signals to real processes. A few run with every test; `make faults` runs the rest, and 50 kills at random moments.
"""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seqloom.core.spec import resolve
from seqloom.tasks.digits import Digits
from seqloom.train import checkpoint
from seqloom.train.experiment import Experiment
from seqloom.train.loop import Training

ROOT = Path(__file__).resolve().parents[2]
KILLED = -signal.SIGKILL


def tensors(step):
    torch.manual_seed(step)
    return {"model": {"a": torch.randn(5)}, "optimizer": {"m/a": torch.randn(5)}}


def test_a_kill_before_any_file_operation_of_a_save_leaves_the_old_checkpoint_or_the_new(tmp_path, fork, die_at):
    seen, n = set(), 0
    while True:
        n += 1
        path = tmp_path / str(n)
        for step in (1, 2):
            checkpoint.save(path, step, tensors(step), {"step": step}, keep=2)

        def save(path=path, n=n):
            die_at(n, path)
            checkpoint.save(path, 3, tensors(3), {"step": 3}, keep=2)

        code = fork(save)
        found = checkpoint.load(path)
        assert found.step == found.data["step"] and found.notices == []
        assert torch.equal(found.tensors["model"]["a"], tensors(found.step)["model"]["a"])
        seen.add(found.step)
        checkpoint.save(path, 3, tensors(3), {"step": 3}, keep=2)
        assert sorted(item.name for item in path.iterdir()) == ["2", "3", "latest"]
        if code == 0:
            break
        assert code == KILLED
    assert seen == {2, 3} and n > 15


def test_a_kill_while_a_damaged_checkpoint_is_replaced_keeps_the_one_before(tmp_path, fork, die_at):
    n = 0
    while True:
        n += 1
        path = tmp_path / str(n)
        for step in (1, 2):
            checkpoint.save(path, step, tensors(step), {})
        (path / "2" / "state.json").unlink()

        def save(path=path, n=n):
            die_at(n, path)
            checkpoint.save(path, 2, tensors(2), {})

        code = fork(save)
        assert checkpoint.load(path).step in (1, 2)
        if code == 0:
            break
    assert checkpoint.load(path).step == 2


def test_kills_at_random_moments_end_with_the_same_bits():
    command = [sys.executable, "benchmarks/kill_resume.py", "--kills", "2", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["kills"], found["unreadable"], found["bitwise_equal"]) == (2, 0, 2)


@pytest.mark.faults
def test_a_kill_before_any_file_operation_of_a_run_ends_with_the_same_bits(tmp_path, fork, die_at):
    whole = Digits().open()
    parts = {"train": 40, "validation": 10, "test": 10}
    opened = dataclasses.replace(whole, **{k: getattr(whole, k).select(np.arange(n)) for k, n in parts.items()})
    fields = {
        "task": "digits",
        "model": {"name": "gru", "width": 8, "layers": 1, "dropout": 0.1},
        "budget": {"steps": 3},
        "optimizer": {"batch_size": 8},
    }
    experiment = resolve(Experiment, fields)
    Training(experiment, opened)  # imports what torch imports late

    def run(out, resume, n=None):
        if n is not None:
            die_at(n, out)
        Training(experiment, opened, out, resume=resume, checkpoint_every=1, keep=2).finish()

    assert fork(lambda: run(tmp_path / "whole", False)) == 0
    expected = checkpoint.read_whole(tmp_path / "whole" / "checkpoints" / "3")
    n = 0
    while True:
        n += 1
        out = tmp_path / str(n)
        code = fork(lambda out=out, n=n: run(out, False, n))
        assert code in (0, KILLED)
        assert fork(lambda out=out: run(out, True)) == 0
        found = checkpoint.read_whole(out / "checkpoints" / "3")
        assert all(found[name] == expected[name] for name in expected if name.endswith(".safetensors"))
        if code == 0:
            break
    assert n > 50

"""Full disks, read-only ones and damaged files: a clear error, nothing lost, and the run goes on afterwards.

The disks are real: a small tmpfs where this process may mount one, and else the system's limit on file sizes.
"""

import dataclasses
import os
import resource
import shutil
import subprocess

import numpy as np
import pytest
import torch

from seqloom.core.spec import resolve
from seqloom.tasks.digits import Digits
from seqloom.train import checkpoint
from seqloom.train.checkpoint import CheckpointError
from seqloom.train.experiment import Experiment
from seqloom.train.loop import Training


@pytest.fixture(scope="module")
def opened():
    whole = Digits().open()
    parts = {"train": 40, "validation": 10, "test": 10}
    return dataclasses.replace(whole, **{k: getattr(whole, k).select(np.arange(n)) for k, n in parts.items()})


@pytest.fixture(scope="module")
def experiment():
    fields = {
        "task": "digits",
        "model": {"name": "gru", "width": 16, "layers": 1, "dropout": 0.1},
        "budget": {"steps": 10},
        "optimizer": {"batch_size": 8},
        "evaluate_every": 5,
    }
    return resolve(Experiment, fields)


@pytest.fixture
def disk(tmp_path):
    """Return a function that mounts a disk of so many bytes; what was mounted is unmounted afterwards."""
    mounted = []

    def mount(size_bytes):
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(path)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this process may not mount a disk (needs root)")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


def tensors(step, n=1000):
    torch.manual_seed(step)
    return {"model": {"a": torch.randn(n)}}


def test_a_full_disk_is_a_clear_error_and_the_old_checkpoints_are_whole(disk):
    path = disk(200_000) / "checkpoints"
    for step in (1, 2):
        checkpoint.save(path, step, tensors(step), {})
    with pytest.raises(CheckpointError, match=r"cannot save checkpoint 3 .*No space left.*\(1, 2\) are as they were"):
        checkpoint.save(path, 3, tensors(3, 100_000), {})
    assert sorted(item.name for item in path.iterdir()) == ["1", "2", "latest"]
    found = checkpoint.load(path)
    assert (
        found.step == 2 and found.notices == [] and torch.equal(found.tensors["model"]["a"], tensors(2)["model"]["a"])
    )
    checkpoint.save(path, 3, tensors(3), {})  # once there is room
    assert checkpoint.load(path).step == 3


def test_whatever_room_is_left_a_save_is_whole_or_not_there(disk):
    path, outcomes = disk(100_000), set()
    for room in range(0, 64 * 1024, 4096):  # the disk counts in pages
        checkpoint.save(path / "c", 1, tensors(1), {"step": 1})
        free = shutil.disk_usage(path).free
        (path / "filler").write_bytes(b"\0" * max(free - room, 0))
        try:
            checkpoint.save(path / "c", 2, tensors(2), {"step": 2})
            saved = True
        except CheckpointError:
            saved = False
        found = checkpoint.load(path / "c")
        assert found.step in ((2,) if saved else (1, 2))
        assert not list((path / "c").glob(".*.tmp"))
        outcomes.add(found.step)
        (path / "filler").unlink()
        shutil.rmtree(path / "c")
    assert outcomes == {1, 2}


def test_a_run_whose_disk_fills_up_says_so_and_goes_on_once_there_is_room(disk, opened, experiment, tmp_path):
    Training(experiment, opened, tmp_path / "whole", checkpoint_every=1).finish()
    out = disk(600_000) / "run"
    training = Training(experiment, opened, out, checkpoint_every=1)
    training.advance(steps=4)
    filler = out.parent / "filler"
    filler.write_bytes(b"\0" * (shutil.disk_usage(out).free - 8192))
    with pytest.raises(CheckpointError, match="No space left on device.*go on with --resume"):
        training.advance()
    training.close()
    assert checkpoint.load(out / "checkpoints").step == 4
    filler.unlink()
    Training(experiment, opened, out, resume=True, checkpoint_every=1).finish()
    ends = [checkpoint.read_whole(p / "checkpoints" / "10") for p in (tmp_path / "whole", out)]
    assert all(ends[0][name] == ends[1][name] for name in ("model.safetensors", "optimizer.safetensors"))


def test_a_disk_full_from_the_start_refuses_the_run(disk, opened, experiment):
    path = disk(8192)
    (path / "filler").write_bytes(b"\0" * shutil.disk_usage(path).free)
    with pytest.raises(ValueError, match="cannot write in .*No space left.*--out"):
        Training(experiment, opened, path / "run")


def test_a_limit_on_file_sizes_is_a_clear_error_and_the_old_checkpoint_is_whole(tmp_path, fork):
    path = tmp_path / "c"
    checkpoint.save(path, 1, tensors(1), {})

    def save():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            checkpoint.save(path, 2, tensors(2, 100_000), {})
        except CheckpointError as error:
            assert "File too large" in str(error)
            os._exit(7)

    assert fork(save) == 7
    assert sorted(item.name for item in path.iterdir()) == ["1", "latest"] and checkpoint.load(path).step == 1


def test_a_read_only_disk_is_refused_with_the_fix(disk, opened, experiment):
    path = disk(100_000)
    subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
    with pytest.raises(ValueError, match="cannot write in .*Read-only file system.*--out"):
        Training(experiment, opened, path / "run")


def test_a_file_where_a_directory_should_be_is_refused_with_the_fix(tmp_path, opened, experiment):
    (tmp_path / "file").write_text("precious")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match="--out"):
            Training(experiment, opened, out, overwrite=True)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("victim", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before(tmp_path, opened, experiment, victim):
    Training(experiment, opened, tmp_path / "whole", checkpoint_every=3).finish()
    out = tmp_path / "run"
    training = Training(experiment, opened, out, checkpoint_every=3)
    training.advance(steps=7)
    training.close()
    file = out / "checkpoints" / "6" / victim
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    resumed = Training(experiment, opened, out, resume=True, checkpoint_every=3)
    assert resumed.course.step == 3
    assert "checkpoint 6 is damaged" in resumed.notices[0] and "going on from checkpoint 3" in resumed.notices[1]
    result = resumed.finish()
    assert result.notices[:2] == resumed.notices[:2]
    ends = [checkpoint.read_whole(p / "checkpoints" / "10") for p in (tmp_path / "whole", out)]
    assert ends[0]["model.safetensors"] == ends[1]["model.safetensors"]
    assert checkpoint.load(out / "checkpoints").notices == []


def test_a_run_without_one_whole_checkpoint_is_an_error_and_touches_nothing(tmp_path, opened, experiment):
    Training(experiment, opened, tmp_path, checkpoint_every=5).finish()
    for file in (tmp_path / "checkpoints").glob("*/manifest.json"):
        file.write_bytes(file.read_bytes()[:-1])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match="no checkpoint in .* is whole.*--overwrite"):
        Training(experiment, opened, tmp_path, resume=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_torn_ledger_is_told_and_goes_on(tmp_path, opened, experiment):
    training = Training(experiment, opened, tmp_path, checkpoint_every=1)
    training.advance(steps=5)
    training.close()
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-20])
    resumed = Training(experiment, opened, tmp_path, resume=True)
    assert any("ledger.jsonl" in notice and "line 2" in notice for notice in resumed.notices)
    resumed.finish()


def test_a_damaged_run_json_is_refused_with_the_fix(tmp_path, opened, experiment):
    Training(experiment, opened, tmp_path).finish()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run.json' is damaged.*--overwrite"):
        Training(experiment, opened, tmp_path, resume=True)
    Training(experiment, opened, tmp_path, overwrite=True).finish()

"""A checkpoint is whole or not there, and every damage to one is found."""

import json
import shutil
import threading

import pytest
import torch

from seqloom.train import checkpoint
from seqloom.train.checkpoint import CheckpointError, load, save, steps, why_not


def tensors(step=0):
    torch.manual_seed(step)
    return {
        "model": {"a": torch.randn(3, 2), "b.c": torch.randn(2).bfloat16()},
        "optimizer": {"step/a": torch.ones(())},
    }


def fill(path, upto=3):
    for step in range(1, upto + 1):
        save(path, step, tensors(step), {"x": 0.1 * step, "epoch": [step, 2]})
    return path


def names(path):
    return sorted(item.name for item in path.iterdir())


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path):
    save(tmp_path / "c", 7, tensors(7), {"x": 0.1 + 0.2, "none": None, "list": [1, 2.5]})
    found = load(tmp_path / "c")
    assert found.step == 7 and found.data == {"x": 0.1 + 0.2, "none": None, "list": [1, 2.5]} and found.notices == []
    for group, named in tensors(7).items():
        assert found.tensors[group].keys() == named.keys()
        assert all(torch.equal(found.tensors[group][name], t) for name, t in named.items())
        assert all(found.tensors[group][name].dtype == t.dtype for name, t in named.items())


def test_no_checkpoint_is_none_and_not_an_error(tmp_path):
    assert load(tmp_path / "absent") is None
    assert load(tmp_path) is None


def test_the_last_few_are_kept_and_latest_names_the_newest(tmp_path):
    path = tmp_path / "c"
    for step in (1, 2, 10, 11):
        save(path, step, tensors(step), {}, keep=2)
    assert steps(path) == [10, 11]
    assert names(path) == ["10", "11", "latest"]
    assert (path / "latest").read_text() == "11\n"


def test_equal_content_makes_equal_files(tmp_path):
    for name in "ab":
        save(tmp_path / name, 1, tensors(1), {"x": 1})
    for file in (tmp_path / "a" / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / "1" / file.name).read_bytes()


def test_a_missing_latest_is_told_and_does_no_harm(tmp_path):
    path = fill(tmp_path / "c")
    (path / "latest").unlink()
    found = load(path)
    assert found.step == 3 and len(found.notices) == 1 and "latest" in found.notices[0]


@pytest.mark.parametrize("content", [b"", b"99\n", b"\xff\xfe", b"nonsense"])
def test_a_damaged_latest_is_told_and_does_no_harm(tmp_path, content):
    path = fill(tmp_path / "c")
    (path / "latest").write_bytes(content)
    found = load(path)
    assert found.step == 3 and "latest" in found.notices[0]


def test_a_kill_between_rename_and_pointer_loses_nothing_and_needs_no_word(tmp_path):
    path = fill(tmp_path / "c")
    (path / "latest").write_text("2\n")
    assert load(path).step == 3 and load(path).notices == []


def test_half_written_checkpoints_are_not_seen_and_are_swept(tmp_path):
    path = fill(tmp_path / "c")
    shutil.copytree(path / "3", path / ".4.123.tmp")
    (path / ".latest.9.tmp").write_text("4")
    assert load(path).step == 3
    save(path, 4, tensors(4), {})
    assert names(path) == ["2", "3", "4", "latest"]


def test_a_damaged_checkpoint_is_replaced_when_the_run_comes_by_again(tmp_path):
    path = fill(tmp_path / "c")
    (path / "3" / "model.safetensors").write_bytes(b"")
    assert load(path).step == 2
    save(path, 3, tensors(3), {})
    assert load(path).step == 3 and load(path).notices == [] and names(path) == ["1", "2", "3", "latest"]


def test_a_damaged_later_checkpoint_never_pushes_out_the_good_one(tmp_path):
    path = fill(tmp_path / "c", upto=2)
    save(path, 9, tensors(9), {})
    (path / "9" / "state.json").unlink()
    save(path, 3, tensors(3), {}, keep=1)
    assert load(path).step == 3


def test_every_byte_lost_from_the_end_of_any_file_is_found(tmp_path):
    path = fill(tmp_path / "c", upto=1) / "1"
    for file in sorted(path.iterdir()):
        content = file.read_bytes()
        for length in {0, 1, 7, 8, 9, len(content) // 2, len(content) - 1}:
            file.write_bytes(content[:length])
            assert why_not(path), f"{file.name} cut to {length} of {len(content)} bytes"
        file.write_bytes(content + b"\0")
        assert why_not(path), f"{file.name} with a byte more"
        file.write_bytes(content)
    assert why_not(path) == []


def test_every_flipped_bit_of_the_manifest_and_many_of_the_rest_are_found(tmp_path):
    path = fill(tmp_path / "c", upto=1) / "1"
    for file in sorted(path.iterdir()):
        content = bytearray(file.read_bytes())
        stride = 1 if file.name in ("manifest.json", "state.json") else 5
        for at in range(0, len(content), stride):
            content[at] ^= 1 << at % 8
            file.write_bytes(content)
            assert why_not(path), f"bit {at % 8} of byte {at} of {file.name}"
            content[at] ^= 1 << at % 8
        file.write_bytes(content)
    assert why_not(path) == []


def test_a_missing_file_is_found_and_named(tmp_path):
    for file in ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"):
        path = fill(tmp_path / file, upto=2)
        (path / "2" / file).unlink()
        found = load(path)
        assert found.step == 1 and f"{file} is missing" in found.notices[0] and "checkpoint 1" in found.notices[1]


def test_damage_falls_back_past_several_and_says_so(tmp_path):
    path = fill(tmp_path / "c")
    for step in (2, 3):
        file = path / str(step) / "model.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    found = load(path)
    assert found.step == 1 and torch.equal(found.tensors["model"]["a"], tensors(1)["model"]["a"])
    assert [notice.split(" (")[0] for notice in found.notices[:2]] == [
        "checkpoint 3 is damaged",
        "checkpoint 2 is damaged",
    ]


def test_when_all_are_damaged_the_error_names_each_and_the_fix(tmp_path):
    path = fill(tmp_path / "c")
    for step in (1, 2, 3):
        (path / str(step) / "manifest.json").write_bytes(b"{")
    with pytest.raises(CheckpointError, match="3 is damaged.*2 is damaged.*1 is damaged.*--overwrite"):
        load(path)


def test_a_manifest_cannot_name_files_elsewhere(tmp_path):
    path = fill(tmp_path / "c", upto=1)
    manifest = json.loads((path / "1" / "manifest.json").read_bytes())
    del manifest["sha256"]
    manifest["files"]["../../secret"] = {"bytes": 0, "sha256": ""}
    (path / "1" / "manifest.json").write_bytes(checkpoint._signed(manifest))
    assert "elsewhere" in why_not(path / "1")[0]


def test_a_checkpoint_under_another_number_is_refused(tmp_path):
    path = fill(tmp_path / "c", upto=1)
    (path / "1").rename(path / "5")
    with pytest.raises(CheckpointError, match="step 1"):
        load(path)


def test_what_stands_in_the_way_is_a_clear_error_and_the_old_stay(tmp_path):
    path = fill(tmp_path / "c")
    (path / "4").write_text("a file under the number of a checkpoint")
    (path / f".4.{checkpoint.os.getpid()}.tmp").write_text("")
    save(path, 4, tensors(4), {})  # stale temporaries and a file are no obstacle
    assert load(path).step == 4
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot save checkpoint 1 in .*--resume"):
        save(tmp_path / "file", 1, tensors(1), {})


def test_a_reader_sees_a_whole_checkpoint_while_another_is_being_saved(tmp_path):
    path, seen, done = fill(tmp_path / "c", upto=1), [], threading.Event()

    def read():
        while not done.is_set():
            seen.append(load(path).step)

    reader = threading.Thread(target=read)
    reader.start()
    for step in range(2, 30):
        save(path, step, tensors(step), {}, keep=3)
    done.set()
    reader.join()
    assert seen == sorted(seen) and seen[-1] >= 1

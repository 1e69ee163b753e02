"""Several processes under faults: a lost worker is replaced and the run ends with the bits of an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqloom.train import checkpoint

STEPS = 60
TRAIN = ["train", "digits", "--model=gru", "--width=16", "--dropout=0.1", f"--steps={STEPS}", "--checkpoint-every=2"]


def start(out: Path, *more: str, plan: str = "data=2,timeout_s=5") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "seqloom", *TRAIN, "--plan", plan, "--json", "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers(launcher: subprocess.Popen[str]) -> list[int]:
    """Return the processes that a launcher started, by number."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) if entry.name.isdecimal() else 0
            if parent == launcher.pid:
                settings = (entry / "environ").read_bytes().split(b"\0")
                rank = next(int(line[5:]) for line in settings if line.startswith(b"RANK="))
                found[rank] = int(entry.name)
        except (OSError, StopIteration):
            continue  # it ended meanwhile
    return [found[rank] for rank in sorted(found)]


def reach(launcher: subprocess.Popen[str], out: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while max(checkpoint.steps(out / "checkpoints"), default=0) < step:
        assert launcher.poll() is None and time.monotonic() < deadline, launcher.communicate()
        time.sleep(0.005)


def weights(out: Path) -> dict[str, bytes]:
    content = checkpoint.read_whole(out / "checkpoints" / str(STEPS))
    return {name: part for name, part in content.items() if name.endswith(".safetensors")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    run = start(out)
    said, told = run.communicate(timeout=120)
    assert run.returncode == 0, told
    answer = json.loads(said)
    assert answer["plan"] == "data=2,timeout_s=5.0" and answer["traffic"]["replicas"]["sum"]["bytes"] > 0
    return weights(out)


@pytest.mark.faults
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("fault", ["SIGKILL", "SIGSTOP"])
def test_a_worker_that_dies_or_hangs_is_replaced(
    fault: str, rank: int, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    run = start(tmp_path / "run")
    reach(run, tmp_path / "run", 10)
    began = time.monotonic()
    os.kill(workers(run)[rank], getattr(signal, fault))
    said, told = run.communicate(timeout=120)
    assert run.returncode == 0, told
    assert "starting all 2 anew" in told and "Traceback" not in told
    assert json.loads(said)["steps"] == STEPS
    assert weights(tmp_path / "run") == undisturbed
    assert time.monotonic() - began < 90  # the timeout is 5 s, and the rest is starting twice


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_asked_to_end_all_save_and_end_and_the_run_goes_on(
    number: signal.Signals, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run = start(out)
    reach(run, out, 10)
    run.send_signal(number)
    _, told = run.communicate(timeout=60)
    assert run.returncode == (130 if number == signal.SIGINT else 143), told
    assert "anew" not in told and "Traceback" not in told
    assert workers(run) == []
    again = start(out, "--resume")
    _, told = again.communicate(timeout=120)
    assert again.returncode == 0, told
    assert weights(out) == undisturbed


@pytest.mark.faults
def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    run = start(tmp_path / "run")
    reach(run, tmp_path / "run", 4)
    children = workers(run)
    assert len(children) == 2
    with run:  # its pipes are the workers' too, so nothing is read from them here
        run.kill()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() and not zombie(child) for child in children):
        assert time.monotonic() < deadline, "they outlive it"
        time.sleep(0.05)


def zombie(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.faults
def test_too_many_losses_end_the_run_with_a_checkpoint_that_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = start(out, "--restarts=0")
    reach(run, out, 6)
    os.kill(workers(run)[1], signal.SIGKILL)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 75 and "--resume" in told, told
    loaded = checkpoint.load(out / "checkpoints")
    assert loaded is not None and loaded.step >= 6


@pytest.mark.faults
def test_wrong_usage_is_told_once_and_not_tried_again(tmp_path: Path) -> None:
    run = start(tmp_path / "run", plan="pipeline=9")
    said, told = run.communicate(timeout=120)
    assert run.returncode == 2 and said == ""
    assert told.count("leaves stages without a block") == 1 and "anew" not in told

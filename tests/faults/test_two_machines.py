"""Two machines, as two network namespaces joined by a cable: a run on both, and a lost worker comes back.

Only the first machine has the run directory; neither's own name leads to its address.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqloom.train import checkpoint

pytestmark = pytest.mark.faults
STEPS = 120
TRAIN = ["train", "digits", "--model=gru", "--width=16", f"--steps={STEPS}", "--checkpoint-every=2", "--json"]


@pytest.fixture(scope="module")
def machines() -> Iterator[list[str]]:
    """Two namespaces, 10.77.0.1 and 10.77.0.2."""
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2's ip")
    names = [f"seqloom{os.getpid()}{letter}" for letter in "ab"]
    try:
        for name in names:
            made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"no network namespace may be made here: {made.stderr.strip()}")
        ends = [f"sl{os.getpid()}{letter}"[-15:] for letter in "ab"]
        ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
        for number, (name, end) in enumerate(zip(names, ends, strict=True), 1):
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", end)
            for link in ("lo", end):
                ip("-n", name, "link", "set", link, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def started(name: str, number: int, out: Path, plan: str) -> subprocess.Popen[str]:
    """Start torchrun on a machine, as the documentation says."""
    command = ["ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes=2"]
    command += ["--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d", "--rdzv-endpoint=10.77.0.1:29400"]
    command += [f"--local-addr=10.77.0.{number + 1}", f"--rdzv-conf=is_host={1 - number}", "-m", "seqloom", *TRAIN]
    known = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, f"--plan={plan}", f"--out={out}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=known, start_new_session=True,
    )  # fmt: skip


def both(machines: list[str], folder: Path, plan: str) -> list[subprocess.Popen[str]]:
    return [started(name, number, folder / str(number), plan) for number, name in enumerate(machines)]


def ended(runs: list[subprocess.Popen[str]]) -> tuple[str, str]:
    """Return (what the first machine answers, what the second's torchrun tells)."""
    try:
        answers = [run.communicate(timeout=150) for run in runs]
    finally:
        for run in runs:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
    assert [run.returncode for run in runs] == [0, 0], answers[0][1][-3000:] + answers[1][1][-3000:]
    (answer, _), (silent, told) = answers
    assert silent == ""
    return answer, told


def weights(out: Path) -> dict[str, bytes]:
    content = checkpoint.read_whole(out / "checkpoints" / str(STEPS))
    return {name: part for name, part in content.items() if name.endswith(".safetensors")}


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The weights that two processes of one machine learn."""
    out = tmp_path_factory.mktemp("home") / "run"
    subprocess.run([sys.executable, "-m", "seqloom", *TRAIN, "--plan=data=2", f"--out={out}"], check=True, timeout=150,
                   capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    return weights(out)


def test_two_machines_learn_what_two_processes_of_one_learn(
    machines: list[str], at_home: dict[str, bytes], tmp_path: Path
) -> None:
    answer = json.loads(ended(both(machines, tmp_path, "data=2,timeout_s=20"))[0])
    assert answer["traffic"]["replicas"]["sum"]["bytes"] > 0
    assert weights(tmp_path / "0") == at_home
    assert not (tmp_path / "1").exists()


def worker_of(agent: subprocess.Popen[str]) -> int:
    """Return the process that torchrun's agent started."""
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    return int(children[-1])


def test_a_worker_that_is_lost_on_the_second_machine_comes_back(
    machines: list[str], at_home: dict[str, bytes], tmp_path: Path
) -> None:
    runs = both(machines, tmp_path, "data=2,timeout_s=20")
    deadline = time.monotonic() + 120
    while max(checkpoint.steps(tmp_path / "0" / "checkpoints"), default=0) < 6:
        assert time.monotonic() < deadline and all(run.poll() is None for run in runs)
        time.sleep(0.01)
    os.kill(worker_of(runs[1]), signal.SIGKILL)
    _, told = ended(runs)
    assert "exitcode: -9" in told and weights(tmp_path / "0") == at_home

"""A table far larger than what is kept of it in memory trains, and its second opening reads nothing of it again."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seqloom.data import cache
from seqloom.tasks.classify import Classify

# what a process does: its peak after training on a small table, and after training on a large one, in MiB
SCRIPT = """
import resource, sys
import torch
from seqloom.tasks.classify import Classify
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.train.loop import Training
from seqloom.zoo.gru import GRUStack
torch.set_num_threads(1)
for path in sys.argv[1:3]:
    task = Classify(data=path, tokens="bytes", max_length=64)
    experiment = Experiment(
        task=task, model=GRUStack(width=16, layers=1), budget=Budget(steps=3), optimizer=Optimizer(batch_size=8),
        evaluate_every=3,
    )
    training = Training(experiment)
    training.advance()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(len(training.opened.train))
"""


def jsonl(path: Path, megabytes: int) -> int:
    """Write texts of about 1000 bytes of which no two are equal; return how many."""
    words = [f"word{i}" for i in range(2000)]
    draws = np.random.default_rng(0)
    rows = megabytes * 1000
    with path.open("w", encoding="utf-8") as file:
        block = [" ".join(words[i] for i in draws.integers(0, 2000, size=120)) for _ in range(1000)]
        for start in range(0, rows, 1000):
            lines = (json.dumps({"text": f"{start + i} {text}", "label": i % 2}) for i, text in enumerate(block))
            file.write("\n".join(lines) + "\n")
    return rows


def peaks(path: Path) -> tuple[float, float, int]:
    jsonl(path.with_name("small.jsonl"), 1)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path.with_name("small.jsonl")), str(path)],
        capture_output=True,
        text=True,
        env={"SEQLOOM_CACHE": str(path.parent / "cache"), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, after, rows = done.stdout.split()
    return float(before), float(after), int(rows)


def test_thirty_megabytes_train_in_less_memory_than_they_are(tmp_path: Path) -> None:
    rows = jsonl(tmp_path / "a.jsonl", 30)
    assert (tmp_path / "a.jsonl").stat().st_size > 30_000_000
    before, after, train = peaks(tmp_path / "a.jsonl")
    assert train == rows * 8 // 10
    assert after - before < 30  # MiB: less than the texts alone would take, were they held


@pytest.mark.slow
def test_a_gigabyte_trains_in_a_fraction_of_its_size(tmp_path: Path) -> None:
    rows = jsonl(tmp_path / "a.jsonl", 1000)
    assert (tmp_path / "a.jsonl").stat().st_size > 1_000_000_000
    before, after, train = peaks(tmp_path / "a.jsonl")
    assert train == rows * 8 // 10
    assert after - before < 300, f"{before:.0f} MiB before, {after:.0f} MiB at the peak"


def test_a_second_opening_is_the_first_and_reads_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "SMALL_BYTES", 0)
    jsonl(tmp_path / "a.jsonl", 1)
    task = Classify(data=str(tmp_path / "a.jsonl"), max_length=50, vocabulary=300)
    small = task.open(3)
    monkeypatch.setattr("seqloom.tasks._texts.read_texts", lambda *_: pytest.fail("the table is read again"))
    again = task.open(3)
    assert small.facts == again.facts and small.labels == again.labels and small.encoding == again.encoding
    rows = np.arange(len(small.train))
    for name in ("train", "validation", "test"):
        one, other = (getattr(opened, name).batch(rows[: len(getattr(opened, name))]) for opened in (small, again))
        assert (one.inputs == other.inputs).all() and (one.target == other.target).all()
    with pytest.raises(pytest.fail.Exception, match="read again"):
        task.open(4)  # another seed is another split, and other tokens


def test_the_cache_changes_no_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path / "cache"))
    jsonl(tmp_path / "a.jsonl", 1)
    task = Classify(data=str(tmp_path / "a.jsonl"), max_length=50, vocabulary=300)
    held = task.open(0)
    monkeypatch.setattr(cache, "SMALL_BYTES", 0)
    kept = task.open(0)
    assert held.facts == kept.facts and held.encoding == kept.encoding
    rows = np.arange(len(held.train))
    assert (held.train.batch(rows).inputs == kept.train.batch(rows).inputs).all()

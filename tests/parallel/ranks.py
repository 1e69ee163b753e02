"""Run a function on several processes, forked after torch is imported once: two take a fraction of a second."""

import io
import multiprocessing
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

TIMEOUT_S = 30


def on_ranks(n: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return what function(*arguments) returns on each of n processes of one group, by rank.

    Raises:
        AssertionError: a process fails, with its traceback, or does not end in time.
    """
    context = multiprocessing.get_context("fork")
    torch.set_num_threads(1)  # threads of this process would not be there after the fork
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(n)]
        processes = [
            context.Process(target=_run, args=(rank, n, Path(folder) / "store", pipes[rank][1], function, arguments))
            for rank in range(n)
        ]
        for process in processes:
            process.start()
        try:
            found = []
            for reader, _ in pipes:
                silent = (False, "no answer")
                heard = reader.poll(TIMEOUT_S if all(right for right, _ in found) else 1)
                found.append(torch.load(io.BytesIO(reader.recv_bytes())) if heard else silent)
        finally:
            for process in processes:
                process.join(5)
                if process.is_alive():
                    process.kill()
    failed = [f"rank {rank}:\n{text}" for rank, (right, text) in enumerate(found) if not right]
    assert not failed, "\n".join(failed)
    return [value for _, value in found]


def _run(rank: int, n: int, store: Path, answer: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        torch.set_num_threads(1)
        if n > 1:
            dist.init_process_group(
                "gloo", init_method=f"file://{store}", rank=rank, world_size=n, timeout=timedelta(seconds=TIMEOUT_S / 2)
            )
        said = (True, function(*arguments))
    except BaseException:  # noqa: BLE001  told to the test
        said = (False, traceback.format_exc())
    try:
        whole = io.BytesIO()
        torch.save(said, whole)  # by value: a process that has ended shares no memory
        answer.send_bytes(whole.getvalue())
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()

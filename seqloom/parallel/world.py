"""The processes of a run: how one joins the others, and what is raised when another is lost."""

import contextlib
import itertools
import re
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore, PrefixStore, TCPStore

from seqloom.core import runtime
from seqloom.parallel.launch import LostError
from seqloom.parallel.plan import Plan

_JOINS = itertools.count()  # of this process; all processes join in the same order
JOIN_S = 120.0  # for all processes to start: imports on a busy machine take their time
_SAID = re.compile(r"connection (closed|reset) by peer|timed out", re.IGNORECASE)
_LOST = re.compile(r"gloo|nccl|connection (closed|reset)|timed? ?out|wait timeout|broken pipe", re.IGNORECASE)


def processes() -> int:
    """Return how many processes of the run have joined."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextlib.contextmanager
def joined(plan: Plan) -> Generator[None, None, None]:
    """Be one of a plan's processes inside: join the others first, leave them at the end.

    A plan of one process joins nobody. Where processes were started by seqloom itself they meet in a file and talk on
    the loopback; under torchrun they meet where it says.

    Raises:
        ValueError: as many processes as the plan asks for were not started.
        LostError: not all of them came; those that did not are named.
    """
    here = runtime.worker()
    reasons = plan.why_not(here.workers)
    if reasons:
        raise ValueError("; ".join(reasons))
    if here.workers == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(here.local % torch.cuda.device_count())
    if not here.store:
        runtime.talk_towards(here.address)
    store: Any = FileStore(here.store, here.workers) if here.store else _torchrun_store(here)
    turn = f"{here.attempt}/{next(_JOINS)}"  # addresses of an earlier group in the same store are dead
    _meet(store, here, turn, JOIN_S)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore(f"world/{turn}", store),
        rank=here.rank,
        world_size=here.workers,
        timeout=timedelta(seconds=plan.timeout_s),
    )
    yield
    dist.destroy_process_group()  # not after an error: a group that lost a member may wait for it forever


@contextlib.contextmanager
def naming_the_lost() -> Generator[None, None, None]:
    """Turn what a backend raises when a process is gone into a LostError.

    Raises:
        LostError: for such an error; others pass.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, LostError) or not dist.is_initialized() or not _LOST.search(str(error)):
            raise
        found = _SAID.search(str(error))
        reason = found[0] if found else str(error).strip().splitlines()[0]
        raise LostError(
            f"worker {dist.get_rank()} of {dist.get_world_size()} waited for another that is gone or silent "
            f"({reason}). The last checkpoint is intact; go on with --resume"
        ) from error


def _torchrun_store(here: runtime.Worker) -> Any:
    return TCPStore(
        here.address, here.port, here.workers, is_master=False if here.agent else here.rank == 0,
        timeout=timedelta(seconds=JOIN_S), wait_for_workers=False,
    )  # fmt: skip


def _meet(store: Any, here: runtime.Worker, turn: str, limit_s: float) -> None:
    """Wait for all processes to come, at each turn anew."""
    mark = f"here/{turn}"
    store.set(f"{mark}/{here.rank}", "1")
    missing: list[int] = []
    for rank in range(here.workers):
        try:
            store.wait([f"{mark}/{rank}"], timedelta(seconds=0.5 if missing else limit_s))
        except (RuntimeError, dist.DistError):
            missing.append(rank)
    if missing:
        named = ", ".join(map(str, missing))
        raise LostError(f"worker {named} of {here.workers} did not come within {limit_s:g} s; are all nodes started?")

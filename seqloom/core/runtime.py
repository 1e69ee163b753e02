"""The runtime: seed, device, threads, determinism, and the environment, which is read nowhere else.

torch is imported inside the functions that need it, so that this file costs nothing.
"""

import contextlib
import os
import random
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

_PROJECT = Path(__file__).resolve().parents[2]
_OFF = ("", "0", "false", "no", "off")


class Worker(NamedTuple):
    """Which of a run's processes this one is, as its starter says: seqloom itself, or torchrun."""

    rank: int = 0
    workers: int = 1
    local: int = 0  # number on this machine
    attempt: int = 0  # how often the processes were started anew
    store: str = ""  # file in which they meet; empty: where torchrun says
    address: str = ""
    port: int = 0
    agent: bool = False  # whether torchrun's agent keeps the store
    launch: str = ""  # the same for all processes, and again for those that are started anew

    @property
    def first(self) -> bool:
        """Return whether this process writes and speaks for all."""
        return self.rank == 0


def worker() -> Worker:
    """Return which of a run's processes this one is."""
    known = os.environ
    if "RANK" not in known or "WORLD_SIZE" not in known:
        return Worker()
    return Worker(
        rank=int(known["RANK"]),
        workers=int(known["WORLD_SIZE"]),
        local=int(known.get("LOCAL_RANK", known["RANK"])),
        attempt=int(known.get("TORCHELASTIC_RESTART_COUNT", "0")),
        store=known.get("SEQLOOM_STORE", ""),
        address=known.get("MASTER_ADDR", "127.0.0.1"),
        port=int(known.get("MASTER_PORT", "29500")),
        agent=known.get("TORCHELASTIC_USE_AGENT_STORE", "").lower() == "true",
        launch=known.get("SEQLOOM_LAUNCH", known.get("TORCHELASTIC_RUN_ID", "")),
    )


def worker_environment(worker: Worker, loopback: str) -> dict[str, str]:
    """Return the environment of a process to be started as one of several on this machine.

    Each computes with its share of the cores, and talks on the loopback alone; the user's own settings win.
    """
    share = max(cores() // worker.workers, 1)
    return {
        "OMP_NUM_THREADS": str(share),
        "GLOO_SOCKET_IFNAME": loopback,
        **os.environ,
        "RANK": str(worker.rank),
        "WORLD_SIZE": str(worker.workers),
        "LOCAL_RANK": str(worker.local),
        "TORCHELASTIC_RESTART_COUNT": str(worker.attempt),
        "SEQLOOM_STORE": worker.store,
        "SEQLOOM_LAUNCH": worker.launch,
    }


def talk_towards(address: str) -> None:
    """Let gloo talk through the interface that reaches an address of another machine, unless the user chose one.

    By itself it takes the one that the host's own name stands for, which many systems let be the loopback: two machines
    would then each wait for the other at home. Nothing is sent, and nothing changes where no interface is found (Linux
    and IPv4 alone are asked).
    """
    name = None if "GLOO_SOCKET_IFNAME" in os.environ else _interface(address)
    if name is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = name


def _interface(address: str) -> str | None:
    import socket
    import struct

    with contextlib.suppress(ImportError, OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        import fcntl

        probe.connect((address, 9))  # of a datagram socket: chooses the way, sends nothing
        own = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an address
                asked = struct.pack("256s", name.encode()[:15])
                held = fcntl.ioctl(probe.fileno(), 0x8915, asked)[20:24]  # SIOCGIFADDR
                if socket.inet_ntoa(held) == own and not own.startswith("127."):
                    return name
    return None


def end_with_parent() -> None:
    """Ask the system to send SIGTERM when the process that started this one ends (Linux; elsewhere nothing happens)."""
    import ctypes
    import signal

    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators; training keeps streams of its own.

    Raises:
        ValueError: the seed is not an integer in [0, 2**32).
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed}: must be an integer from 0 to {2**32 - 1}")
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]


def device() -> "torch.device":
    """Return where to compute: SEQLOOM_DEVICE if set, else the first accelerator, else the CPU.

    Raises:
        ValueError: SEQLOOM_DEVICE names no device of this machine.
    """
    import torch

    wanted = os.environ.get("SEQLOOM_DEVICE", "")
    if not wanted:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(wanted)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"SEQLOOM_DEVICE='{wanted}': {reason}; take 'cpu', or unset it") from None
    return chosen


def data_dir() -> Path | None:
    """Return the folder of real data sets: SEQLOOM_DATA, else ../shared/data beside the project, else None.

    Raises:
        ValueError: SEQLOOM_DATA is set and is not a folder.
    """
    given = os.environ.get("SEQLOOM_DATA", "")
    if given:
        if not Path(given).is_dir():
            raise ValueError(f"SEQLOOM_DATA='{given}' is not a folder; name one that exists, or unset it")
        return Path(given)
    beside = _PROJECT.parent / "shared" / "data"
    return beside if beside.is_dir() else None


def cache_dir() -> Path:
    """Return the folder of what can be made again: SEQLOOM_CACHE, else seqloom in XDG_CACHE_HOME or ~/.cache.

    It need not exist yet, and may be deleted at any time while no seqloom runs.
    """
    given = os.environ.get("SEQLOOM_CACHE", "")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache") / "seqloom"


def offline() -> bool:
    """Return whether SEQLOOM_OFFLINE or HF_HUB_OFFLINE asks to leave the network alone."""
    return any(os.environ.get(name, "").lower() not in _OFF for name in ("SEQLOOM_OFFLINE", "HF_HUB_OFFLINE"))


def native_library() -> Path | None:
    """Return the library of native kernels that SEQLOOM_NATIVE names; None: the one that was built."""
    given = os.environ.get("SEQLOOM_NATIVE", "")
    return Path(given) if given else None


def instruction_set() -> str:
    """Return the instruction set for native kernels that SEQLOOM_ISA asks for; empty: the widest."""
    return os.environ.get("SEQLOOM_ISA", "")


def triton_interprets() -> bool:
    """Return whether Triton's interpreter stands in for a GPU (TRITON_INTERPRET=1), as in tests."""
    return os.environ.get("TRITON_INTERPRET", "").lower() not in _OFF


def share_the_machine() -> None:
    """Let threads that wait sleep instead of spinning; call before torch is imported, where a process begins.

    A thread that spins holds its core while the one it waits for is kept from running by another program: on two
    cores with one other busy process, steps of small models took 25 times as long. The user's own settings win.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_memory() -> bool:
    """Keep freed memory in the process rather than give it back; return whether the allocator does (glibc's).

    Tensors of some MiB otherwise come from the system and go back at every operation, and each page of 4 KiB costs a
    fault when first touched: training steps took up to four times as long. The price is memory held at its peak. The
    user's own settings (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_, GLIBC_TUNABLES) win.
    """
    import ctypes

    own = "MALLOC_MMAP_THRESHOLD_" in os.environ or "MALLOC_TRIM_THRESHOLD_" in os.environ
    if own or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    trim_threshold, mmap_threshold = -1, -3  # of malloc.h
    return bool(mallopt(mmap_threshold, 2**30) and mallopt(trim_threshold, 2**31 - 1))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(n: int) -> None:
    """Compute with n CPU threads; sums then depend on n, so runs are compared at the same n.

    Raises:
        ValueError: n < 1.
    """
    if n < 1:
        raise ValueError(f"threads {n}: must be at least 1")
    import torch

    torch.set_num_threads(n)


def threads() -> int:
    """Return the number of CPU threads that torch computes with."""
    import torch

    return torch.get_num_threads()


@contextlib.contextmanager
def using_threads(n: int | None) -> Generator[None, None, None]:
    """Inside, compute with n CPU threads; None: with as many as outside."""
    before = threads()
    try:
        if n is not None:
            set_threads(n)
        yield
    finally:
        set_threads(before)


@contextlib.contextmanager
def deterministic() -> Generator[None, None, None]:
    """Inside, torch takes deterministic algorithms, and warns where an operation has none."""
    import torch

    if torch.are_deterministic_algorithms_enabled():
        yield  # at least as strict already
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    strictness: Any = torch.utils.deterministic  # its attribute is made by a property of the module
    fill, benchmark = strictness.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    strictness.fill_uninitialized_memory = False  # a check of tests, at the price of every allocation
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        strictness.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark


def debug() -> bool:
    """Return whether SEQLOOM_DEBUG asks for tracebacks and dear checks."""
    return os.environ.get("SEQLOOM_DEBUG", "").lower() not in _OFF

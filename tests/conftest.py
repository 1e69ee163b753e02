"""What every test runs under: no network, a fixed number of threads, and memory that is poisoned until written."""

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

# before torch starts its threads: results, and the time of small matrices, must not depend on the machine's cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

THREADS = 1
_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(THREADS)
    # with this, torch.empty and resizing fill with NaN (or the largest integer): what is read unwritten shows
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection beyond this machine: a test that needs the network is wrong."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(address: Any) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(_LOOPBACK):
            raise AssertionError(f"a test tried to reach the network: {address}")

    def guarded(self: socket.socket, address: Any) -> None:
        check(address)
        connect(self, address)

    def guarded_ex(self: socket.socket, address: Any) -> int:
        check(address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_ex)


@pytest.fixture(autouse=True)
def _same_global_state() -> Iterator[None]:
    """Start every test from one seed and one thread count, and put back what a test changed."""
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    yield
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(grad)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line here; return (exit code, standard output, standard error)."""
    from seqloom import cli

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.run(list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return run

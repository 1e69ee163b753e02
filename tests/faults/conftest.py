"""Processes to be killed: forks of this one, and a hook that ends one at its n-th file operation."""

import os
import signal
import sys
import traceback

import pytest

_OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}


def fork(work):
    """Run work in a process of its own; return its exit code, or minus the signal that ended it."""
    number = os.fork()
    if number == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001  the process ends here, whatever it was
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(number, 0)
    return os.waitstatus_to_exitcode(status)


def die_at(n, under):
    """End this process by SIGKILL before its n-th file operation (from 1) under a directory."""
    left, root = [n], str(under)

    def hook(event, arguments):
        # the audit hook of CPython: called before each of these operations, with their paths
        if event in _OPERATIONS and any(isinstance(a, str | os.PathLike) and root in os.fspath(a) for a in arguments):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


@pytest.fixture(name="fork")
def _fork():
    return fork


@pytest.fixture(name="die_at")
def _die_at():
    return die_at

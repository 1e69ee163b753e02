"""The command line: parse, call, print. Heavy modules are imported inside the verbs, after parsing.

Exit codes: 0 done, 1 the work failed, 2 wrong usage or input, 130 stopped by the user. With `--json` standard output
holds one JSON document and nothing else, or one a line where answers come one by one; progress and errors go to
standard error.
"""

import contextlib
import errno
import functools
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

from cyclopts import App, CycloptsError, Parameter

from seqloom import __version__
from seqloom.cli_options import with_options
from seqloom.cli_output import Answer, Stream, Workers, to_json
from seqloom.cli_verbs import VERBS
from seqloom.core import runtime
from seqloom.data.telling import telling
from seqloom.parallel.launch import LOST, LostError, launch
from seqloom.train.progress import Stages

HELP = "Choose, train, parallelise and ship sequence models: recurrent, attention, or both."
EPILOGUE = (
    "Every verb: --json prints one JSON document on standard output and nothing else there; --debug shows the "
    "traceback of an error. Exit codes: 0 done, 1 the work failed, 2 wrong usage or input."
)
STOPPED = 130
# what the user can set right: paths that are wrong, and a disk that is full, over its quota or read-only
USER_PATHS = (FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError)
USER_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG)


def main(words: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    code = run(list(sys.argv[1:] if words is None else words))
    if runtime.worker().workers > 1 and code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # what still waits for a process that is gone would wait for long
    sys.exit(code)


def run(words: list[str]) -> int:
    """Run a command line and return its exit code."""
    runtime.share_the_machine()
    runtime.keep_memory()
    if runtime.worker().store:
        runtime.end_with_parent()
    flags = {flag for flag in ("--json", "--debug") if flag in words}
    words = [word for word in words if word not in flags]
    warnings.showwarning = warn
    try:
        with telling(Stages()):
            answer = build(words)(words, exit_on_error=False, print_error=False, result_action="return_value")
        if isinstance(answer, Workers):
            return launch(
                [*words, *sorted(flags)], *answer, say=lambda text: print(f"seqloom: {text}", file=sys.stderr)
            )
        if isinstance(answer, Answer) and runtime.worker().first:
            print(to_json(answer.data) if "--json" in flags else answer.text, flush=True)
        elif isinstance(answer, Stream):
            stream(answer, as_json="--json" in flags)
        return 0
    except KeyboardInterrupt:
        return fail(f"stopped.{resume_hint(words)}", STOPPED, shared=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: nothing more to say to it
        return 1
    except Exception as error:  # noqa: BLE001  the program's door: every error becomes one line and an exit code
        if "--debug" in flags:
            traceback.print_exc()
        message, code = described(error, debug="--debug" in flags)
        return fail(message, code, shared=code == 2 or isinstance(error, FloatingPointError))


def described(error: Exception, debug: bool) -> tuple[str, int]:
    """Return an error's message for people, and its exit code."""
    if isinstance(error, CycloptsError):
        return " ".join(str(error).split()), 2
    if isinstance(error, OSError):
        where = f"'{error.filename}': " if error.filename is not None else ""
        theirs = isinstance(error, USER_PATHS) or error.errno in USER_ERRNOS
        return f"{where}{error.strerror or error}", 2 if theirs else 1
    if isinstance(error, ValueError):
        return str(error), 2
    if isinstance(error, LostError):
        return str(error), LOST
    if isinstance(error, FloatingPointError):
        return str(error), 1  # training diverged: what was asked is right, the work failed
    if isinstance(error, MemoryError):
        return "not enough memory; take a smaller --batch-size, --width or length", 1
    hint = "" if debug else "; --debug shows where"
    return f"{type(error).__name__}: {error}{hint}", 1


def warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
    """Show a warning as one line; the libraries' own, which users cannot act on, only as far as they are for users."""
    if issubclass(category, UserWarning):
        print(f"seqloom: warning: {message}", file=sys.stderr, flush=True)


def notice(text: str) -> None:
    """Tell something on standard error."""
    print(f"seqloom: {text}", file=sys.stderr, flush=True)


def fail(message: str, code: int, shared: bool) -> int:
    """Tell what went wrong on standard error; return the exit code.

    Of several processes on a machine the first alone tells what all of them see.
    """
    here = runtime.worker()
    if here.workers > 1 and not shared:
        message = f"worker {here.rank}: {message}"
    if here.local == 0 or not shared:
        tell(message, code)
    return code


def tell(message: str, code: int) -> None:
    """Tell on standard error why the program ends."""
    print(f"seqloom: {'error: ' if code != STOPPED else ''}{message}", file=sys.stderr, flush=True)


def resume_hint(words: list[str]) -> str:
    """Return how to go on with a stopped run."""
    if words[:1] not in (["train"], ["compare"]):
        return ""
    again = [word for word in words if word not in ("--overwrite", "--resume")]
    return f" To go on: seqloom {shlex.join(again)} --resume"


def build(words: list[str]) -> App:
    """Return the command-line application; only the verb that is named reads its plug-ins' options.

    Raises:
        ValueError: the words name a task or model that does not exist.
    """
    app = App(
        name="seqloom",
        help=HELP,
        help_epilogue=EPILOGUE,
        help_format="plaintext",
        version=__version__,
        default_parameter=Parameter(negative_bool=()),
        suppress_keyboard_interrupt=False,
    )
    for name, (verb, kinds) in VERBS.items():
        named = words[:1] == [name]
        app.command(quiet(with_options(verb, kinds if named else (), words[1:])), name=name)
    return app


def stream(answers: Stream, as_json: bool) -> None:
    """Print answers as they come, and what is to be said at the end, also where the user ends it."""

    def show(item: Any) -> None:
        line = to_json(item, indent=None) if as_json else answers.text(item)
        if line is not None:
            print(line, flush=True)

    try:
        for item in quietly(answers.items):
            show(item)
    except KeyboardInterrupt:
        if answers.end is None:
            raise
    if answers.end is not None:
        show(answers.end())


def quietly(items: Iterable[Any]) -> Iterator[Any]:
    """Yield items whose making cannot write to standard output: that is for them alone."""
    source = iter(items)
    while True:
        with contextlib.redirect_stdout(sys.stderr):
            item = next(source, None)
        if item is None:
            return
        yield item


def quiet(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Return a verb whose libraries cannot write to standard output: that is for the answer alone."""

    @functools.wraps(verb)
    def call(*args: Any, **kwargs: Any) -> Any:
        with contextlib.redirect_stdout(sys.stderr):
            return verb(*args, **kwargs)

    return call

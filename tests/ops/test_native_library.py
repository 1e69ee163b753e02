"""The library of native kernels: what it exports, where it runs, what is said without it, and how it is built."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from seqloom import ops
from seqloom.ops import _native
from seqloom.ops.attention import attention
from seqloom.ops.linear import linear
from seqloom.ops.recurrence import CELLS, Weights

ROOT = Path(__file__).resolve().parents[2]
needs_library = pytest.mark.skipif(bool(_native.why_not()), reason=" ".join(_native.why_not()))
needs_compiler = pytest.mark.skipif(not shutil.which("g++") or sys.platform != "linux", reason="g++ is not installed")


def exported() -> set[str]:
    """Return the names that the sources export."""
    text = "".join(path.read_text() for path in (ROOT / "csrc").glob("*.cpp"))
    return set(re.findall(r"^EXPORT\((\w+)\)", text, re.MULTILINE))


def scan_arguments(steps: int = 40) -> tuple:
    g = torch.Generator().manual_seed(steps)
    return torch.rand(3, steps, 37, generator=g), torch.rand(3, steps, 37, generator=g), None


def linear_arguments() -> tuple:
    g = torch.Generator().manual_seed(0)
    return tuple(torch.randn(*shape, generator=g) for shape in ((130, 37), (53, 37), (53,)))


def attention_arguments() -> tuple:
    g = torch.Generator().manual_seed(0)
    return *(torch.randn(2, 270, heads, 9, generator=g) for heads in (2, 1, 1)), True, 200


def recurrence_arguments(cell: str) -> tuple:
    g = torch.Generator().manual_seed(0)
    rows = CELLS[cell].gates * 37
    # a spectral radius of about one half, so that rounding errors do not grow
    weights = Weights(*(0.1 * torch.randn(*shape, generator=g) for shape in ((rows, 5), (rows, 37), (rows,), (rows,))))
    return cell, torch.randn(3, 20, 5, generator=g), weights, (), None, True


@needs_library
def test_every_function_is_there_for_every_instruction_set() -> None:
    assert _native.isa() == _native.usable()[0]
    assert exported() >= {"scan_f32", "recurrence_f32", "recurrence_backward_f64", "stream_step_f32"}
    for name in exported():
        for isa in _native.usable():
            assert hasattr(_native._library, f"seqloom_{name}_{isa}")


def test_code_for_wide_instruction_sets_cannot_leak_into_narrow_ones() -> None:
    """Of two functions of one name the linker keeps one: headers of C define none, and ours are local to a file."""
    allowed = {"arm_neon.h", "cstddef", "cstdint", "cstdlib", "cstring", "immintrin.h", "sched.h", "sys/mman.h"}
    for path in (ROOT / "csrc").iterdir():
        text = path.read_text()
        if path.name != "native.cpp":
            assert set(re.findall(r"#include <(.*)>", text)) <= allowed, path.name
            assert "namespace {" in text, path.name


@needs_library
@pytest.mark.skipif(not shutil.which("nm"), reason="nm is not installed")
def test_nothing_else_is_exported() -> None:
    command = ["nm", "-D", "--defined-only", str(_native._library._name)]
    symbols = [line.split()[-1] for line in subprocess.check_output(command, text=True).splitlines()]
    assert symbols and all(symbol.startswith("seqloom_") for symbol in symbols)


@pytest.mark.parametrize("isa", _native.usable())
def test_every_instruction_set_gives_the_reference(isa, monkeypatch) -> None:
    monkeypatch.setattr(_native, "_isa", isa)
    _native.function.cache_clear()
    try:
        # the tolerance of float32 over 40 steps of values near 1
        scanned = ops.scan.kernels["native"](*scan_arguments())
        torch.testing.assert_close(scanned, ops.scan.reference(*scan_arguments()), rtol=1e-5, atol=1e-5)
        for op, given in ((linear, linear_arguments()), (attention, attention_arguments())):
            leaves = [part.requires_grad_() for part in given if isinstance(part, torch.Tensor)]
            y, expected = op.kernels["native"](*given), op.reference(*given)
            torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
            found = torch.autograd.grad(y.sin().sum(), leaves)
            torch.testing.assert_close(found, torch.autograd.grad(expected.sin().sum(), leaves), rtol=1e-4, atol=1e-4)
        for cell in CELLS:
            y, after = ops.recurrence.kernels["native"](*recurrence_arguments(cell))
            expected, expected_after = ops.recurrence.reference(*recurrence_arguments(cell))
            torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(after, expected_after, rtol=1e-5, atol=1e-5)
    finally:
        _native.function.cache_clear()


def python(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_library
def test_the_environment_chooses_an_instruction_set() -> None:
    narrowest = _native.usable()[-1]
    assert python("from seqloom.ops import _native; print(_native.isa())", SEQLOOM_ISA=narrowest) == narrowest


def test_without_the_library_other_kernels_run_and_say_why() -> None:
    script = """
import torch
from seqloom import nn, ops
from seqloom.lab.doctor import as_text, examine
y, _ = nn.GRU(4, 5)(torch.zeros(7, 2, 4))
nn.GRU(4, 5).stream(2)(torch.zeros(2, 4))
ops.scan(torch.ones(1, 3, 2), torch.ones(1, 3, 2), None)
print(next(line for line in as_text(examine()).splitlines() if line.startswith("Native")))
"""
    said = python(script, SEQLOOM_NATIVE="/nothing/here.so")
    assert said.startswith("Native kernels: absent (SEQLOOM_NATIVE='/nothing/here.so' is not a file")


def test_a_missing_library_is_said_with_the_remedy(monkeypatch) -> None:
    monkeypatch.delenv("SEQLOOM_NATIVE", raising=False)
    monkeypatch.setattr(_native, "_built", lambda: None)
    library, reasons, _ = _native._load()
    assert library is None and "install a C++ compiler" in reasons[0] and "run `make native`" in reasons[0]


def test_a_damaged_library_is_said_with_the_remedy(monkeypatch, tmp_path) -> None:
    broken = tmp_path / "_native.so"
    broken.write_bytes(b"no library")
    monkeypatch.setenv("SEQLOOM_NATIVE", str(broken))
    library, reasons, _ = _native._load()
    assert library is None and "cannot be loaded" in reasons[0] and "run `make native`" in reasons[0]


@needs_library
def test_a_library_of_other_sources_or_an_absent_instruction_set_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("SEQLOOM_ISA", "avx9")
    library, reasons, isa = _native._load()
    assert library is None and isa == "" and "'avx9' does not run here: take one of" in reasons[0]
    monkeypatch.delenv("SEQLOOM_ISA")
    monkeypatch.setattr(_native, "INTERFACE", -1)
    assert "stale: run `make native`" in _native._load()[1][0]


@needs_library
def test_calls_from_several_threads_do_not_disturb_each_other() -> None:
    alone = [ops.scan.kernels["native"](*scan_arguments(steps)) for steps in range(200, 216)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda steps: ops.scan.kernels["native"](*scan_arguments(steps)), range(200, 216)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@needs_library
def test_threads_of_its_own_give_the_same_bits() -> None:
    given = torch.rand(8, 300, 130), torch.rand(8, 300, 130), None
    torch.set_num_threads(2)
    expected = ops.scan.kernels["native"](*given)
    try:
        _native._library.seqloom_use_pool(None)
        assert torch.equal(ops.scan.kernels["native"](*given), expected)
    finally:
        _native._hand_over_threads(_native._library)


@needs_library
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_computes_although_its_threads_are_gone() -> None:
    script = """
import os, signal, torch, warnings
from seqloom import ops
warnings.simplefilter("ignore")  # Python 3.12 warns of what is tried here
torch.set_num_threads(2)
given = torch.rand(8, 2000, 130), torch.rand(8, 2000, 130), None
expected = ops.scan.kernels["native"](*given).numpy()
child = os.fork()
if not child:
    signal.alarm(20)
    os._exit(0 if (ops.scan.kernels["native"](*given).numpy() == expected).all() else 1)
print(os.waitpid(child, 0)[1])
"""
    assert python(script) == "0"


def tree(folder: Path, csrc: dict[str, str] | None = None) -> Path:
    """Copy what a build reads, with other sources if given."""
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    (folder / "seqloom" / "ops").mkdir(parents=True)
    for name in ("seqloom/__init__.py", "seqloom/ops/__init__.py", "seqloom/ops/_native.py"):
        shutil.copy(ROOT / name, folder / name)
    if csrc is None:
        shutil.copytree(ROOT / "csrc", folder / "csrc")
    else:
        (folder / "csrc").mkdir()
        for name in ("native.cpp", "parallel.h"):
            shutil.copy(ROOT / "csrc" / name, folder / "csrc")
        for name, text in csrc.items():
            (folder / "csrc" / name).write_text(text)
    return folder


def build(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("setuptools")
    kept = {key: value for key, value in os.environ.items() if key != "SEQLOOM_REQUIRE_NATIVE"}
    command = [sys.executable, "setup.py", *(words or ("build_ext", "--inplace"))]
    return subprocess.run(command, cwd=folder, env={**kept, **environment}, capture_output=True, text=True, timeout=120)


def libraries(folder: Path) -> list[Path]:
    return list((folder / "seqloom").glob("_native*"))


def test_without_a_compiler_the_build_succeeds_and_says_what_to_do(tmp_path) -> None:
    done = build(tree(tmp_path), CXX="/nonexistent/g++")
    assert done.returncode == 0 and not libraries(tmp_path)
    lines = [line for line in done.stderr.splitlines() if line.startswith("seqloom:")]
    assert len(lines) == 1 and "were not built" in lines[0] and "apt install g++" in lines[0]
    assert build(tmp_path, CXX="/nonexistent/g++", SEQLOOM_REQUIRE_NATIVE="1").returncode != 0


@needs_compiler
def test_sources_that_do_not_compile_are_left_out(tmp_path) -> None:
    done = build(tree(tmp_path, {"broken.cpp": "#error of a compiler\n"}))
    assert done.returncode == 0 and not libraries(tmp_path)
    assert "were not built" in done.stderr


@needs_compiler
def test_only_what_changed_is_compiled_again(tmp_path) -> None:
    sources = {"one.h": "#pragma once\n", "one.cpp": '#include "one.h"\n', "two.cpp": "\n"}
    done = build(tree(tmp_path, sources))
    assert len(libraries(tmp_path)) == 1, done.stderr
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.o")}

    def changed() -> set[str]:
        build(tmp_path)
        before = dict(made)
        made.update({path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.o")})
        return {path.name for path in made if made[path] != before[path]}

    assert changed() == set()
    later = max(made.values()) + 2 * 10**9
    os.utime(tmp_path / "csrc" / "two.cpp", ns=(later, later))
    assert changed() == {"two.o"}


def test_a_source_distribution_holds_the_sources(tmp_path) -> None:
    done = build(tree(tmp_path), "-q", "sdist")
    assert done.returncode == 0, done.stderr
    with tarfile.open(next((tmp_path / "dist").glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"csrc/{path.name}" for path in (ROOT / "csrc").iterdir()} | {"setup.py"} <= held
    assert not any("_native." in name and name.endswith(".so") for name in held)

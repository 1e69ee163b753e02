"""Build the C++ kernels where there is a compiler; without one the package installs without them, and says so.

Every kernel in csrc/ is compiled once for each instruction set, and all of them become one library without Python or
torch headers: seqloom/_native.*.so, which seqloom.ops._native loads. Compiler and flags are those of distutils: CXX,
CXXFLAGS and LDFLAGS are obeyed. SEQLOOM_REQUIRE_NATIVE=1 turns a failure of the build into a failure of installation.
"""

import os
import platform
import re
import shlex
import shutil
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import LinkError
from setuptools.modified import newer_group

HERE = Path(__file__).parent
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-g0", "-Wall", "-Wextra"]
# a product and a sum become one instruction; nothing else of -ffast-math: NaN, infinity and order of sums keep meaning
FLAGS += ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
# Python's own flags, which distutils adds, define what overflow does; that would hide it here
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-wrapv"]
AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma", "-mprefer-vector-width=512"]
SETS = {
    "x86_64": {"avx512": AVX512, "avx2": ["-mavx2", "-mfma"], "baseline": []},
    "aarch64": {"neon": []},
}
SETS["AMD64"], SETS["arm64"] = SETS["x86_64"], SETS["aarch64"]
ONCE = "csrc/native.cpp"  # what does not depend on the instruction set
LOADER = "seqloom/ops/_native.py"  # states the number of the interface


class BuildKernels(build_ext):
    """Compile each source for each instruction set, side by side, and link one library."""

    user_options = [
        *build_ext.user_options,
        ("isa=", None, "only this instruction set"),
        ("sanitize", None, "stop at wrong addresses and undefined behaviour; for `make sanitize`"),
    ]
    boolean_options = [*build_ext.boolean_options, "sanitize"]

    def initialize_options(self) -> None:
        super().initialize_options()
        self.isa = None
        self.sanitize = False

    def run(self) -> None:
        find_compiler()
        try:
            super().run()
        except Exception as error:  # whatever a compiler or its absence does: the package works without
            if os.environ.get("SEQLOOM_REQUIRE_NATIVE"):
                raise
            self.extensions = []  # nothing to install
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            print(
                f"seqloom: the native kernels were not built ({reason[0]}); recurrences and scans run slower. "
                "Install a C++ compiler (Debian, Ubuntu: apt install g++) and install seqloom again.",
                file=sys.stderr,
            )

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        target.unlink(missing_ok=True)  # one of an earlier build must not be taken for this one
        jobs = [(ONCE, "once", [f"-DSEQLOOM_INTERFACE={interface()}"])]
        jobs += [
            (name, isa, [f"-DSEQLOOM_ISA={isa}", *flags])
            for name in sorted(set(ext.sources) - {ONCE})
            for isa, flags in SETS.get(platform.machine(), {"baseline": []}).items()
            if self.isa in (None, isa)
        ]

        def compile_one(job: tuple[str, str, list[str]]) -> str:
            name, isa, flags = job
            flags = [*FLAGS, *flags, *(["-O0", "-g", *SANITIZE] if self.sanitize else [])]
            folder = str(Path(self.build_temp) / isa)
            made = self.compiler.object_filenames([name], output_dir=folder)[0]
            if self.force or newer_group([name, *ext.depends, *([LOADER] if name == ONCE else [])], made):
                self.compiler.compile([name], output_dir=folder, extra_preargs=flags)
            return made

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, jobs))
        target.parent.mkdir(parents=True, exist_ok=True)
        self.link(objects, str(target))

    def link(self, objects: list[str], target: str) -> None:
        """Link a library that carries its C++ runtime, where that is installed, so that it moves between machines."""
        own = ["-pthread", *(SANITIZE if self.sanitize else ["-Wl,-s"] if sys.platform == "linux" else [])]
        alone = ["-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL"] if sys.platform == "linux" else []
        try:
            self.compiler.link_shared_object(objects, target, extra_postargs=[*own, *alone], target_lang="c++")
        except LinkError:
            if not alone:
                raise
            self.compiler.link_shared_object(objects, target, extra_postargs=own, target_lang="c++")


def find_compiler() -> None:
    """Name a compiler that exists where the one that Python was made with does not."""
    usual = shlex.split(sysconfig.get_config_var("CXX") or "c++")[0]
    if "CXX" not in os.environ and sys.platform != "win32" and not shutil.which(usual):
        os.environ["CXX"] = next(filter(shutil.which, ("c++", "g++", "clang++")), usual)


def interface() -> str:
    found = re.search(r"^INTERFACE = (\d+)", (HERE / LOADER).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


def files(pattern: str) -> list[str]:
    return sorted(path.relative_to(HERE).as_posix() for path in HERE.glob(pattern))


setup(
    ext_modules=[Extension("seqloom._native", files("csrc/*.cpp"), depends=[*files("csrc/*.h"), "setup.py"])],
    cmdclass={"build_ext": BuildKernels},
)

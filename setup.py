"""Build the C++ kernels where there is a compiler; without one the package installs without them, and says so.

Every kernel in csrc/ is compiled once for each instruction set, and all of them become one library without Python or
torch headers: seqloom/_native.*.so, which seqloom.ops._native loads.
"""

import os
import platform
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-g0", "-Wall", "-Wextra"]
# a product and a sum become one instruction; nothing else of -ffast-math: NaN, infinity and order of sums keep meaning
FLAGS += ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]
AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma", "-mprefer-vector-width=512"]
SETS = {
    "x86_64": {"avx512": AVX512, "avx2": ["-mavx2", "-mfma"], "baseline": []},
    "aarch64": {"neon": []},
}
SETS["AMD64"], SETS["arm64"] = SETS["x86_64"], SETS["aarch64"]


def interface() -> str:
    """Return the number of the interface, which the loader states."""
    text = (HERE / "seqloom" / "ops" / "_native.py").read_text(encoding="utf-8")
    found = re.search(r"^INTERFACE = (\d+)", text, re.MULTILINE)
    assert found is not None
    return found[1]


class BuildKernels(build_ext):
    """Compile each source for each instruction set, side by side, and link one library."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # noqa: BLE001  whatever a compiler or its absence does: the package works without
            if os.environ.get("SEQLOOM_REQUIRE_NATIVE"):
                raise
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            print(
                f"seqloom: the native kernels were not built ({reason[0]}); recurrences and scans run slower. "
                "Install a C++ compiler (Debian, Ubuntu: apt install g++) and install seqloom again.",
                file=sys.stderr,
            )

    def build_extension(self, ext: Extension) -> None:
        sets = SETS.get(platform.machine(), {"baseline": []})
        extra = os.environ.get("SEQLOOM_CXXFLAGS", "").split()
        sources = sorted(name for name in ext.sources if not name.endswith("native.cpp"))
        jobs = [("csrc/native.cpp", "once", [f"-DSEQLOOM_INTERFACE={interface()}"])]
        jobs += [(name, isa, [f"-DSEQLOOM_ISA={isa}", *flags]) for name in sources for isa, flags in sets.items()]

        def compile_one(job: tuple[str, str, list[str]]) -> str:
            name, isa, flags = job
            folder = str(Path(self.build_temp) / isa)
            return self.compiler.compile([name], output_dir=folder, extra_preargs=[*FLAGS, *flags, *extra])[0]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, jobs))
        own = (
            [] if sys.platform == "darwin" else ["-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL", "-s"]
        )
        self.compiler.link_shared_object(
            objects, self.get_ext_fullpath(ext.name), extra_postargs=[*own, *extra, "-pthread"], target_lang="c++"
        )


def sources() -> list[str]:
    return sorted(str(path.relative_to(HERE)) for path in (HERE / "csrc").glob("*.cpp"))


setup(
    ext_modules=[Extension("seqloom._native", sources(), depends=[str(path) for path in (HERE / "csrc").glob("*.h")])],
    cmdclass={"build_ext": BuildKernels},
)

"""How long a user waits for `import seqloom`, `seqloom --help` and `seqloom list`; the last line is one JSON document.

    python benchmarks/startup.py

Whole processes, taking turns, beside an interpreter that does nothing. Limits: the import 0.3 s, the help 0.6 s.
"""

import json
import subprocess
import sys
import time

import numpy as np

from seqloom.measure.clock import interleave
from seqloom.measure.statistics import median_interval

CODE = {
    "nothing": "pass",
    "import": "import seqloom",
    "help": "from seqloom import cli; cli.run(['--help'])",
    "list": "from seqloom import cli; cli.run(['list'])",
}
LIMITS_S = {"import": 0.3, "help": 0.6}


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def inside(statement: str) -> float:
    """Return the seconds that a statement takes in a new interpreter, without the interpreter's own start."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    samples = interleave({name: lambda code=code: run(code) for name, code in CODE.items()}, min_rounds=11)
    samples["import"] = np.array([inside("import seqloom") for _ in range(11)])
    found = {}
    for name, seconds in samples.items():
        value, low, high = median_interval(seconds)
        limit = LIMITS_S.get(name)
        found[f"{name}_s"] = {"value": value, "low": low, "high": high, "n": len(seconds), "limit": limit}
        print(f"{name:8} {value:.3f} s ({low:.3f} - {high:.3f})" + (f", limit {limit} s" if limit else ""))
    print(json.dumps({"benchmark": "startup", "time": time.strftime("%Y-%m-%d"), **found}))


if __name__ == "__main__":
    main()

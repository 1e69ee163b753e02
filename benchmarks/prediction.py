"""Predicted against measured: steps under plans for two processes, at sizes that the prices were not fitted to.

python benchmarks/prediction.py [--models lstm,transformer] [--budget 20s]

For each model the prices are fitted to small steps (`seqloom plan`), then steps at larger sizes are timed under each
plan (`seqloom scale`). The last line of output is one JSON document: the cases, the mean and the worst relative error.
Quiet the machine first: what else runs is an error of the prediction.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

MODELS = "elman,lstm,gru,mingru,mamba2,transformer,hybrid"
SIZES = ((8, 512), (32, 128))  # rows, tokens of a row
PARAMETERS = (200_000, 2_000_000)
PLANS = ("data=2", "pipeline=2", "pipeline=2,cuts=time,parts=8", "sequence=2", "tensor=2")


def seqloom(*words: str) -> dict[str, Any]:
    """Return the JSON answer of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "seqloom", *words, "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"seqloom {' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout)


def cases(model: str, parameters: int, budget: str) -> list[dict[str, Any]]:
    """Return the measured and predicted steps of a model at one size of it."""
    found: list[dict[str, Any]] = []
    asked = [word for plan in PLANS for word in ("--plan", plan)]
    for batch, length in SIZES:
        size = ("--batch", str(batch), "--length", str(length))
        about = ("--models", model, "--parameters", str(parameters), "--budget", budget)
        measured = seqloom("scale", *about, *size, *asked)["rows"]
        for width in sorted({row["width"] for row in measured if "step_s" in row}):
            predicted = seqloom("plan", "--model", model, "--width", str(width), *size, "--devices", "2")
            by_plan = {each["plan"]: each for each in predicted["candidates"]}
            rows = [row for row in measured if row.get("width") == width and "step_s" in row]
            steps = [(row["plan"], row["step_s"], by_plan[row["plan"]]) for row in rows if row["plan"] in by_plan]
            steps.append(("data=1", rows[0]["one_process_s"], by_plan["data=1"]))
            found += [
                {
                    "model": model, "parameters": parameters, "batch": batch, "length": length, "plan": plan,
                    "measured_s": taken, "predicted_s": each["step_s"], "error": each["step_s"] / taken - 1,
                    "inside": each["low"] <= taken <= each["high"],
                }
                for plan, taken, each in steps
            ]  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--budget", default="20s", help="of measuring, for each model and size")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for model in given.models.split(","):
        for parameters in PARAMETERS:
            rows += cases(model, parameters, given.budget)
            for row in rows[-1:]:
                print(f"{model} {parameters:,}: {row['plan']} {row['error']:+.0%}", file=sys.stderr, flush=True)
    errors = [abs(row["error"]) for row in rows]
    summary = {
        "cases": len(rows),
        "mean_error": sum(errors) / len(errors),
        "worst_error": max(errors),
        "inside_the_band": sum(row["inside"] for row in rows) / len(rows),
    }
    print(json.dumps({**summary, "rows": rows}))


if __name__ == "__main__":
    main()

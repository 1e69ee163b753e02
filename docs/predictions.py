"""Write predictions_table.md: what steps took under plans, and how far the predictions were off, from the ledger.

python docs/predictions.py
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from seqloom.lab.predictions import Case, read

HERE = Path(__file__).parent / "results"


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _errors(cases: list[Case], of: Callable[[Case], str]) -> list[list[str]]:
    rows: list[list[str]] = []
    for name in dict.fromkeys(map(of, cases)):
        errors = np.abs([case.predicted_s / case.measured_s - 1 for case in cases if of(case) == name])
        numbers = (errors.mean(), np.median(errors), errors.max())
        rows.append([name, str(len(errors)), *(f"{number:.1%}" for number in numbers)])
    return rows


def _speedups(cases: list[Case]) -> str:
    plans = [plan for plan in dict.fromkeys(case.plan for case in cases) if plan != "data=1"]
    sizes = dict.fromkeys((case.model, case.parameters, case.batch, case.length) for case in cases)
    steps = {(case.model, case.parameters, case.batch, case.length, case.plan): case for case in cases}
    rows: list[list[str]] = []
    for size in sizes:
        one = steps[*size, "data=1"]
        told = [f"`{size[0]}`", f"{size[2]} × {size[3]}", f"{one.measured_s:.3f} s"]
        for plan in plans:
            case = steps.get((*size, plan))
            told.append("–" if case is None else _beside(one, case))
        rows.append(told)
    return _table(["model", "tokens", "one process", *(f"`{plan}`" for plan in plans)], rows)


def _beside(one: Case, case: Case) -> str:
    return f"{one.measured_s / case.measured_s:.2f} ({one.predicted_s / case.predicted_s:.2f})"


def _decoding(cases: list[Case]) -> str:
    models = dict.fromkeys((case.model, case.parameters) for case in cases)
    sizes = list(dict.fromkeys((case.batch, case.length) for case in cases))
    known = {(case.model, case.parameters, case.batch, case.length): case for case in cases}
    rows = [
        [
            f"`{name}`, {parameters / 1e6:g}M",
            *(
                f"{1e3 * case.measured_s:.2f} ({case.predicted_s / case.measured_s - 1:+.0%})"
                for case in (known[name, parameters, *size] for size in sizes)
            ),
        ]
        for name, parameters in models
    ]
    return _table(["model", *(f"{rows} × after {length:,}" for rows, length in sizes)], rows)


def page() -> str:
    every = read()
    training, decoding = ([case for case in every if case.what == what] for what in ("training", "decoding"))
    header = ("cases", "mean error of time", "median", "worst")
    return "\n\n".join(
        [
            "<!-- written by docs/predictions.py -->",
            "Speed-up of two processes over one, measured, and in brackets predicted; each of one thread:",
            _speedups(training),
            "How far a training step was from its prediction:",
            _table(("plan", *header), [*_errors(training, lambda case: f"`{case.plan}`"), *_errors(training, _every)]),
            _table(("model", *header), _errors(training, lambda case: f"`{case.model}`")),
            "Milliseconds of a token that is decoded in each row, on one process, and how far off the prediction was:",
            _decoding(decoding),
            _table(("model", *header), _errors(decoding, lambda case: f"`{case.model}`") + _errors(decoding, _every)),
        ]
    ) + "\n"  # fmt: skip


def _every(_: Case) -> str:
    return "all"


if __name__ == "__main__":
    (HERE / "predictions_table.md").write_text(page(), encoding="utf-8")

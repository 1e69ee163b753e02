"""How far predictions were off where they were held against measurements: a ledger of cases, and what it says.

The cases are written by `benchmarks/prediction.py --keep` and `prediction_decoding.py --keep`, one JSON object a line,
and come with the package.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pydantic

from seqloom.core.spec import Spec, resolve, to_data
from seqloom.measure.machine import Machine
from seqloom.parallel.plan import Plan

LEDGER = Path(__file__).with_name("predictions.jsonl")


class Case(Spec):
    """A step that was predicted, and then measured."""

    what: Literal["training", "decoding"] = "training"  # a training step, or a token that is decoded in each row

    model: str
    family: str
    parameters: int = pydantic.Field(gt=0)  # about
    batch: int = pydantic.Field(gt=0)  # rows
    length: int = pydantic.Field(gt=0)  # tokens of a row; those that stand before one that is decoded
    plan: str
    predicted_s: float = pydantic.Field(gt=0, allow_inf_nan=False)
    measured_s: float = pydantic.Field(gt=0, allow_inf_nan=False)
    predicted_bytes: float | None = pydantic.Field(default=None, gt=0, allow_inf_nan=False)  # of the fullest process
    measured_bytes: float | None = pydantic.Field(default=None, gt=0, allow_inf_nan=False)  # None: was not measured
    machine: str
    time: str  # when, ISO 8601


class Band(NamedTuple):
    """How far predictions were off, as parts of what was measured; None where nothing was."""

    cases: int
    mean: float | None
    median: float | None
    worst: float | None
    memory_mean: float | None
    memory_worst: float | None
    processes: int  # of the largest plan
    machine: str
    what: str = "training"

    def said(self) -> str:
        """Return it as a sentence."""
        if not self.cases:
            return (
                f"No such prediction was held against a measurement on {self.machine}: how far it is off is not known."
            )
        memory = (
            "" if self.memory_mean is None else f", memory by {self.memory_mean:.1%} (worst {self.memory_worst:.1%})"
        )
        # so that a machine that is slower for a while is so for both; a user's may be busier afterwards
        turns = ", timed in turns with what they are made from" if self.what == "training" else ""
        plans = f" of plans for up to {self.processes} processes" if self.processes > 1 else " of one process"
        return (
            f"Such predictions were off by {self.mean:.1%} on average (median {self.median:.1%}, worst "
            f"{self.worst:.1%}){memory}, in {self.cases} cases{plans} on {self.machine}{turns}."
        )


def named(machine: Machine) -> str:
    """Return what tells a machine from others whose steps take other times."""
    device = "" if machine.device == "cpu" else f", {machine.capability}"
    return f"{machine.cpu}, {machine.cores} cores{device}, torch {machine.torch}"


def read(path: Path = LEDGER) -> list[Case]:
    """Return the cases of a ledger; none where there is no file.

    Raises:
        ValueError: a line is no case; it is named, with what is wrong.
    """
    if not path.exists():
        return []
    found: list[Case] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(resolve(Case, json.loads(line)))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return found


def keep(cases: Sequence[Case], path: Path = LEDGER) -> None:
    """Write cases to a ledger, in place of what it had of these models on their machine; others stay.

    Raises:
        ValueError: the ledger that is there has a line that is no case.
    """
    anew = {_about(case) for case in cases}
    kept = [case for case in read(path) if _about(case) not in anew]
    aside = path.with_suffix(".new")
    aside.write_text("".join(f"{json.dumps(to_data(case))}\n" for case in (*kept, *cases)), encoding="utf-8")
    aside.replace(path)


def _about(case: Case) -> tuple[str, str, str, int]:
    return case.what, case.machine, case.model, case.parameters


def band(cases: Sequence[Case], machine: str) -> Band:
    """Return how far the cases of a machine were off; of the other machines, where it has none."""
    found = [case for case in cases if case.machine == machine] or list(cases)
    if not found:
        return Band(0, None, None, None, None, None, 0, machine)
    errors = np.abs([case.predicted_s / case.measured_s - 1 for case in found])
    pairs = [(case.predicted_bytes, case.measured_bytes) for case in found]
    memory = np.abs([told / held - 1 for told, held in pairs if told is not None and held is not None])
    return Band(
        cases=len(found),
        mean=float(errors.mean()),
        median=float(np.median(errors)),
        worst=float(errors.max()),
        memory_mean=float(memory.mean()) if memory.size else None,
        memory_worst=float(memory.max()) if memory.size else None,
        processes=max(Plan.parse(case.plan).processes for case in found),
        machine="; ".join(sorted({case.machine for case in found})),
        what=found[0].what,
    )

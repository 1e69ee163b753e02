"""Signatures: what each architecture can and cannot do, against what theory says, on generated tasks.

Trains every named model, at equal size and for equal seconds, on recall, state tracking, copying and adding, and scores
it where it was trained and, where the task has them, on longer rows. What theory says of a model follows from the
mixers it stacks. The last line is one JSON document; `--page` also writes a page, and beside it a figure a task.

    python benchmarks/signatures.py [--models gru,transformer] [--tasks recall,parity] [--budget 12s] [--seeds 1]
        [--threads 1] [--page docs/results/signatures.md]
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqloom.core.registry import catalog
from seqloom.core.spec import resolve
from seqloom.lab.figures import Drawing, Scale, Style
from seqloom.measure.machine import describe
from seqloom.measure.statistics import of_sums
from seqloom.tasks.adding import Adding
from seqloom.tasks.copying import Copying
from seqloom.tasks.parity import Parity
from seqloom.tasks.recall import Recall
from seqloom.tasks.task import Opened, Scores, Task
from seqloom.train.experiment import Budget, Experiment
from seqloom.train.loop import Training
from seqloom.train.update import NonFiniteError
from seqloom.zoo.architecture import Architecture

# mixers by what they remember with; one that stands nowhere here has no prediction
NONLINEAR = {"rnn", "gru", "lstm", "slstm"}  # a vector, changed by a nonlinear function of itself
DIAGONAL = {"mingru", "minlstm", "lru", "rglru", "s5", "s4d", "mamba"}  # a vector, each unit scaled and added to
MATRIX = {"mlstm", "ssd", "deltanet", "linear_attention", "retention", "rwkv"}  # a sum of outer products
LOCAL = {"conv"}  # the last few steps
LOOKUP = {"attention", "relative"}  # all steps, kept
UNGATED = {"rnn", "lru", "linear_attention", "conv"}  # nothing decides by the input what is kept
KNOWN = NONLINEAR | DIAGONAL | MATRIX | LOCAL | LOOKUP
Claim = bool | None  # solves; fails; theory does not say
FEW = 200  # steps of training after which nothing is said yet of what a model cannot learn
SOLVED = 0.01  # the largest share of wrong answers, or squared error, of a task that is solved

STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1d1f23}.grid{stroke:#e4e1d8;fill:none}.axis{stroke:#b9b5a9;fill:none}"
    ".rec{fill:#b84e22}.att{fill:#2b62c2}.hyb{fill:#6b4ba8}.oth{fill:#5d636d}.far{fill-opacity:.45}"
    ".floor{stroke:#1d1f23;stroke-dasharray:4 3;fill:none}.soft{fill:#5d636d}.error{stroke:#1d1f23;fill:none}"
)


@dataclass(frozen=True)
class Problem:
    """A task with the sizes that show the difference, and what theory says of it."""

    task: Task
    theory: str
    share: float  # of the budget
    parameters: int = 50_000  # of each model, token table aside
    learning_rate: float = 3e-3
    attention: bool = True  # whether models with attention take part


ADDING = (
    "Gates that read the input let a value in and hold it over any distance, and attention looks both values up; in an "
    "Elman network the gradient between them vanishes with the distance (Hochreiter and Schmidhuber 1997)."
)
PROBLEMS = {
    "recall": Problem(
        Recall(pairs=8),
        "Attention looks a value up by its key. A state of fixed size must hold all pairs: vectors saturate, while a "
        "sum of outer products holds about as many pairs as a key has entries (Arora et al. 2023), so that no claim is "
        "made of it here.",
        share=1,
    ),
    "parity": Problem(
        Parity(length=16),
        "A recurrence that is nonlinear in its state follows it for ever. Attention and recurrences that are linear in "
        "their state, with positive eigenvalues, can fit rows of one length by depth but not longer ones (Hahn 2020; "
        "Merrill et al. 2024; Grazzi et al. 2024, arXiv 2411.12537).",
        share=0.6,
    ),
    "copying": Problem(
        Copying(),
        "Attention copies by looking up what followed the last symbols; how far beyond the lengths of training depends "
        "on its positions, so that no claim is made of longer strings. A state of fixed size holds so many symbols and "
        "no more (Jelassi et al. 2024).",
        share=1.2,
    ),
    "adding": Problem(Adding(), ADDING, share=1, parameters=10_000, learning_rate=1e-2),
    # of the steps of attention too few fit into the budget to say anything
    "adding1000": Problem(Adding(length=1000), ADDING, 2, parameters=10_000, learning_rate=1e-2, attention=False),
}


def expected(name: str, mixers: set[str]) -> tuple[Claim, Claim]:
    """Return what theory says of a stack of mixers: at the lengths of training, and beyond."""
    if not mixers <= KNOWN:
        return None, None
    looks_up = bool(mixers & LOOKUP)
    if name == "recall":
        return True if looks_up else None if mixers & MATRIX else False, None
    if name == "parity":
        return (True, True) if mixers & NONLINEAR else (None, False)
    if name == "copying":
        return (True, None) if looks_up else (None, False)
    if looks_up or mixers - UNGATED:
        return True, None
    return False if mixers == {"rnn"} else None, None


def as_said(claim: Claim, solved: bool) -> str:
    no = "no: solved" if solved else "no: not solved"
    return "–" if claim is None else "yes" if claim == solved else no


def train(problem: Problem, opened: Opened, model: str, seed: int, budget_s: float) -> tuple[Training, Scores, Scores]:
    """Train one model; return it with its scores at the lengths of training and at those of the test."""
    given: dict[str, Any] = {"seed": seed, "parameters": problem.parameters, "validation_examples": 128}
    settings = {"learning_rate": problem.learning_rate}
    experiment = Experiment.suited(opened, model, Budget(seconds=budget_s), settings=settings, **given)
    training = Training(experiment, opened)
    while not training.done:
        training.advance(seconds=budget_s / 20)
        best = training.course.best
        # where there are longer rows, they may still be learnt after those of training
        training.course.stopped |= best is not None and wrong(opened, best) < SOLVED / 10 and not has_longer(opened)
    scores = training.finish().scores
    return training, training.evaluate("validation") if has_longer(opened) else scores, scores


def wrong(opened: Opened, score: float) -> float:
    return 1 - score if opened.better == "higher" else score


def has_longer(opened: Opened) -> bool:
    return bool(opened.test.lengths.max() > opened.train.lengths.max())


def row(name: str, problem: Problem, opened: Opened, model: str, given: argparse.Namespace) -> dict[str, Any]:
    """Train one model with every seed and return its scores, their intervals and what theory says."""
    runs = [train(problem, opened, model, seed, problem.share * given.budget.seconds) for seed in range(given.seeds)]
    trained = runs[0][0]
    mixers = stacked(model)
    at, beyond = expected(name, mixers)
    found: dict[str, Any] = {
        "task": name,
        "model": model,
        "family": trained.experiment.model.family,
        "mixers": sorted(mixers),
        "parameters": trained.model.n_parameters,
        "steps": [training.course.step for training, _, _ in runs],
        "train_s": [round(training.course.train_s, 1) for training, _, _ in runs],
        "score": judged([near for _, near, _ in runs], opened, at),
        "longer": judged([far for _, _, far in runs], opened, beyond) if has_longer(opened) else None,
    }
    if min(found["steps"]) < FEW and not found["score"]["solved"]:
        for score in filter(None, (found["score"], found["longer"])):
            score |= {"theory": None, "as": "too few steps"}
    print("  ".join(f"{key} {value}" for key, value in found.items()), file=sys.stderr, flush=True)
    return found


def stacked(model: str) -> set[str]:
    """Return the names of the mixers that a model stacks."""
    return {mixer.name() for mixer in resolve(Architecture, model).pattern(causal=True)}


def judged(scores: Sequence[Scores], opened: Opened, claim: Claim) -> dict[str, Any]:
    """Return a score over seeds and examples with its interval, whether it is solved, and whether theory said so."""
    parts = np.stack([score.parts[opened.metric] for score in scores])
    value, low, high = (float(f"{value:.4g}") for value in of_sums(parts))
    solved = wrong(opened, value) <= SOLVED
    return {"value": value, "low": low, "high": high, "solved": solved, "theory": claim, "as": as_said(claim, solved)}


def figure(name: str, opened: Opened, rows: Sequence[dict[str, Any]]) -> str:
    """Return the task's scores as bars, the longer rows pale below the others."""
    d = Drawing(640, 58 + 34 * len(rows), left=124, right=50, top=10, bottom=44)
    d.parts.append(f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>')
    top = 0.2 if opened.better == "lower" else 1.0
    x, y = Scale(0.0, top, *d.x_range), Scale(0.0, 1.0, *d.y_range)
    d.axes(x, y, [(tick * top, f"{tick * top:g}") for tick in (0, 0.25, 0.5, 0.75, 1)], [])
    for n, found in enumerate(rows):
        at = d.top + 34 * n + 4
        d.text(d.left - 8, at + 16, found["model"], anchor="end")
        bars = [(found["score"], ""), (found["longer"], " far")] if found["longer"] else [(found["score"], "")]
        for k, (score, css) in enumerate(bars):
            high, place = 26 / len(bars), at + k * 26 / len(bars)
            wide = x(min(score["value"], top)) - d.left
            style = Style(found["family"]).css + css
            d.group(style, f'<rect x="{d.left}" y="{place:.1f}" width="{wide:.1f}" height="{high - 1:.1f}"/>')
            low_end, high_end = (x(min(score[end], top)) for end in ("low", "high"))
            d.group("error", f'<path d="M{low_end:.1f} {place + high / 2:.1f}H{high_end:.1f}"/>')
            d.text(high_end + 5, place + high / 2 + 4, f"{score['value']:.3g}")
    d.group("floor", f'<path d="M{x(opened.floor):.1f} {d.top}V{d.height - d.bottom}"/>')
    pale = f"; pale: {opened.test.lengths[0]} steps, not {opened.train.lengths.max()}" if has_longer(opened) else ""
    label = f"{opened.metric}, {opened.better} is better; dashed: {opened.floor_of}{pale}"
    d.text(d.left, d.height - 8, label, css="soft")
    opening = '<svg xmlns="http://www.w3.org/2000/svg" '
    return str(d.svg(f"signatures-{name}", opened.title, label)).replace("<svg ", opening, 1)


def section(name: str, opened: Opened, rows: Sequence[dict[str, Any]]) -> str:
    """Return a task's part of the page."""
    head = ["model", "mixers", "parameters", "steps", opened.metric, "as theory says"]
    if has_longer(opened):
        head += [f"on {opened.test.lengths[0]} steps", "as theory says"]
    lines = [head, ["---"] * len(head)]
    for found in rows:
        steps = ", ".join(map(str, found["steps"]))
        line = [found["model"], ", ".join(found["mixers"]), str(found["parameters"]), steps]
        for score in filter(None, (found["score"], found["longer"])):
            line += [f"{score['value']:.3g} ({score['low']:.3g} – {score['high']:.3g})", score["as"]]
        lines.append(line)
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    scores = [(found["model"], score) for found in rows for score in (found["score"], found["longer"]) if score]
    claims = [(model, score["theory"] == score["solved"]) for model, score in scores if score["theory"] is not None]
    missed = ", ".join(dict.fromkeys(model for model, held in claims if not held))
    tally = f"**{sum(held for _, held in claims)} of {len(claims)} claims held**{missed and '; not by: '}{missed}."
    bound = f"≥ {1 - SOLVED:g}" if opened.better == "higher" else f"≤ {SOLVED:g}"
    floor = f"Floor {opened.floor:.3g} ({opened.floor_of}); solved: {opened.metric} {bound}. {tally}"
    if not any(score["solved"] for _, score in scores):
        floor += " No model solved it, so that failing says nothing of theory here."
    picture = f"![{opened.title}: {opened.metric} of each model](signatures_{name}.svg)"
    return "\n\n".join([f"## {opened.title}", PROBLEMS[name].theory, floor, picture, table])


def page(path: Path, opened: dict[str, Opened], rows: Sequence[dict[str, Any]], given: argparse.Namespace) -> None:
    """Write the page and its figures."""
    here = describe()
    seeds = f"{given.seeds} seeds" if given.seeds > 1 else "1 seed"
    budgets = ", ".join(f"{name} {PROBLEMS[name].share * given.budget.seconds:g} s" for name in opened)
    parts = [
        "<!-- written by benchmarks/signatures.py -->",
        "# Signatures",
        "What each architecture can and cannot do, against what theory says. Theory speaks of what a model can hold or "
        "learn at all; a budget of seconds asks what it learns soon. A model that should solve a task and did not may "
        "lack time alone, and so may one that failed as it should; one that took fewer than "
        f"{FEW} steps without solving it is not judged. Scores carry 95 % intervals over seeds and test examples; one "
        "seed says nothing of others. Where there are longer rows, the score at training lengths is of validation.",
        f"Training alone, on {given.threads} thread: {budgets}; {seeds}; models of about equal size. Models that see "
        "the future or read a source are left out, and at 1000 steps those with attention. "
        f"{here.cpu}, {here.capability}, {here.system}, Python {here.python}, torch {here.torch}.",
        f"```console\n$ python benchmarks/signatures.py {shlex.join(sys.argv[1:])}\n```",
    ]
    for name, task in opened.items():
        mine = [found for found in rows if found["task"] == name]
        if mine:
            parts.append(section(name, task, mine))
            path.with_name(f"signatures_{name}.svg").write_text(figure(name, task, mine) + "\n", encoding="utf-8")
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def chosen(text: str | None, known: list[str]) -> list[str]:
    """Return the names asked for that there are; None: all."""
    wanted = text.split(",") if text else known
    for name in sorted(set(wanted) - set(known)):
        print(f"{name}: absent", file=sys.stderr)
    return [name for name in wanted if name in known]


def main() -> None:
    parser = argparse.ArgumentParser(description="What each architecture can and cannot do, against what theory says.")
    parser.add_argument("--models", help="registered names; all of them unless given")
    parser.add_argument("--tasks", help=f"of {','.join(PROBLEMS)}; all of them unless given")
    parser.add_argument("--budget", type=Budget.parse, default="12s", help="seconds of training on recall")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--page", type=Path, help="writes the page of the documentation here, and its figures beside")
    given = parser.parse_args()
    if given.budget.seconds is None:
        parser.error("--budget: give seconds or minutes")
    torch.set_num_threads(given.threads)
    models = chosen(given.models, list(catalog("zoo")))
    opened = {name: PROBLEMS[name].task.open() for name in chosen(given.tasks, list(PROBLEMS))}
    rows: list[dict[str, Any]] = []
    for name, task in opened.items():
        for model in models:
            if stacked(model) & LOOKUP and not PROBLEMS[name].attention:
                continue
            try:
                rows.append(row(name, PROBLEMS[name], task, model, given))
            except (ValueError, NonFiniteError) as error:
                print(f"{name}, {model}: left out, {error}", file=sys.stderr)
    if given.page:
        page(given.page, opened, rows, given)
    found = {"benchmark": "signatures", "machine": describe().facts(), "threads": given.threads}
    print(json.dumps({**found, "seeds": given.seeds, "budget": str(given.budget), "rows": rows}, allow_nan=False))


if __name__ == "__main__":
    main()

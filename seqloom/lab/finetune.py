"""Fine-tuning: an experiment that begins from a trained run's weights, with a new head for another task."""

from pathlib import Path
from typing import Any

from seqloom.core.spec import resolve, to_data
from seqloom.lab.trained import Trained, load
from seqloom.tasks.task import Interface, Opened, Task
from seqloom.train.begin import fingerprint
from seqloom.train.directory import differences
from seqloom.train.experiment import Begin, Budget, Experiment, Optimizer

SLOWER = 1 / 3  # learning rate against that of new weights: what was learnt must not be lost before it is of use
_FREE = "dropout"  # what no weight depends on: of the task, or of the user


def finetune(
    run: Path,
    task: dict[str, Any],
    budget: Budget,
    *,
    model: str | None = None,
    architecture: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **rest: Any,
) -> tuple[Experiment, Opened]:
    """Return an experiment whose weights, but for the head's, begin as the best of a trained run; and its task, opened.

    The task reads its inputs as the run did, unless it is told otherwise; a causal model stays causal.

    Args:
        run: directory of the trained run.
        task: settings of the task, its `name` among them.
        budget: how long to train.
        model: the run's, or None.
        architecture: settings of the model; all must be those of the run, but for dropout.
        settings: of the Optimizer; the learning rate is otherwise a third of the task's own.
        **rest: as `Experiment.suited` takes them.

    Raises:
        ValueError: no trained run is there; another model is asked for; or the run does not read what the task does.
    """
    trained = load(run)
    there = to_data(trained.experiment.sized(trained.interface))
    asked = architecture or {}
    differing = differences(there["name"], model or there["name"], "--model") or differences(
        there, {**there, **{name: value for name, value in asked.items() if name != _FREE}}, "model"
    )
    if differing:
        raise ValueError(f"the model is that of '{run}': {'; '.join(differing)}. Leave these options out")
    opened = _opened(run, trained, task)
    free = {name: value for name, value in {**opened.architecture, **asked}.items() if name == _FREE}
    frontend, causal = trained.experiment.reading(trained.interface)
    begin = Begin(
        run=str(run),
        digest=trained.experiment.digest(),
        weights=fingerprint(trained.model.state_dict()),
        frontend=frontend,
        causal=causal,
    )
    architecture = {**there, **free}
    settings = {"learning_rate": SLOWER * Optimizer.of(opened.defaults).learning_rate, **(settings or {})}
    fields = {"architecture": architecture, "settings": settings, "begin": begin, **rest}
    return Experiment.suited(opened, there["name"], budget, **fields), opened


def _opened(run: Path, trained: Trained, settings: dict[str, Any]) -> Opened:
    """Return the task, opened, reading its inputs as a run did.

    Raises:
        ValueError: it cannot, or is told not to; the run knows no mask token; or it saw what the task asks for.
    """
    like = to_data(resolve(Task, settings).like(trained.interface.encoding))
    opened = resolve(Task, {**like, **settings}).open()
    name = opened.task.name()
    if _inputs(trained.interface) != _inputs(opened):
        own = to_data(opened.task)
        told = ", ".join(f"--{key}" for key in own if own[key] != like[key])
        fix = f"leave out {told}" if told else f"begin from a run that reads what {name} reads"
        raise ValueError(f"'{run}' was trained on {_read(trained.interface)}, {name} reads {_read(opened)}: {fix}")
    known, needed = (getattr(reads.frontend, "vocabulary", 0) for reads in (trained.model.spec, opened))
    if needed > known:
        raise ValueError(
            f"'{run}' knows {known} tokens, {name} needs {needed}, the mask token among them: begin from a run that "
            "was trained with masks"
        )
    if opened.causal and not trained.model.causal:
        raise ValueError(f"the model of '{run}' sees the future, which {name} predicts: begin from a causal one")
    return opened


def _inputs(interface: Interface) -> Any:
    """Return what is equal for tasks whose inputs mean the same: the tokenizer, or the shape of numbers."""
    if interface.encoding is not None:
        return interface.encoding
    return {key: value for key, value in to_data(interface.frontend).items() if key != _FREE}


def _read(interface: Interface) -> str:
    """Return in words what a task reads."""
    encoding, frontend = interface.encoding, interface.frontend
    if isinstance(encoding, dict) and encoding.get("kind") == "bytes":
        return "bytes in lower case" if encoding["lower"] else "bytes"
    if frontend.kind == "tokens":
        return f"{frontend.vocabulary} {'BPE tokens of its own texts' if encoding else 'numbered tokens'}"
    if frontend.kind == "words":
        return f"{frontend.vocabulary} words of its own sentences"
    steps = f" in patches of {frontend.size} steps" if frontend.kind == "patches" else ""
    return f"steps of {frontend.channels} values{steps}"

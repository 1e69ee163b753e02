"""The verb that learns: train."""

from pathlib import Path
from typing import Any

from seqloom.cli_options import FromRun, Given, TimeText
from seqloom.cli_output import Answer, Workers, number, scores
from seqloom.cli_plan import plan_of
from seqloom.core import registry, runtime

_SHOWN = 3  # rows not used that a line tells of


def train(
    task: str | None = None,
    *,
    model: str | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    budget: TimeText | None = None,
    checkpoint_every: int | None = None,
    evaluate_every: int | None = None,
    parameters: int | None = None,
    seed: int | None = None,
    begin: FromRun | None = None,
    plan: str | None = None,
    workers: int | None = None,
    restarts: int = 3,
    out: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    given: Given,
) -> Answer | Workers:
    """Train one model on one task; killed at any moment, --resume goes on bit for bit.

    Parameters
    ----------
    task
        what to learn (seqloom list tasks), or a recipe, a Python file of experiments; not needed with --resume
    model
        which architecture (seqloom list models); without it gru, or that of --from
    steps
        train for so many updates
    epochs
        or for so many passes over the training split
    budget
        or for a time, e.g. 60s, 5m, 2h
    checkpoint_every
        steps between checkpoints; without it, as evaluations
    evaluate_every
        steps between evaluations on validation; without it 20 in the run
    parameters
        size of the model, token table aside; without it what suits the task, or --width
    seed
        of the weights, the order of the examples and dropout; without it 0
    begin
        fine-tune: begin from this trained run's weights, with a new head; model and tokens are the run's
    plan
        lay the run out over processes, e.g. data=2 or data=2,pipeline=2; axes are data, tensor, pipeline, sequence
    workers
        how many processes; without it as many as the plan needs; without a plan each has its share of the rows
    restarts
        how often the processes are started anew, at most, when one of them is lost
    out
        run directory; without it runs/TASK-MODEL-SEED
    resume
        go on with the run in the run directory, under its plan or another; other options must be those of the run
    overwrite
        replace the run in the run directory
    """
    from seqloom.train.directory import RUN

    recipe = task is not None and task.endswith(".py")
    laid = plan_of(plan, workers, out if resume else None, recipe)
    if laid is not None and laid.processes > 1 and runtime.worker().workers == 1:
        return Workers(laid.processes, restarts)
    length = {"--steps": steps, "--epochs": epochs, "--budget": budget}
    how = {"checkpoint_every": checkpoint_every, "resume": resume, "overwrite": overwrite}
    if task is not None and recipe:
        said = {"--model": model, **length, "--parameters": parameters, "--evaluate-every": evaluate_every}
        experiments = _recipe(Path(task), {**said, "--seed": seed, "--from": begin}, given, laid)
        counts = sorted({each.plan.processes for each in experiments})
        if len(counts) > 1:
            raise ValueError(f"'{task}' has plans of {', '.join(map(str, counts))} processes: give one number of them")
        processes = counts[0]
        if processes > 1 and runtime.worker().workers == 1:
            return Workers(processes, restarts)
        return _studied(Path(task), experiments, out or Path("runs") / Path(task).stem, how)
    opened = None
    sizes = {"parameters": parameters, "evaluate_every": evaluate_every}
    held = resume and out is not None and (out / RUN).exists()
    known = task is None or begin is not None  # what to learn need not be read again
    if resume and out is not None and known and (held or (task is None and not given.task)):
        names = {"task": task, "--model": model, "--from": None if begin is None else str(begin)}
        experiment = _experiment_of(out, names, length, {**sizes, "seed": seed}, given)
    else:
        task = task or inferred_task(given)
        if task is None:
            raise ValueError(
                f"name a task: seqloom train TASK, TASK being one of {', '.join(registry.catalog('tasks'))}"
            )
        experiment, opened = _new_experiment(task, model, begin, length, seed or 0, sizes, given)
    if laid is not None:
        experiment = experiment.replace(plan=laid)
    where = out or Path("runs") / f"{experiment.task.name()}-{experiment.model.name()}-{experiment.seed}"
    return _trained(experiment, opened, where, how)


def _trained(experiment: Any, opened: Any, where: Path, how: dict[str, Any]) -> Answer:
    """Train an experiment in a run directory, and say what came of it."""
    from seqloom.core.spec import to_data
    from seqloom.parallel.world import joined
    from seqloom.train.directory import launched
    from seqloom.train.loop import Training
    from seqloom.train.progress import Board

    first = runtime.worker().first
    if runtime.worker().attempt and launched(where) == runtime.worker().launch:
        how = {**how, "resume": True, "overwrite": False}  # these processes began it, and were started anew
    with Board() as board, joined(experiment.plan):
        title = f"{experiment.task.name()} {experiment.model.name()}"
        training = Training(experiment, opened, where, **how, progress=board.add(title) if first else None)
        told = len(training.notices)
        for notice in [*_rejected(training.opened), *training.notices] if first else []:
            board.say(notice)
        result = training.finish()
        for notice in result.notices[told:] if first else []:
            board.say(notice)
    data = {
        "task": experiment.task.name(),
        "model": experiment.model.name(),
        "family": experiment.model.family,
        "metrics": result.metrics,
        "metric": result.metric,
        "floor": training.opened.floor,
        "parameters": result.parameters,
        "steps": result.steps,
        "best_step": result.best_step,
        "train_s": result.train_s,
        "time_to_quality_s": result.time_to_quality_s,
        "peak_bytes": result.peak_bytes,
        "stopped_early": result.stopped,
        **training.opened.account(),
        "notices": result.notices,
        "begin": to_data(experiment.begin),
        "plan": str(experiment.plan),
        "traffic": result.traffic,
        "run": str(where),
    }
    begun = experiment.begin
    lines = [
        f"{data['task']}, {data['model']}: {scores(result.metrics)} on test; floor {number(data['floor'])}",
        f"{result.parameters:,} parameters, {result.steps} steps, {number(result.train_s, 's')} of training",
        *([f"{experiment.plan.processes} processes: {experiment.plan}"] if experiment.plan.processes > 1 else []),
        *([f"Began from {begun.run}, experiment {begun.digest}, weights {begun.weights}"] if begun else []),
        f"Run: {where}",
    ]
    return Answer(data, "\n".join(lines))


def _recipe(path: Path, said: dict[str, Any], given: Given, plan: Any) -> list[Any]:
    """Return the experiments of a recipe, under the plan that is asked for, if one is.

    Raises:
        ValueError: no such recipe, or an option that the recipe itself says.
    """
    from seqloom.core.spec import resolve
    from seqloom.parallel.plan import Plan
    from seqloom.train.recipe import read_recipe

    settings = [f"--{name.replace('_', '-')}" for part in (given.task, given.model, given.optimizer) for name in part]
    extra = [*(option for option, value in said.items() if value is not None), *settings]
    if extra:
        raise ValueError(f"{', '.join(extra)}: a recipe says all of its runs; change it in a copy of '{path}'")
    experiments = read_recipe(path)
    started = runtime.worker().workers
    if plan is None and started > 1 and all(each.plan.processes == 1 for each in experiments):
        plan = resolve(Plan, {"data": started})  # torchrun started several for a recipe that says nothing of it
    return experiments if plan is None else [each.replace(plan=plan) for each in experiments]


def _studied(path: Path, experiments: list[Any], where: Path, how: dict[str, Any]) -> Answer:
    """Train the experiments of a recipe: one in the run directory, several in directories of it, by number."""
    if len(experiments) == 1:
        return _trained(experiments[0], None, where, how)
    answers = [_trained(each, None, where / str(number), how) for number, each in enumerate(experiments)]
    data = {"recipe": str(path), "runs": [answer.data for answer in answers]}
    return Answer(data, "\n".join(answer.text for answer in answers))


def _place(reject: dict[str, Any]) -> str:
    return f"line {reject['line']}" if "line" in reject else str(reject["file"])


def _rejected(opened: Any) -> list[str]:
    """Return a line that tells of the rows that are not used, if there are any."""
    if not opened.rejects:
        return []
    shown = "; ".join(f"{_place(reject)}: {reject['reason']}" for reject in opened.rejects[:_SHOWN])
    more = "; ..., all in run.json" if len(opened.rejects) > _SHOWN else ""
    return [f"{len(opened.rejects)} of {opened.facts['rows_in']} rows are not used: {shown}{more}"]


def _experiment_of(
    run: Path, names: dict[str, str | None], length: dict[str, Any], fields: dict[str, Any], given: Given
) -> Any:
    """Return the experiment of a run directory.

    Raises:
        ValueError: an option was given that is not as it is there.
    """
    from seqloom.core.spec import resolve, to_data
    from seqloom.data.named import with_source
    from seqloom.train.directory import differences, read_record
    from seqloom.train.experiment import Experiment

    record = read_record(run)
    if "experiment" not in record:
        raise ValueError(f"'{run}' is a run of {record.get('verb', 'another verb')}; --resume it with that verb")
    experiment = resolve(Experiment, {**record["experiment"], "plan": record.get("plan", {})})
    there = to_data(experiment)
    begin = there["begin"] or {}
    named = {"task": there["task"]["name"], "--model": there["model"]["name"], "--from": begin.get("run")}
    differing = differences(named, {**named, **{name: value for name, value in names.items() if value is not None}})
    if not differing:
        asked = {**there, **{name: value for name, value in fields.items() if value is not None}}
        asked["task"] = {**there["task"], **with_source(there["task"]["name"], given.task)}
        asked["model"] = {**there["model"], **given.model}
        asked["optimizer"] = {**there["optimizer"], **given.optimizer}
        if any(value is not None for value in length.values()):
            asked["budget"] = to_data(_budget(length))
        differing = differences(there, to_data(resolve(Experiment, asked)))
    if differing:
        raise ValueError(
            f"the run in '{run}' is another: {'; '.join(differing)}. Leave these options out, or name another "
            "directory with --out"
        )
    return experiment


def _budget(length: dict[str, Any]) -> Any:
    """Return the budget that the options name."""
    from seqloom.core.spec import resolve
    from seqloom.train.experiment import Budget

    chosen = {option: value for option, value in length.items() if value is not None}
    if len(chosen) != 1:
        raise ValueError(
            f"say how long to train by one of --steps, --epochs, --budget; given: {', '.join(chosen) or 'none'}"
        )
    option, value = chosen.popitem()
    return Budget.parse(value) if option == "--budget" else resolve(Budget, {option.removeprefix("--"): value})


def _new_experiment(
    task: str,
    model: str | None,
    begin: Path | None,
    length: dict[str, Any],
    seed: int,
    sizes: dict[str, int | None],
    given: Given,
) -> Any:
    from seqloom.core.spec import resolve
    from seqloom.data.named import with_source
    from seqloom.lab.finetune import finetune
    from seqloom.tasks.task import Task
    from seqloom.train.experiment import Experiment

    budget = _budget(length)
    settings = {"name": task, **with_source(task, given.task)}
    rest: dict[str, Any] = {"architecture": given.model, "seed": seed, "settings": given.optimizer, **sizes}
    if begin is not None:
        return finetune(begin, settings, budget, model=model, **rest)
    model = model or "gru"
    registry.look_up("zoo", model) if "." not in model else None  # before the data are read
    opened = resolve(Task, settings).open()
    if sizes["parameters"] is None and "width" not in given.model:
        rest["parameters"] = opened.parameters
    return Experiment.suited(opened, model, budget, **rest), opened


def architecture(name: str, options: dict[str, Any]) -> Any:
    """Return a model with those of the options that it has."""
    from seqloom.core.spec import resolve
    from seqloom.zoo.architecture import Architecture

    known = {field.name for field in registry.look_up("zoo", name).fields} if "." not in name else set(options)
    return resolve(Architecture, {"name": name, **{key: value for key, value in options.items() if key in known}})


def inferred_task(given: Given) -> str | None:
    """Return the task that options without a task's name mean: --data is a table to classify."""
    return "classify" if given.task else None

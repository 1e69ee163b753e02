"""The verbs that ask a trained model: evaluate, predict."""

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from seqloom.cli_output import Answer, Stream, number, scores

StopTexts = Annotated[list[str], Parameter(negative=(), allow_leading_hyphen=True)]  # may begin with a dash


def evaluate(run: Path, *, split: str = "test") -> Answer:
    """Score a trained run; of a recipe of several experiments each, and their mean.

    Parameters
    ----------
    run
        a run directory of train
    split
        train, validation or test
    """
    from seqloom.lab.trained import load, mean_scores, runs_of

    runs = runs_of(run)
    if len(runs) == 1:
        trained = load(runs[0])
        data = {**trained.scores(split), "notices": trained.notices}
        return Answer(data, _scored(data))
    found: list[dict[str, Any]] = []
    for each in runs:
        trained = load(each)
        found.append({**trained.scores(split), "notices": trained.notices, "run": str(each)})
    data = {**mean_scores(found), "runs": found}
    mean = f"mean: {scores(data['metrics'])}; floor {number(data['floor'])}" if data["metrics"] else "no mean"
    why = "" if data["metrics"] else ", since they are of several tasks, models or metrics"
    lines = [f"{each['run']}: {_scored(each)}" for each in found]
    return Answer(data, "\n".join([*lines, f"{len(found)} runs, {mean}{why}"]))


def _scored(data: dict[str, Any]) -> str:
    return "\n".join(
        [
            *(f"notice: {notice}" for notice in data["notices"]),
            f"{data['task']}, {data['model']} at step {data['step']}: {scores(data['metrics'])} "
            f"on {data['examples']} examples of {data['split']}; floor {number(data['floor'])}",
        ]
    )


def predict(
    run: Path,
    text: str | None = None,
    *,
    data: Path | None = None,
    length: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    beams: int | None = None,
    length_penalty: float | None = None,
    stop: StopTexts | None = None,
) -> Answer | Stream:
    """Ask a trained run what it learnt to tell: the label of an input, the continuation of a prompt, a translation.

    Parameters
    ----------
    run
        a run directory of train; of a recipe of several experiments the first is asked
    text
        one input: text, or numbers separated by spaces, as the task has them
    data
        or a file or folder of inputs: one a line, or in the format that the task learns from; --json gives a line each,
        {"error": ...} for an input that cannot be answered
    length
        tokens to generate after a prompt, at most [default: 200]
    temperature
        0: the likeliest token; 1: drawn from the model's distribution; between, nearer the likeliest [default: 0]
    top_k
        draw only from so many likeliest tokens
    top_p
        draw only from the smallest set of tokens that has this probability
    seed
        of the drawing [default: 0]
    beams
        search for the likeliest continuation, keeping so many side by side [default: 1]
    length_penalty
        beams that end at a stop are compared by log probability / length^this: larger favours longer [default: 1]
    stop
        end before this text, which is left out; may be given several times, with --beams once and one token long
    """
    from seqloom.core.spec import resolve
    from seqloom.data.telling import tell
    from seqloom.lab.decoding import Decoding
    from seqloom.lab.trained import load, runs_of

    if (text is None) == (data is None):
        raise ValueError('give one input: seqloom predict RUN "some text", or seqloom predict RUN --data FILE')
    options = {
        "length": length,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "beams": beams,
        "length_penalty": length_penalty,
        "stop": tuple(stop) if stop else None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    decoding = resolve(Decoding, given)
    first, *others = runs_of(run)
    if others:
        tell(f"'{run}' holds {1 + len(others)} runs; asked is the first, '{first}'")
    trained = load(first)
    if given and not trained.generates:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{named}: of use where a run generates, and '{run}' answers with one value: leave out")
    if data is not None:
        return Stream(trained.told(data, decoding), _prediction)
    (found,) = trained.answers([text], decoding)
    about = {"task": trained.experiment.task.name(), "model": trained.experiment.model.name()}
    return Answer({**about, "predictions": [found]}, _prediction(found))


def _prediction(item: dict[str, Any]) -> str:
    """Return an answer as a line for people."""
    asked = item.get("input", "")
    if "error" in item:
        where = f"line {item['line']}: " if "line" in item else ""
        return f"error\t{where}{item['error']}" + f"\t{asked}" * bool(asked)
    if "label" in item and "probabilities" in item:
        chances = ", ".join(f"{name} {chance:.3f}" for name, chance in item["probabilities"].items())
        return f"{item['label']}\t{chances}\t{asked}"
    if "continuation" in item:
        return f"{asked}{item['continuation']}"
    found = [json.dumps(value, ensure_ascii=False) for name, value in item.items() if name != "input"]
    return "\t".join([*(value.strip('"') for value in found), str(asked)])

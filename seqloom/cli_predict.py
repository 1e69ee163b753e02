"""The verb that asks a trained model: predict."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from seqloom.cli_output import Answer

StopTexts = Annotated[list[str], Parameter(negative=(), allow_leading_hyphen=True)]  # may begin with a dash


def predict(
    run: Path,
    text: str | None = None,
    *,
    file: Path | None = None,
    length: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    beams: int | None = None,
    length_penalty: float | None = None,
    stop: StopTexts | None = None,
) -> Answer:
    """Ask a trained run: the label of an input, or the continuation of a prompt.

    Parameters
    ----------
    run
        a run directory of train
    text
        one input: text, or numbers separated by spaces, as the task has them
    file
        or a file with one input a line
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
    from seqloom.lab.decoding import Decoding
    from seqloom.lab.trained import load, read_lines

    if (text is None) == (file is None):
        raise ValueError('give one input: seqloom predict RUN "some text", or seqloom predict RUN --file FILE')
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
    lines = [text] if text is not None else read_lines(file)  # type: ignore[arg-type]
    trained = load(run)
    if given and not trained.generates:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{named}: of use where a run generates, and '{run}' answers with one value: leave out")
    found = [{"input": line, **trained.answer(line, decoding)} for line in lines]
    data = {"task": trained.experiment.task.name(), "model": trained.experiment.model.name(), "predictions": found}
    return Answer(data, "\n".join(_prediction(item) for item in found))


def _prediction(item: dict[str, Any]) -> str:
    if "label" in item:
        chances = ", ".join(f"{name} {chance:.3f}" for name, chance in item["probabilities"].items())
        return f"{item['label']}\t{chances}\t{item['input']}"
    return f"{item['input']}{item['continuation']}" if "continuation" in item else f"{item['value']}\t{item['input']}"

"""A trained run, opened again: its experiment, its examples, its best weights; to be scored and asked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqloom.core import runtime
from seqloom.core.spec import resolve
from seqloom.model.generate import Sampling, generate
from seqloom.model.model import Model
from seqloom.tasks.task import Opened, evaluate
from seqloom.train import checkpoint
from seqloom.train.directory import CHECKPOINTS, read_record
from seqloom.train.experiment import Experiment

ANSWERS = 5  # likeliest classes shown of a prediction


@dataclass(frozen=True)
class Trained:
    """A model with its best weights, and what it was trained on."""

    experiment: Experiment
    opened: Opened
    model: Model
    step: int  # of the checkpoint
    notices: list[str]  # for the user: damage that was passed over

    def scores(self, split: str = "test") -> dict[str, Any]:
        """Score the model on "train", "validation" or "test"; JSON values."""
        if split not in ("train", "validation", "test"):
            raise ValueError(f"unknown split '{split}'; take train, validation or test")
        examples = getattr(self.opened, split)
        return {
            "task": self.experiment.task.name(),
            "model": self.experiment.model.name(),
            "split": split,
            "examples": len(examples),
            "step": self.step,
            "metric": self.opened.metric,
            "better": self.opened.better,
            "floor": self.opened.floor,
            "metrics": evaluate(self.model, examples).values(),
        }

    def answer(self, line: str, steps: int, sampling: Sampling) -> dict[str, Any]:
        """Answer one line of input: the likeliest classes, a number, or what follows; JSON values.

        Raises:
            ValueError: the line is not what the task takes.
        """
        inputs = self._inputs(line)
        kind = self.opened.head.kind
        if kind == "next_token":
            tokens = [int(token[0]) for token in generate(self.model, inputs, steps, sampling)]
            decode = self.opened.decode
            return {"continuation": decode(tokens) if decode else " " + " ".join(map(str, tokens)), "tokens": tokens}
        with torch.no_grad():
            output = self.model(inputs)[0][0].float()
        if kind == "number":
            return {"value": float(output)}
        chances = output.softmax(dim=-1)
        top = chances.topk(min(ANSWERS, len(chances)))
        names = [self.opened.labels[i] if self.opened.labels else str(i) for i in top.indices.tolist()]
        return {"label": names[0], "probabilities": dict(zip(names, top.values.tolist(), strict=True))}

    def _inputs(self, line: str) -> torch.Tensor:
        array = (self.opened.encode or self._numbers)(line)
        if len(array) == 0:
            raise ValueError("the input is empty; give at least one step")
        dtype = torch.int64 if self.opened.frontend.kind == "tokens" else torch.float32
        return torch.tensor(array, dtype=dtype)[None].to(runtime.device())

    def _numbers(self, line: str) -> np.ndarray:
        words = line.replace(",", " ").split()
        frontend = self.opened.frontend
        try:
            if frontend.kind == "tokens":
                tokens = np.array([int(word) for word in words], dtype=np.int64)
                if ((tokens < 0) | (tokens >= frontend.vocabulary)).any():
                    raise ValueError(f"tokens are whole numbers from 0 to {frontend.vocabulary - 1}")
                return tokens
            return np.array([float(word) for word in words], dtype=np.float32).reshape(-1, frontend.channels)
        except ValueError as error:
            raise ValueError(f"'{line[:80]}' is not an input of {self.experiment.task.name()}: {error}") from None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file that are not blank.

    Raises:
        ValueError: the file cannot be read, is not UTF-8, or has no such line.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise ValueError(f"cannot read '{path}': {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not UTF-8 (byte {error.start}); convert it first") from None
    if not lines:
        raise ValueError(f"'{path}' has no line of input")
    return lines


def load(run: Path) -> Trained:
    """Return the run in a directory, with the weights that were best on validation so far.

    Raises:
        ValueError: no run of `train` is there, none of its checkpoints is whole, or its data are gone or changed.
    """
    record = read_record(run)
    if "experiment" not in record:
        raise ValueError(
            f"'{run}' is a run of {record.get('verb', 'another verb')}, which keeps no weights; name one of train"
        )
    experiment = resolve(Experiment, record["experiment"])
    found = checkpoint.load(run / CHECKPOINTS)
    if found is None:
        raise ValueError(f"'{run}' has no checkpoint yet; go on with it: seqloom train --resume --out {run}")
    opened = experiment.task.open(experiment.data_seed)
    model = experiment.model_spec(opened).build(experiment.seed)
    model.load_state_dict(found.tensors.get("best", found.tensors["model"]))
    return Trained(experiment, opened, model.to(runtime.device()).eval(), found.step, found.notices)

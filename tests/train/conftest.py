"""A task small enough to train on in a fraction of a second."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from seqloom.core.spec import resolve
from seqloom.tasks.digits import Digits
from seqloom.tasks.task import Opened
from seqloom.train.experiment import Experiment


@pytest.fixture(scope="session")
def opened() -> Opened:
    whole = Digits().open()
    parts = {name: getattr(whole, name).select(np.arange(n)) for name, n in PARTS.items()}
    return dataclasses.replace(whole, **parts)


PARTS = {"train": 50, "validation": 20, "test": 20}


@pytest.fixture(scope="session")
def make() -> Callable[..., Experiment]:
    """Return an experiment on a tiny GRU with dropout: 8 rows a step, so 7 steps an epoch, the last of 2 rows."""

    def build(steps: int = 20, **changes: Any) -> Experiment:
        optimizer = {"batch_size": 8, "learning_rate": 0.01, **changes.pop("optimizer", {})}
        fields = {
            "task": "digits",
            "model": {"name": "gru", "width": 8, "layers": 1, "dropout": 0.2},
            "budget": {"steps": steps},
            "optimizer": optimizer,
            "evaluate_every": 5,
            **changes,
        }
        return resolve(Experiment, fields)

    return build

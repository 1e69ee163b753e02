"""seqloom: choose, train, parallelise and ship sequence models: recurrent, attention, or both.

Importing this package costs milliseconds: a public name is fetched from its own file when first used (PEP 562).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqloom import nn as nn
    from seqloom.core.spec import Spec as Spec
    from seqloom.core.types import FRESH as FRESH
    from seqloom.hub.pretrained import load as load
    from seqloom.lab.compare import compare as compare
    from seqloom.model.model import Model as Model
    from seqloom.model.model import ModelSpec as ModelSpec
    from seqloom.train.experiment import Budget as Budget
    from seqloom.train.experiment import Experiment as Experiment
    from seqloom.train.experiment import Optimizer as Optimizer
    from seqloom.train.loop import Training as Training
    from seqloom.zoo.architecture import build as build

__version__ = "0.1.0"

# public name -> the module that defines it
_HOME = {
    "nn": "seqloom.nn",
    "Spec": "seqloom.core.spec",
    "FRESH": "seqloom.core.types",
    "ModelSpec": "seqloom.model.model",
    "Model": "seqloom.model.model",
    "Budget": "seqloom.train.experiment",
    "Experiment": "seqloom.train.experiment",
    "Optimizer": "seqloom.train.experiment",
    "Training": "seqloom.train.loop",
    "build": "seqloom.zoo.architecture",
    "compare": "seqloom.lab.compare",
    "load": "seqloom.hub.pretrained",
}

__all__ = [
    "FRESH",
    "Budget",
    "Experiment",
    "Model",
    "ModelSpec",
    "Optimizer",
    "Spec",
    "Training",
    "__version__",
    "build",
    "compare",
    "load",
    "nn",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        module = importlib.import_module(_HOME[name])
        return module if _HOME[name] == f"{__name__}.{name}" else getattr(module, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)

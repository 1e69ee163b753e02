"""A recipe: a Python file whose `experiments` are the runs of a study, as values."""

import importlib.util
from pathlib import Path

from seqloom.train.experiment import Experiment


def read_recipe(path: Path) -> list[Experiment]:
    """Return the experiments of a recipe; the file is run as the Python that it is.

    Raises:
        ValueError: there is no such file, it fails, or its `experiments` are no list of Experiments.
    """
    if not path.is_file():
        raise ValueError(f"there is no recipe '{path}'; name a Python file with a list `experiments`")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # of a .py file there always is one
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001  whatever a user's own code may raise
        raise ValueError(f"the recipe '{path}' fails: {type(error).__name__}: {error}") from error
    experiments = getattr(module, "experiments", None)
    if not isinstance(experiments, list) or not experiments:
        raise ValueError(f"the recipe '{path}' has no list `experiments`; give one of Experiments")
    strange = next((each for each in experiments if not isinstance(each, Experiment)), None)
    if strange is not None:
        raise ValueError(f"the recipe '{path}' lists {strange!r:.80}; its `experiments` must be Experiments")
    return experiments

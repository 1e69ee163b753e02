"""Recipes are values: each builds, names itself by its digest, and goes to JSON and back."""

import importlib.util
from pathlib import Path

import pytest

from seqloom.train.experiment import Experiment

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.py"))


def experiments(path: Path) -> list[Experiment]:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.experiments


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_experiments_of_a_recipe_are_different_values(path: Path):
    found = experiments(path)
    assert found and len({experiment.digest() for experiment in found}) == len(found)
    assert [Experiment.from_json(experiment.to_json()) for experiment in found] == found


def test_recall_over_pairs_has_every_model_at_every_number_of_pairs():
    found = experiments(next(path for path in RECIPES if path.stem == "recall_over_pairs"))
    assert {(e.task.pairs, e.model.name()) for e in found} == {
        (pairs, model) for pairs in (4, 6, 8) for model in ("gru", "transformer")
    }
    assert len({e.to_json().replace(f'"pairs":{e.task.pairs}', "") for e in found}) == 4  # pairs alone differ

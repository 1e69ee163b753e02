"""The page of models says what the models are."""

import inspect
import runpy
from pathlib import Path

import pytest
from torch import nn

import seqloom
from seqloom.core.registry import catalog
from seqloom.core.spec import resolve
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture

ROOT = Path(__file__).parent.parent


def test_the_table_of_models_is_what_their_specs_say():
    written = runpy.run_path(str(ROOT / "docs" / "models.py"))["page"]()
    assert (ROOT / "docs" / "models_table.md").read_text(encoding="utf-8") == written, "run python docs/models.py"


@pytest.mark.parametrize("name", catalog("zoo"))
def test_every_model_states_its_equation_cost_and_source(name) -> None:
    cls = type(resolve(Architecture, name))
    about = " ".join(inspect.cleandoc(cls.__doc__ or "").split())
    assert any(form in about for form in ("norm(x + ", "x + ", "_t = ", "h^l_t = ", "s = sum")), "no equation"
    assert "Work O(B" in about and "depth" in about, "no cost"
    source = catalog("zoo")[name].attributes["source"]
    assert isinstance(source, tuple) and all(len(entry) == 5 for entry in source)


def test_the_page_names_every_linear_map_for_peft() -> None:
    built = [resolve(MixerSpec, name).build(16) for name in catalog("mixers") if name != "bidirectional"]
    built += [seqloom.build(name, vocabulary=9, width=16) for name in catalog("zoo")]
    names = {
        key.rsplit(".", 1)[-1]
        for model in built
        for key, module in model.named_modules()
        if isinstance(module, nn.Linear)
    }
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    listed = page.partition("`peft` wraps")[2]
    assert {name for name in names if f"`{name}`" not in listed} == set()


def test_the_table_says_that_transformer_is_an_encoder_decoder_from_build_and_one_stack_on_a_task() -> None:
    table = (ROOT / "docs" / "models_table.md").read_text(encoding="utf-8")
    row = next(line for line in table.splitlines() if line.startswith("| `transformer` |"))
    assert "from `build` a source to read" in row and "one stack" in row

"""What is written to config.json beside the architecture: dropout as near as their form can say it, and the type."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import seqloom
from seqloom.model.model import Model, ModelSpec

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

TOKENS = torch.randint(99, (3, 17), generator=torch.Generator().manual_seed(0))
CLASSES = {"gpt": "GPT2LMHeadModel", "bert": "BertForMaskedLM", "mamba2": "Mamba2ForCausalLM"}


def dropping(name: str, frontend: float, blocks: float, attention: float) -> ModelSpec:
    spec = seqloom.build(name, vocabulary=99, width=32).spec
    pattern = tuple(
        part.replace(dropout=attention) if hasattr(part, "dropout") else part for part in spec.backbone.pattern
    )
    return spec.replace(
        frontend=spec.frontend.replace(dropout=frontend),
        backbone=spec.backbone.replace(dropout=blocks, pattern=pattern),
    )


def saved(model: Model, folder) -> dict[str, object]:
    model.save_pretrained(folder)
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("dropouts", [(0.0, 0.25, 0.0), (0.5, 0.25, 0.125), (0.25, 0.25, 0.25), (0.25, 0.0, 0.0)])
@pytest.mark.parametrize("name", CLASSES)
def test_dropout_does_not_change_the_form_and_is_written_as_near_as_it_can_be(name, dropouts, tmp_path) -> None:
    frontend, blocks, attention = dropouts
    model = dropping(name, *dropouts).build().eval()
    config = saved(model, tmp_path)
    expected = {
        "gpt": {"embd_pdrop": frontend, "resid_pdrop": blocks, "attn_pdrop": attention},
        "bert": {"hidden_dropout_prob": blocks, "attention_probs_dropout_prob": attention},
        "mamba2": {},
    }
    assert config["architectures"] == [CLASSES[name]]
    assert {key: config[key] for key in expected[name]} == expected[name]
    again = seqloom.load(tmp_path)
    can_say = {"gpt": dropouts, "bert": (blocks, blocks, attention), "mamba2": (0.0, 0.0, 0.0)}
    assert again.spec == dropping(name, *can_say[name])
    reference = getattr(transformers, CLASSES[name]).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(TOKENS)[0], model(TOKENS)[0])
        # 1e-5: float32 sums in another order
        torch.testing.assert_close(reference(TOKENS).logits, model(TOKENS)[0], rtol=0, atol=1e-5)


def test_models_by_name_keep_their_form_with_dropout(tmp_path) -> None:
    for name, cls in CLASSES.items():
        model = seqloom.build(name, vocabulary=99, width=32, dropout=0.25)
        assert saved(model, tmp_path / name)["architectures"] == [cls]


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_the_type_of_the_weights_is_what_config_says(key, tmp_path) -> None:
    saved(seqloom.build("gpt", vocabulary=99, width=32).half(), tmp_path / "a")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config.pop("dtype") == "float16"
    (tmp_path / "a" / "config.json").write_text(json.dumps({**config, key: "float16"}))
    assert load_file(tmp_path / "a" / "model.safetensors")["transformer.wte.weight"].dtype == torch.float16
    model = seqloom.load(tmp_path / "a")
    with torch.no_grad():
        model.frontend.embedding.weight.mul_(1.0 + 2**-15)  # what halves would lose
    assert saved(model, tmp_path / "b")[key] == "float32"
    again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "b").eval()
    assert torch.equal(again.transformer.wte.weight, model.frontend.embedding.weight)


def test_a_file_of_several_types_is_loaded_as_the_widest(tmp_path) -> None:
    folder = seqloom.build("gpt", vocabulary=99, width=32).bfloat16().save_pretrained(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    for wider in (torch.float32, torch.float64):
        save_file({**tensors, "transformer.ln_f.bias": torch.ones(32, dtype=wider)}, folder / "model.safetensors")
        assert {parameter.dtype for parameter in seqloom.load(folder).parameters()} == {wider}

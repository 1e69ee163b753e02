"""What is saved is what is loaded: any model, any float type, over an older checkpoint, and after a kill."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import seqloom
from seqloom.core import registry
from seqloom.core.spec import resolve
from seqloom.core.types import FRESH
from seqloom.hub import files
from seqloom.model.backbone import Backbone
from seqloom.model.frontend import Tokens
from seqloom.model.head import Hidden, NextToken
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import ModelSpec

TOKENS = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(0))
MIXERS = sorted(set(registry.catalog("mixers")) - {"cross", "additive"})  # which read an encoder


def of(mixer: object, **settings) -> ModelSpec:
    head = NextToken(vocabulary=11, tied=settings.pop("tied", False))
    backbone = Backbone(pattern=(mixer,), dropout=0.1)  # type: ignore[arg-type]
    return ModelSpec(frontend=Tokens(vocabulary=11, **settings), backbone=backbone, head=head, width=16)


ALIBI = {"name": "attention", "alibi": True, "rotary": None}
SPECS = {
    name: of(resolve(MixerSpec, {"name": name, **({"mixer": "gru"} if name == "bidirectional" else {})}))
    for name in MIXERS
} | {
    "alibi": of(ALIBI, tied=True),
    "alibi in both directions": of({"name": "bidirectional", "mixer": {**ALIBI, "causal": False}}),
    "sinusoids": of("lstm", positions="sinusoidal", norm=True, kinds=2),
}


@pytest.mark.parametrize("name", SPECS)
def test_a_loaded_model_computes_and_trains_as_the_saved_one(name, tmp_path) -> None:
    spec = SPECS[name]
    model = spec.build(seed=3).eval()
    again = seqloom.load(model.save_pretrained(tmp_path))
    assert again.spec == spec and not again.training
    assert not any(tensor.is_meta for tensor in (*again.parameters(), *again.buffers()))
    assert {key: p.requires_grad for key, p in again.named_parameters()} == {
        key: p.requires_grad for key, p in model.named_parameters()
    }
    for one in (model, again):
        one(TOKENS)[0].square().mean().backward()
    assert torch.equal(model(TOKENS)[0], again(TOKENS)[0])
    if model.causal:
        assert torch.equal(model(TOKENS, FRESH)[0], again(TOKENS, FRESH)[0])
    for key, parameter in again.named_parameters():
        expected = model.get_parameter(key)
        assert (parameter.grad is None) == (expected.grad is None), key
        assert parameter.grad is None or torch.equal(parameter.grad, expected.grad), key  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["gpt", "bert", "mamba2", "griffin"])
def test_loaded_parameters_are_separate_and_leave_the_file_alone(name, tmp_path) -> None:
    seqloom.build(name, vocabulary=11, width=16).save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    model = seqloom.load(tmp_path)
    storages = [parameter.untyped_storage() for parameter in model.parameters()]
    assert len({storage.data_ptr() for storage in storages}) == len(storages)
    for parameter in model.parameters():
        assert parameter.is_contiguous()
        assert parameter.untyped_storage().nbytes() == parameter.nbytes
        parameter.data.fill_(1.0)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_tied_head_stays_tied_when_loaded(tmp_path) -> None:
    model = seqloom.load(seqloom.build("gpt", vocabulary=11, width=16).save_pretrained(tmp_path))
    assert model.head.project is None
    before = model(TOKENS)[0]
    with torch.no_grad():
        model.frontend.embedding.weight.mul_(2)
    assert not torch.equal(model(TOKENS)[0], before)
    names = load_file(model.save_pretrained(tmp_path) / "model.safetensors")
    assert "lm_head.weight" not in names


@pytest.mark.parametrize("name", ["gpt", "mamba2", "griffin", "xlstm"])
def test_float64_stays_and_halves_are_widened(name, tmp_path) -> None:
    for dtype, expected in (
        (torch.float64, torch.float64),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ):
        model = seqloom.build(name, vocabulary=11, width=16).to(dtype)
        again = seqloom.load(model.save_pretrained(tmp_path))
        assert json.loads((tmp_path / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
        for key, parameter in again.named_parameters():
            assert parameter.dtype == expected
            assert torch.equal(parameter, model.get_parameter(key).to(expected))
        again(TOKENS)


def test_slopes_that_no_file_holds_have_the_type_of_the_weights(tmp_path) -> None:
    model = of({"name": "attention", "alibi": True, "rotary": None}).build().double().eval()
    again = seqloom.load(model.save_pretrained(tmp_path))
    assert torch.equal(again(TOKENS)[0], model(TOKENS)[0])


def sharded(folder, name: str = "gpt") -> dict[str, torch.Tensor]:
    seqloom.build(name, vocabulary=11, width=16, seed=1).save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[:5], "model-2.safetensors": names[5:]}
    for file, chosen in parts.items():
        save_file({key: tensors[key] for key in chosen}, folder / file)
    index = {"weight_map": {key: file for file, chosen in parts.items() for key in chosen}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return tensors


def test_saving_over_parts_leaves_the_new_weights_alone(tmp_path) -> None:
    sharded(tmp_path)
    (tmp_path / "other.safetensors").write_bytes(b"mine")
    model = seqloom.build("gpt", vocabulary=11, width=16, seed=2).eval()
    model.save_pretrained(tmp_path)
    assert torch.equal(seqloom.load(tmp_path)(TOKENS)[0], model(TOKENS)[0])
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "other.safetensors"}


def test_one_whole_file_comes_before_an_index(tmp_path) -> None:
    sharded(tmp_path)
    model = seqloom.build("gpt", vocabulary=11, width=16, seed=2).eval()
    model.save_pretrained(tmp_path / "new")
    (tmp_path / "new" / "model.safetensors").rename(tmp_path / "model.safetensors")
    assert torch.equal(seqloom.load(tmp_path)(TOKENS)[0], model(TOKENS)[0])


def test_an_index_that_names_files_elsewhere_deletes_none(tmp_path) -> None:
    (tmp_path / "kept.safetensors").write_bytes(b"mine")
    folder = tmp_path / "model"
    sharded(folder)
    index = {"weight_map": {"a": "../kept.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    seqloom.build("gpt", vocabulary=11, width=16).save_pretrained(folder)
    assert (tmp_path / "kept.safetensors").read_bytes() == b"mine"
    assert not (folder / "model.safetensors.index.json").exists()


def test_a_parted_model_is_saved_over_itself(tmp_path) -> None:
    tensors = sharded(tmp_path)
    seqloom.load(tmp_path).save_pretrained(tmp_path)
    assert all(torch.equal(tensors[key], found) for key, found in load_file(tmp_path / "model.safetensors").items())


@pytest.mark.parametrize("whole", [True, False])
def test_a_kill_while_weights_are_written_leaves_the_old_ones(whole, tmp_path, monkeypatch) -> None:
    if whole:
        seqloom.build("gpt", vocabulary=11, width=16, seed=1).save_pretrained(tmp_path)
    else:
        sharded(tmp_path)
    before = seqloom.load(tmp_path)(TOKENS)[0]

    def killed(tensors, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        seqloom.build("gpt", vocabulary=11, width=16, seed=2).save_pretrained(tmp_path)
    assert torch.equal(seqloom.load(tmp_path)(TOKENS)[0], before)
    assert not list(tmp_path.glob("*.part"))


def test_a_model_without_a_head_and_pooler_stays_so(tmp_path) -> None:
    spec = seqloom.build("bert", vocabulary=11, width=16).spec.replace(head=Hidden(pooler=True))
    assert seqloom.load(spec.build().save_pretrained(tmp_path)).spec.head == Hidden(pooler=True)


@pytest.mark.parametrize("name", ["gpt", "griffin"])
def test_a_wrapped_model_is_refused_until_it_is_merged(name, tmp_path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    model = seqloom.build(name, vocabulary=11, width=16).eval()
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["enter", "out"], init_lora_weights=False))
    with pytest.raises(ValueError, match=r"other tensors than its spec says: .*enter.* merge_and_unload\(\)"):
        model.save_pretrained(tmp_path / "wrapped")
    assert not (tmp_path / "wrapped").exists()
    merged = wrapped.merge_and_unload()
    again = seqloom.load(merged.save_pretrained(tmp_path / "merged"))
    torch.testing.assert_close(again(TOKENS)[0], merged(TOKENS)[0], rtol=0, atol=1e-6)  # float32 sums


def test_a_folder_that_cannot_be_written_is_told(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot write"):
        seqloom.build("gpt", vocabulary=11, width=16).save_pretrained(tmp_path / "file")

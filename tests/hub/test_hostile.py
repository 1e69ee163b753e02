"""What is refused: configurations, tensors and folders that lie, without memory or time that they would name."""

import json
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import seqloom
from seqloom.core.spec import to_data
from seqloom.mixers.bidirectional import Bidirectional

SMALL = {
    "gpt": {"vocabulary": 50, "width": 24, "max_length": 16},
    "bert": {"vocabulary": 50, "width": 24, "max_length": 16},
    "mamba2": {"vocabulary": 50, "width": 24, "state_size": 8},
    "griffin": {"vocabulary": 50, "width": 24, "layers": 3},
}


def written(name: str, folder: Path) -> Path:
    return seqloom.build(name, **SMALL[name]).save_pretrained(folder)


def changed(folder: Path, **settings: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **settings}))


def respelt(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    changed(folder, spec={**config["spec"], **fields})


def with_tensors(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    found = load_file(folder / "model.safetensors")
    save_file({**found, **tensors}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gpt", {"n_positions": 10**7}, r"wpe\.weight \(16, 24\) for \(10000000, 24\)"),
        ("gpt", {"n_layer": 10**8}, "n_layer = 100000000, but there are only"),
        ("gpt", {"n_embd": 40000}, "width 40000, but no tensor is wider"),
        ("gpt", {"vocab_size": 10**15}, r"wte\.weight \(50, 24\) for"),
        ("gpt", {"vocab_size": 10**30}, "cannot be built"),
        ("gpt", {"n_embd": 0}, "n_embd = 0; it must be a whole number above 0"),
        ("gpt", {"n_inner": 0}, "n_inner = 0"),
        ("gpt", {"n_head": True}, "n_head = True"),
        ("gpt", {"n_head": 5}, "multiple of 5"),
        ("gpt", {"model_type": ["gpt2"]}, r"is of a '\['gpt2'\]'"),
        ("gpt", {"activation_function": ["gelu"]}, r"activation_function = \['gelu'\]"),
        ("gpt", {"attn_pdrop": "much"}, r"wrong setting: Attention\.dropout = 'much': [^\n]*$"),
        ("gpt", {"layer_norm_epsilon": -1}, r"wrong setting: Backbone\.eps = -1: [^\n]*$"),
        ("gpt", {"quantization_config": {"load_in_8bit": True}}, "quantised checkpoints cannot be loaded"),
        ("bert", {"hidden_size": 0}, "hidden_size = 0"),
        ("bert", {"type_vocab_size": 0}, "type_vocab_size = 0"),
        ("bert", {"num_hidden_layers": 10**8}, "but there are only"),
        ("bert", {"intermediate_size": "wide"}, "intermediate_size = 'wide'"),
        ("mamba2", {"time_step_limit": [0]}, r"time_step_limit = \[0\]; it must be two numbers"),
        ("mamba2", {"time_step_limit": [1, 0.5]}, "0 <= first < second"),
        ("mamba2", {"time_step_limit": ["low", "high"]}, "must be two numbers"),
        ("mamba2", {"expand": "twice"}, "of another type"),
        ("mamba2", {"expand": float("inf")}, "of another type"),
        ("mamba2", {"num_hidden_layers": 10**8}, "but there are only"),
    ],
)
def test_settings_that_do_not_fit_the_file_are_refused_at_once(name, settings, message, tmp_path) -> None:
    written(name, tmp_path)
    changed(tmp_path, **settings)
    tracemalloc.start()
    begin = time.perf_counter()
    with pytest.raises(ValueError, match=message):
        seqloom.load(tmp_path)
    assert time.perf_counter() - begin < 5  # seconds; a list of 1e8 layers alone takes longer
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def nested(depth: int) -> object:
    mixer: object = "gru"
    for _ in range(depth):
        mixer = {"name": "bidirectional", "mixer": mixer}
    return mixer


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 40000}, "width 40000, but no tensor is wider than"),
        ({"backbone": {"pattern": ["gru"] * 1000}}, "list of 1000 in its spec, but only"),
        ({"backbone": {"pattern": [nested(24)]}}, "a model of more than .* parameters"),
        ({"backbone": {"pattern": [nested(300)]}}, "nested more than 32 deep"),
        ({"backbone": {"pattern": ["evil_mod.Evil"]}}, r"names 'evil_mod\.Evil', code outside seqloom.*trust=True"),
        ({"backbone": {"pattern": [{"name": "evil_mod.Evil"}]}}, r"names 'evil_mod\.Evil'"),
        ({"backbone": {"pattern": [{"name": "bidirectional", "mixer": "evil_mod.Evil"}]}}, r"'evil_mod\.Evil'"),
        ({"backbone": {"pattern": ["seqloom.__main__.main"]}}, "trust=True"),
        ({"backbone": {"pattern": [], "expand": float("inf")}}, "pattern is empty"),
        ({"backbone": {"pattern": ["gru"], "expand": float("inf")}}, "cannot be built"),
        ({"head": {"kind": "oracle"}}, "oracle"),
        ({"strange": 1}, "unknown key 'strange'"),
    ],
)
def test_specs_that_do_not_fit_the_file_or_name_other_code_are_refused_at_once(
    fields, message, tmp_path, monkeypatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil_mod.py").write_text("raise SystemExit('run')")
    folder = written("griffin", tmp_path / "saved")
    respelt(folder, **fields)
    begin = time.perf_counter()
    with pytest.raises(ValueError, match=message):
        seqloom.load(folder)
    assert time.perf_counter() - begin < 5  # seconds
    assert "evil_mod" not in sys.modules


def test_code_elsewhere_is_imported_only_where_it_is_trusted(tmp_path, monkeypatch) -> None:
    (tmp_path / "own_mixers_of_mine.py").write_text(
        "from seqloom.mixers.gru import GRU\nfrom seqloom.model.mixer import MixerSpec\n"
        "class Mine(MixerSpec):\n    def build(self, width):\n        return GRU().build(width)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = seqloom.build("gru", vocabulary=11, width=16)
    spec = model.spec.replace(backbone=model.spec.backbone.replace(pattern=["own_mixers_of_mine.Mine"] * 2))
    spec.build().save_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"names 'own_mixers_of_mine\.Mine'"):
        seqloom.load(tmp_path / "saved")
    assert seqloom.load(tmp_path / "saved", trust=True).spec == spec


def test_the_dots_of_a_unit_are_no_code(tmp_path) -> None:
    model = seqloom.build("gru", vocabulary=11, width=16)
    spec = model.spec.replace(head=model.spec.head.replace(unit="0.5 words"))
    assert seqloom.load(spec.build().save_pretrained(tmp_path)).spec == spec


@pytest.mark.parametrize(
    ("name", "tensors", "message"),
    [
        ("gpt", {"transformer.ln_f.bias": torch.tensor(1.0)}, r"ln_f\.bias \(\) for \(24,\)"),
        ("gpt", {"transformer.wte.weight": torch.zeros(50, 4, 6)}, r"wte\.weight \(50, 4, 6\) for \(50, 24\)"),
        ("gpt", {"transformer.h.0.attn.c_attn.weight": torch.zeros(72, 24)}, r"\(72, 24\) for \(24, 72\)"),
        ("gpt", {"wte.weight": torch.zeros(50, 24)}, r"two tensors for one: .*wte\.weight"),
        ("gpt", {"transformer.ln_f.bias": torch.zeros(24, dtype=torch.int8)}, r"not ln_f\.bias \(I8\)"),
        ("gpt", {"transformer.ln_f.bias": torch.zeros(24, dtype=torch.bool)}, r"not ln_f\.bias \(BOOL\)"),
        ("gpt", {"transformer.ln_f.bias": torch.zeros(24, dtype=torch.complex64)}, r"not ln_f\.bias \(C64\)"),
        ("gpt", {"transformer.ln_f.bias": torch.zeros(24).to(torch.float8_e4m3fn)}, r"not ln_f\.bias \(F8_E4M3\)"),
        (
            "bert",
            {
                "bert.encoder.layer.0.attention.self.query.weight": torch.zeros(23, 24),
                "bert.encoder.layer.0.attention.self.key.weight": torch.zeros(25, 24),
            },
            r"query\.weight \(23, 24\) for \(24, 24\), .*key\.weight \(25, 24\)",
        ),
        ("mamba2", {"backbone.layers.0.mixer.conv1d.weight": torch.zeros(64, 4)}, r"conv1d\.weight \(64, 4\) for"),
        ("griffin", {"frontend.embedding.weight": torch.zeros(50, 6, 4)}, r"\(50, 6, 4\) for \(50, 24\)"),
        ("griffin", {"frontend.embedding.weight": torch.zeros(50, 24, dtype=torch.int64)}, r"\(I64\)"),
        ("griffin", {"more": torch.zeros(1)}, "not known: more"),
    ],
)
def test_tensors_that_are_not_those_of_the_settings_are_named(name, tensors, message, tmp_path) -> None:
    written(name, tmp_path)
    with_tensors(tmp_path, tensors)
    with pytest.raises(ValueError, match=message):
        seqloom.load(tmp_path)


def test_masks_that_old_files_hold_may_be_of_any_type(tmp_path) -> None:
    written("gpt", tmp_path)
    with_tensors(tmp_path, {"transformer.h.0.attn.bias": torch.ones(1, 1, 16, 16, dtype=torch.bool)})
    seqloom.load(tmp_path)


def test_one_tensor_in_two_parts_is_refused(tmp_path) -> None:
    written("gpt", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    save_file(tensors, tmp_path / "a.safetensors")
    save_file({"transformer.wte.weight": tensors["transformer.wte.weight"]}, tmp_path / "b.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "a.safetensors") | {"transformer.wte.weight": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"'transformer\.wte\.weight' is in two files: 'a.*' and 'b"):
        seqloom.load(tmp_path)


def test_a_spec_of_usual_depth_is_not_too_deep(tmp_path) -> None:
    model = seqloom.build("hierarchical", vocabulary=11, width=16)
    inner = model.spec.backbone.replace(pattern=[Bidirectional(mixer={"name": "gru"})])
    spec = model.spec.replace(backbone=model.spec.backbone.replace(pattern=[inner, *model.spec.backbone.pattern]))
    assert to_data(seqloom.load(spec.build().save_pretrained(tmp_path)).spec) == to_data(spec)

"""What is fetched of a hub's name: config.json first, then nothing but weights of a known form and the tokenizer."""

import fnmatch
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import seqloom


class EntryNotFoundError(Exception):
    pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of one repository, a folder, whose client notes what is asked for."""
    remote, cache = tmp_path / "remote", tmp_path / "cache" / "snapshots" / "c0ffee"
    seqloom.build("gpt", vocabulary=11, width=16, seed=4).save_pretrained(remote)
    for extra in ("pytorch_model.bin", "onnx.txt", "other.safetensors", "vocab.json", "README.json"):
        (remote / extra).write_bytes(b"{}")
    asked: list[tuple[str, str | None]] = []

    def hf_hub_download(name: str, file: str, revision: str | None = None) -> str:
        asked.append((file, revision))
        if not (remote / file).exists():
            raise EntryNotFoundError(f"404: {file}")
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copy(remote / file, cache / file)
        return str(cache / file)

    def snapshot_download(name: str, revision: str | None = None, allow_patterns: list[str] | None = None) -> str:
        for path in remote.iterdir():
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in allow_patterns or ["*"]):
                hf_hub_download(name, path.name, revision)
        return str(cache)

    client = ModuleType("huggingface_hub")
    client.__dict__.update(
        hf_hub_download=hf_hub_download,
        snapshot_download=snapshot_download,
        errors=SimpleNamespace(EntryNotFoundError=EntryNotFoundError),
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    return SimpleNamespace(remote=remote, asked=asked)


def parted(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    index = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
    for part in set(index.values()):
        save_file({name: tensors[name] for name in names if index[name] == part}, folder / part)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


@pytest.mark.parametrize("parts", [False, True])
def test_only_weights_and_the_tokenizer_are_fetched_of_one_commit(parts, hub) -> None:
    if parts:
        parted(hub.remote)
    model = seqloom.load("someone/small", revision="main")
    expected = seqloom.build("gpt", vocabulary=11, width=16, seed=4)
    assert all(torch.equal(p, expected.get_parameter(key)) for key, p in model.named_parameters())
    assert hub.asked[0] == ("config.json", "main")
    assert {revision for _, revision in hub.asked[1:]} == {"c0ffee"}
    fetched = {name for name, _ in hub.asked}
    weights = {"model.safetensors"}
    if parts:
        weights |= {"model.safetensors.index.json", "part-0.safetensors", "part-1.safetensors"}
    assert fetched == {"config.json", "vocab.json"} | weights


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"model_type": "llama"}, "is of a 'llama'"), ({"quantization_config": {"bits": 4}}, "quantised")],
)
def test_nothing_more_is_fetched_of_what_cannot_be_loaded(settings, message, hub) -> None:
    config = json.loads((hub.remote / "config.json").read_text())
    (hub.remote / "config.json").write_text(json.dumps({**config, **settings}))
    with pytest.raises(ValueError, match=message):
        seqloom.load("someone/small")
    assert [name for name, _ in hub.asked] == ["config.json"]


def test_an_index_cannot_ask_for_files_elsewhere(hub) -> None:
    (hub.remote / "model.safetensors").unlink()
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (hub.remote / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="files outside its folder"):
        seqloom.load("someone/small")
    assert "../secret.safetensors" not in [name for name, _ in hub.asked]


def test_what_the_hub_lacks_is_told(hub) -> None:
    (hub.remote / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"the hub did not give it: 404: model\.safetensors"):
        seqloom.load("someone/small")
    (hub.remote / "config.json").unlink()
    with pytest.raises(ValueError, match=r"there is no folder 'someone/small', and the hub did not give it: 404"):
        seqloom.load("someone/small")

"""Load a model from a folder or a hub's name, and save one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import pydantic
import torch
from torch import Tensor

from seqloom.core.registry import nearest
from seqloom.core.spec import explain, to_data
from seqloom.hub.bert import BERT
from seqloom.hub.files import (
    COMPANIONS,
    CONFIG,
    INDEX,
    WEIGHTS,
    companions,
    indexed,
    read_headers,
    read_json,
    write_file,
    write_weights,
)
from seqloom.hub.form import Form, filled, give, listed, outlined, take
from seqloom.hub.gpt2 import GPT2
from seqloom.hub.mamba2 import Mamba2
from seqloom.hub.own import Own
from seqloom.model.model import Model, ModelSpec

FORMS: dict[str, Form] = {form.model_type: form for form in (BERT(), GPT2(), Mamba2())}


@dataclass(frozen=True)
class Origin:
    """What a loaded folder held besides our weights, for `save` to write back."""

    config: dict[str, Any]
    names: dict[str, str] = field(default_factory=dict)  # a rule's name of a tensor -> the file's
    rest: dict[str, Tensor] = field(default_factory=dict)  # tensors without a use here
    files: dict[str, bytes] = field(default_factory=dict)  # the tokenizer's and other companions


def load(name: str | Path, revision: str | None = None, *, trust: bool = False) -> Model:
    """Return the model in a folder, or of a name on the Hugging Face hub, in evaluation mode, on the CPU.

    Folders: BERT, GPT-2 and Mamba-2 as transformers' `save_pretrained` writes them, and what our `save` wrote. Halves
    are widened to float32, float64 stays. Only safetensors are read; work and memory follow the file's size.

    Args:
        name: a folder, or a hub's name such as "openai-community/gpt2", which is fetched to the hub's cache.
        revision: of a hub's name.
        trust: import code outside seqloom that a config.json of ours names, such as a mixer of yours.

    Raises:
        ValueError: no such folder; an architecture or a setting that is not known; missing, left-over or misshapen
            tensors, listed; quantised ones; a pickle; a damaged or hostile file; a hub's name without huggingface_hub
            installed.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _fetched(str(name), revision)
    config = read_json(folder / CONFIG)
    form = _form_of(config, folder / CONFIG, trust)
    stored = read_headers(folder)
    try:
        spec = form.spec(config, form.renamed(stored).values())
    except pydantic.ValidationError as error:
        raise ValueError(f"'{folder / CONFIG}' has a wrong setting: {explain(error.title, error)}") from None
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"'{folder / CONFIG}' lacks a setting, or has one of another type: {error}") from None
    model = outlined(spec, stored)
    taken = take(form, spec, stored, {key: tensor.shape for key, tensor in model.state_dict().items()})
    model = filled(model, taken.tensors)
    model.origin = Origin(config, taken.names, taken.rest, companions(folder))
    return model.eval()


def save(model: Model, folder: Path) -> Path:
    """Write a model to a folder: in Hugging Face's form if it is a BERT, GPT-2 or Mamba-2, else in our own.

    What was loaded is written back key for key, with the tokenizer; `transformers` loads it. Dropout that their form
    cannot say is written as the nearest that it can.

    Raises:
        ValueError: the folder cannot be written; the model holds other tensors than its spec says, as a wrapped one.
    """
    origin: Origin | None = model.origin
    ours = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    _unwrapped(model.spec, ours)
    form, config = _form(model.spec)
    found = give(form, model.spec, ours)
    if origin is not None and origin.config.get("model_type") == form.model_type != Own.model_type:
        config = {**config, **origin.config}
        found |= {name: tensor for name, tensor in origin.rest.items() if not _tied(name)}
        found = {origin.names.get(name, name): tensor for name, tensor in found.items()}
    else:
        found = {form.prefixed(name, model.spec): tensor for name, tensor in found.items()}
    dtype = str(reduce(torch.promote_types, (tensor.dtype for tensor in ours.values()))).removeprefix("torch.")
    config |= {key: dtype for key in ("dtype", "torch_dtype") if key == "dtype" or key in config}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / CONFIG, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())
        for name, content in (origin.files if origin else {}).items():
            write_file(folder / name, content)
        write_weights(folder, found)
    except OSError as error:
        raise ValueError(f"cannot write '{folder}': {error.strerror}") from None
    return folder


def _form_of(config: dict[str, Any], path: Path, trust: bool) -> Form:
    """Return the form that a config.json is of."""
    if config.get("quantization_config"):
        raise ValueError(f"'{path}' has a quantization_config: quantised checkpoints cannot be loaded")
    kind = config.get("model_type")
    if kind == Own.model_type:
        return Own(trust)
    if not isinstance(kind, str) or kind not in FORMS:
        raise ValueError(f"'{path}' is of a '{kind}'{nearest(str(kind), sorted([*FORMS, Own.model_type]))}")
    return FORMS[kind]


def _form(spec: ModelSpec) -> tuple[Form, dict[str, Any]]:
    """Return the form that a model has, and its config.json."""
    plain = _architecture(to_data(spec))
    for form in FORMS.values():
        try:
            config = form.config(spec)
            again = form.spec(config, {name for rule in form.rules(spec) for name in rule.theirs})
        except (AttributeError, KeyError, IndexError, ValueError):
            continue
        if _architecture(to_data(again)) == plain:
            return form, config
    return Own(), Own().config(spec)


def _architecture(data: Any) -> Any:
    """Return a spec's data without what makes no difference to a trained model: dropout, and the unit of a metric."""
    if isinstance(data, dict):
        return {key: _architecture(value) for key, value in data.items() if key not in ("dropout", "unit")}
    return [_architecture(value) for value in data] if isinstance(data, list) else data


def _unwrapped(spec: ModelSpec, ours: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in spec.build().state_dict().items()}
    given = {name: tensor.shape for name, tensor in ours.items()}
    if given != wanted:
        other = sorted(name for name in given.keys() | wanted.keys() if given.get(name) != wanted.get(name))
        raise ValueError(
            f"the model holds other tensors than its spec says: {listed(other)}. If it is wrapped by an adapter of "
            "peft, save what its merge_and_unload() gives"
        )


def _tied(name: str) -> bool:
    # written again by transformers from the token table; a copy would go stale when that is trained
    return name in ("lm_head.weight", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")


def _fetched(name: str, revision: str | None) -> Path:
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ValueError(f"there is no folder '{name}'")
    try:
        import huggingface_hub as hub
    except ImportError:
        raise ValueError(
            f"there is no folder '{name}', and fetching it from the hub needs huggingface_hub: "
            "pip install 'seqloom[hub]'"
        ) from None
    with _explained(name):
        config = Path(hub.hf_hub_download(name, CONFIG, revision=revision))
    _form_of(read_json(config), config, trust=True)  # before anything large is fetched
    commit, folder = config.parent.name, config.parent  # all files of the one commit that config.json is of
    with _explained(name):
        hub.snapshot_download(name, revision=commit, allow_patterns=[INDEX, *COMPANIONS])
        try:
            hub.hf_hub_download(name, WEIGHTS, revision=commit)
        except hub.errors.EntryNotFoundError:
            if not (folder / INDEX).exists():
                raise
            for part in indexed(folder):
                hub.hf_hub_download(name, part, revision=commit)
    return folder


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  the hub's client raises many kinds, from its own and from HTTP libraries
        raise ValueError(f"there is no folder '{name}', and the hub did not give it: {error}") from None

"""Load a model from a folder or a hub's name, and save one."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from seqloom.core.registry import nearest
from seqloom.core.spec import to_data
from seqloom.data.tokens import hub_tokenizer
from seqloom.hub.bert import BERT
from seqloom.hub.files import CONFIG, WEIGHTS, companions, read_json, read_weights, widened
from seqloom.hub.form import Form, give, take
from seqloom.hub.gpt2 import GPT2
from seqloom.hub.mamba2 import Mamba2
from seqloom.model.head import NextToken
from seqloom.model.model import Model, ModelSpec

FORMS: dict[str, Form] = {form.model_type: form for form in (BERT(), GPT2(), Mamba2())}
OWN = "seqloom"
_PATTERNS = ["*.json", "*.safetensors", "*.txt"]


@dataclass(frozen=True)
class Origin:
    """What a loaded folder held besides our weights, for `save` to write back."""

    config: dict[str, Any]
    names: dict[str, str] = field(default_factory=dict)  # a rule's name of a tensor -> the file's
    rest: dict[str, Tensor] = field(default_factory=dict)  # tensors without a use here
    files: dict[str, bytes] = field(default_factory=dict)  # the tokenizer's and other companions


def load(name: str | Path, revision: str | None = None) -> Model:
    """Return the model in a folder, or of a name on the Hugging Face hub, in evaluation mode, on the CPU.

    Folders: BERT, GPT-2 and Mamba-2 as transformers' `save_pretrained` writes them, and what our `save` wrote. Halves
    are widened to float32. Only safetensors are read.

    Args:
        name: a folder, or a hub's name such as "openai-community/gpt2", which is fetched to the hub's cache.
        revision: of a hub's name.

    Raises:
        ValueError: no such folder; an architecture or a setting that is not known; missing, left-over or misshapen
            tensors, listed; a pickle; a damaged or hostile file; a hub's name without huggingface_hub installed.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _fetched(str(name), revision)
    config = read_json(folder / CONFIG)
    kind = config.get("model_type")
    found = widened(read_weights(folder))
    if kind == OWN:
        model = ModelSpec.from_json(json.dumps(config.get("spec"))).build()
        _fill(model, found)
        model.origin = Origin(config, files=companions(folder))
        return model.eval()
    if kind not in FORMS:
        raise ValueError(f"'{folder / CONFIG}' is of a '{kind}'{nearest(str(kind), sorted([*FORMS, OWN]))}")
    form = FORMS[kind]
    try:
        spec = form.spec(config, found)
    except (KeyError, TypeError) as error:
        raise ValueError(f"'{folder / CONFIG}' lacks a setting, or has one of another type: {error}") from None
    model = spec.build()
    taken = take(form, spec, found, {key: tensor.shape for key, tensor in model.state_dict().items()})
    model.load_state_dict(taken.tensors)
    model.origin = Origin(config, taken.names, taken.rest, companions(folder))
    return model.eval()


def save(model: Model, folder: Path) -> Path:
    """Write a model to a folder: in Hugging Face's form if it is a BERT, GPT-2 or Mamba-2, else in our own.

    What was loaded is written back key for key, with the tokenizer; `transformers` loads it.

    Raises:
        ValueError: the folder cannot be written.
    """
    origin: Origin | None = model.origin
    ours = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    form, config = _form(model.spec)
    if form is None:
        config, found = {"model_type": OWN, "architectures": ["Model"], "spec": to_data(model.spec)}, ours
    else:
        shapes = _shapes(form, model.spec, ours)
        found = give(form, model.spec, ours, shapes)
        if origin is not None and origin.config.get("model_type") == form.model_type:
            config = {**config, **origin.config}
            found |= {name: tensor for name, tensor in origin.rest.items() if not _tied(name)}
            found = {origin.names.get(name, name): tensor for name, tensor in found.items()}
        else:
            found = {form.prefixed(name, model.spec): tensor for name, tensor in found.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for name, content in (origin.files if origin else {}).items():
            (folder / name).write_bytes(content)
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / WEIGHTS, {"format": "pt"})
    except OSError as error:
        raise ValueError(f"cannot write '{folder}': {error.strerror}") from None
    return folder


def tokenizer(model: Model) -> Any:
    """Return the tokenizer that came with a loaded model, of the `tokenizers` library.

    Raises:
        ValueError: none came along.
    """
    files = model.origin.files if model.origin is not None else {}
    if "tokenizer.json" not in files:
        raise ValueError("no tokenizer.json came with this model: add one to its folder")
    return hub_tokenizer(files["tokenizer.json"])


def _form(spec: ModelSpec) -> tuple[Form | None, dict[str, Any]]:
    """Return the form that a model has, and its config.json; (None, {}) if none."""
    plain = spec.replace(head=spec.head.replace(unit="token")) if isinstance(spec.head, NextToken) else spec
    for form in FORMS.values():
        try:
            config = form.config(spec)
            again = form.spec(config, {name for rule in form.rules(spec) for name in rule.theirs})
        except (AttributeError, KeyError, IndexError, ValueError):
            continue
        if again == plain:
            return form, config
    return None, {}


def _shapes(form: Form, spec: ModelSpec, ours: dict[str, Tensor]) -> dict[str, torch.Size]:
    # depthwise kernels stand as (C, 1, k) there
    conv = [rule for rule in form.rules(spec) if rule.theirs[0].endswith("conv1d.weight")]
    return {
        rule.theirs[0]: torch.Size((sum(len(ours[name]) for name in rule.ours), 1, ours[rule.ours[0]].shape[1]))
        for rule in conv
    }


def _tied(name: str) -> bool:
    # written again by transformers from the token table; a copy would go stale when that is trained
    return name in ("lm_head.weight", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")


def _fill(model: Model, found: dict[str, Tensor]) -> None:
    wanted = model.state_dict()
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    wrong = [key for key in set(wanted) & set(found) if wanted[key].shape != found[key].shape]
    if missing or extra or wrong:
        parts = (("missing", missing), ("not known", extra), ("of another shape", sorted(wrong)))
        told = "; ".join(f"{what}: {', '.join(keys[:8])}" for what, keys in parts if keys)
        raise ValueError(f"the tensors are not those of the model that config.json names; {told}")
    model.load_state_dict(found)


def _fetched(name: str, revision: str | None) -> Path:
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ValueError(f"there is no folder '{name}'")
    try:
        import huggingface_hub
    except ImportError:
        raise ValueError(
            f"there is no folder '{name}', and fetching it from the hub needs huggingface_hub: "
            "pip install 'seqloom[hub]'"
        ) from None
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=_PATTERNS))
    except Exception as error:  # noqa: BLE001  the hub's client raises many kinds, from its own and from HTTP libraries
        raise ValueError(f"there is no folder '{name}', and the hub did not give it: {error}") from None

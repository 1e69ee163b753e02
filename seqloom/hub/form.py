"""A form that checkpoints of others have: settings and names, theirs and ours, as one table for both directions."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqloom.model.model import ModelSpec

_SHOWN = 8  # keys that a message names


class Rule(NamedTuple):
    """Their tensors, one behind the other along dim 0, are ours, one behind the other; perhaps transposed."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    transposed: bool = False


def same(ours: str, theirs: str) -> Rule:
    """Return the rule of one tensor that only has another name."""
    return Rule((ours,), (theirs,))


class Form(ABC):
    """How one family of checkpoints names its settings and its tensors."""

    model_type: str

    @abstractmethod
    def spec(self, config: dict[str, Any], names: Iterable[str]) -> ModelSpec:
        """Return the model of a config.json; the names of the tensors tell which head there is.

        Raises:
            ValueError: a setting that our model does not have.
        """

    @abstractmethod
    def config(self, spec: ModelSpec) -> dict[str, Any]:
        """Return the config.json of one of our models, which `spec` turns back into the same if it has this form.

        Raises:
            AttributeError, KeyError, IndexError: it has not.
        """

    @abstractmethod
    def rules(self, spec: ModelSpec) -> list[Rule]:
        """Return the rules of all tensors."""

    def renamed(self, names: Iterable[str]) -> dict[str, str]:
        """Return for each of a file's names the one that `rules` use; buffers that hold nothing are left out."""
        return {name: name for name in names}

    @abstractmethod
    def prefixed(self, name: str, spec: ModelSpec) -> str:
        """Return a rule's name as transformers writes it."""

    def unused(self, spec: ModelSpec) -> set[str]:
        """Return names that may be there and that our model has no use for: kept, and written back."""
        return set()


@dataclass(frozen=True)
class Taken:
    """What a checkpoint gave: our tensors, the names as they stood in the file, and tensors without a use here."""

    tensors: dict[str, Tensor]
    names: dict[str, str]  # a rule's name -> the file's
    rest: dict[str, Tensor]


def take(form: Form, spec: ModelSpec, found: dict[str, Tensor], shapes: dict[str, torch.Size]) -> Taken:
    """Return our tensors from theirs.

    Raises:
        ValueError: keys are missing, left over or of another shape; the message lists them.
    """
    names = form.renamed(found)
    theirs = {new: found[old] for old, new in names.items()}
    rules = form.rules(spec)
    wanted = {name for rule in rules for name in rule.theirs}
    missing = sorted(wanted - set(theirs))
    extra = sorted(set(theirs) - wanted - form.unused(spec))
    if missing or extra:
        parts = [f"{what}: {_listed(keys)}" for what, keys in (("missing", missing), ("not known", extra)) if keys]
        raise ValueError(f"the tensors are not those of a {form.model_type} of this configuration; {'; '.join(parts)}")
    ours: dict[str, Tensor] = {}
    wrong: list[str] = []
    for rule in rules:
        whole = _joined([theirs[name] for name in rule.theirs], rule.transposed)
        sizes = [shapes[name][0] for name in rule.ours]
        rest = shapes[rule.ours[0]][1:]
        if whole.shape[0] != sum(sizes) or whole[0].numel() != rest.numel():
            wrong.append(f"{' + '.join(rule.theirs)} {tuple(whole.shape)} for {(sum(sizes), *rest)}")
            continue
        parts = whole.reshape(sum(sizes), *rest).split(sizes)
        ours.update(zip(rule.ours, (part.clone() for part in parts), strict=True))
    if wrong:
        raise ValueError(f"tensors of another shape than config.json says: {_listed(wrong)}")
    kept = {name: theirs[name] for name in set(theirs) - wanted}
    return Taken(ours, {new: old for old, new in names.items()}, kept)


def give(form: Form, spec: ModelSpec, ours: dict[str, Tensor], like: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Return their tensors from ours; `like` tells their shapes where several are one of ours, else all alike."""
    found: dict[str, Tensor] = {}
    for rule in form.rules(spec):
        whole = torch.cat([ours[name] for name in rule.ours])
        parts = whole.chunk(len(rule.theirs))
        for name, part in zip(rule.theirs, parts, strict=True):
            part = part.t() if rule.transposed and part.dim() == 2 else part
            found[name] = part.reshape(like.get(name, part.shape)).contiguous()
    return found


def _joined(parts: list[Tensor], transposed: bool) -> Tensor:
    return torch.cat([part.t() if transposed and part.dim() == 2 else part for part in parts])


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more


def expect(config: dict[str, Any], **settings: Any) -> None:
    """Raise ValueError unless settings that our model has only one value for have it, or are absent."""
    for name, value in settings.items():
        if config.get(name, value) != value:
            raise ValueError(f"config.json has {name} = {config[name]!r}; only {value!r} can be loaded")

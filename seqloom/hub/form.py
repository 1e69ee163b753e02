"""A form that checkpoints of others have: settings and names, theirs and ours, as one table for both directions."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from seqloom.hub.files import Stored, read_tensors
from seqloom.model.model import Model, ModelSpec

FLOATS = ("F64", "F32", "F16", "BF16")
_SHOWN = 8  # keys that a message names
_PARTS = 3  # of ours, at most, in one of theirs


class Rule(NamedTuple):
    """Their tensors, alike and one behind the other along dim 0, are ours, one behind the other."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    transposed: bool = False
    depthwise: bool = False  # kernels (C, k) stand as (C, 1, k) there

    def shape(self, shapes: Mapping[str, torch.Size]) -> tuple[int, ...]:
        """Return the shape that each of theirs must have, from those of ours."""
        first = shapes[self.ours[0]]
        if not first:
            return ()
        size, rest = sum(shapes[name][0] for name in self.ours) // len(self.theirs), first[1:]
        if self.depthwise:
            return (size, 1, *rest)
        return (*rest, size) if self.transposed else (size, *rest)


def same(ours: str, theirs: str) -> Rule:
    """Return the rule of one tensor that only has another name."""
    return Rule((ours,), (theirs,))


class Form(ABC):
    """How one family of checkpoints names its settings and its tensors."""

    model_type: str

    @abstractmethod
    def spec(self, config: Mapping[str, Any], names: Iterable[str]) -> ModelSpec:
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


def take(form: Form, spec: ModelSpec, stored: Mapping[str, Stored], shapes: Mapping[str, torch.Size]) -> Taken:
    """Return our tensors, of the given shapes, from theirs in files; numbers are read only where all is well.

    All are copies of one type, the widest there and at least float32.

    Raises:
        ValueError: tensors are missing, left over, there twice, of another shape or not of floats; the message lists
            them.
    """
    names: dict[str, str] = {}  # a rule's -> the file's
    for old, new in form.renamed(stored).items():
        if new in names:
            raise ValueError(f"two tensors for one: '{names[new]}' and '{old}'")
        names[new] = old
    rules = form.rules(spec)
    wanted = {name for rule in rules for name in rule.theirs}
    missing = sorted(wanted - set(names))
    extra = sorted(set(names) - wanted - form.unused(spec))
    if missing or extra:
        parts = [f"{what}: {listed(keys)}" for what, keys in (("missing", missing), ("not known", extra)) if keys]
        raise ValueError(f"the tensors are not those of the model that config.json names; {'; '.join(parts)}")
    found = {name: stored[old] for name, old in names.items()}
    others = sorted(f"{name} ({entry.dtype})" for name, entry in found.items() if entry.dtype not in FLOATS)
    if others:
        raise ValueError(f"only tensors of type {', '.join(FLOATS)} can be loaded, not {listed(others)}")
    wrong = [
        f"{name} {found[name].shape} for {rule.shape(shapes)}"
        for rule in rules
        for name in rule.theirs
        if found[name].shape != rule.shape(shapes)
    ]
    if wrong:
        raise ValueError(f"tensors of another shape than config.json says: {listed(wrong)}")
    views = read_tensors({old: stored[old] for old in names.values()})
    theirs = {name: views[old] for name, old in names.items()}
    dtype = torch.float64 if any(theirs[name].dtype == torch.float64 for name in wanted) else torch.float32
    ours: dict[str, Tensor] = {}
    for rule in rules:
        parts = [theirs[name].t() if rule.transposed else theirs[name] for name in rule.theirs]
        whole = _joined(parts)
        split = [whole] if len(rule.ours) == 1 else whole.split([shapes[name][0] for name in rule.ours])
        for name, part in zip(rule.ours, split, strict=True):
            ours[name] = part.reshape(shapes[name]).to(dtype, copy=True, memory_format=torch.contiguous_format)
    kept = {name: theirs[name].to(dtype, copy=True) for name in set(theirs) - wanted}
    return Taken(ours, names, kept)


def give(form: Form, spec: ModelSpec, ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return their tensors from ours."""
    found: dict[str, Tensor] = {}
    shapes = {name: tensor.shape for name, tensor in ours.items()}
    for rule in form.rules(spec):
        whole = _joined([ours[name] for name in rule.ours])
        parts = [whole] if len(rule.theirs) == 1 else whole.chunk(len(rule.theirs))
        for name, part in zip(rule.theirs, parts, strict=True):
            found[name] = (part.t() if rule.transposed else part).reshape(rule.shape(shapes)).contiguous()
    return found


def outlined(spec: ModelSpec, stored: Mapping[str, Stored]) -> Model:
    """Return the model on the meta device, without numbers: it costs what the file's table does, whatever `spec` says.

    Raises:
        ValueError: the model is wider than any tensor stored, has far more parameters, or cannot be built.
    """
    widest = max((size for entry in stored.values() for size in entry.shape), default=0)
    if spec.width > widest:
        raise ValueError(f"config.json names a model of width {spec.width}, but no tensor is wider than {widest}")
    try:
        with at_most(_PARTS * len(stored)), torch.device("meta"):
            return spec.build()
    except (RuntimeError, TypeError, OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"the model that config.json names cannot be built: {error}") from None


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """Raise ValueError as soon as this thread makes more parameters than that."""
    made, thread = 0, threading.get_ident()

    def counted(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal made
        made += threading.get_ident() == thread
        if made > count:
            raise ValueError(f"config.json names a model of more than {count} parameters, and the files have far fewer")

    handle = register_module_parameter_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()


def filled(model: Model, tensors: dict[str, Tensor]) -> Model:
    """Return an outlined model with its tensors, which become its parameters."""
    if any(buffer.is_meta for name, buffer in model.named_buffers() if name not in tensors):
        # what files do not hold, such as slopes, is computed from the spec
        model = model.spec.build().to(next(iter(tensors.values())).dtype)
    model.load_state_dict(tensors, assign=True)
    return model


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def listed(keys: list[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more


def expect(config: Mapping[str, Any], **settings: Any) -> None:
    """Raise ValueError unless settings that our model has only one value for have it, or are absent."""
    for name, value in settings.items():
        if config.get(name, value) != value:
            raise ValueError(f"config.json has {name} = {config[name]!r}; only {value!r} can be loaded")


def one_of(config: Mapping[str, Any], name: str, default: str, known: Iterable[str]) -> str:
    """Return a setting that is one of some words.

    Raises:
        ValueError: it is another.
    """
    value = config.get(name, default)
    if value not in list(known):
        raise ValueError(f"config.json has {name} = {value!r}; known: {', '.join(known)}")
    return value


def count(config: Mapping[str, Any], name: str, *default: int) -> int:
    """Return a setting that is a whole number above 0.

    Raises:
        ValueError: it is another; KeyError: it is absent and has no default.
    """
    value = config.get(name, *default) if default else config[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"config.json has {name} = {value!r}; it must be a whole number above 0")
    return value


def layers(config: Mapping[str, Any], name: str, tensors: Iterable[str]) -> int:
    """Return the number of layers, each of which has a tensor at least.

    Raises:
        ValueError: there are more layers than tensors.
    """
    number, held = count(config, name), len(set(tensors))
    if number > held:
        raise ValueError(f"config.json has {name} = {number}, but there are only {held} tensors")
    return number

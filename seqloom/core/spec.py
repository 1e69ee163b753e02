"""Specs: frozen, validated values that name a thing and build it.

A Spec is a pydantic dataclass, frozen and keyword-only, made so by subclassing. It is equal by value, hashable,
goes to JSON and back, and its digest is the same on every machine. A family of plug-ins is an abstract Spec with
a `folder`; a field of that type accepts a value, a registered name (`"gru"`), a dotted path
(`"package.module.Class"`), or a mapping with the key `name`.
"""

import dataclasses
import hashlib
import importlib
import json
from typing import Any, ClassVar, Self, TypeVar, cast, dataclass_transform

import pydantic
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import PydanticUndefined, core_schema

from seqloom.core import registry

S = TypeVar("S", bound="Spec")

_CONFIG = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True, validate_default=True)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,))
class Spec:
    """A frozen, validated, keyword-only value. Subclass it; fields are annotated class attributes."""

    folder: ClassVar[str | None] = None  # set on the abstract class of a plug-in folder

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        pydantic_dataclass(cls, frozen=True, kw_only=True, config=_CONFIG)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        if source is cls and "folder" in cls.__dict__ and cls.folder:
            return core_schema.no_info_plain_validator_function(
                lambda value: resolve(cls, value),
                serialization=core_schema.plain_serializer_function_ser_schema(to_data),
            )
        if not cls.folder:
            return handler(source)
        # a plug-in's data carries its name also where only this one class may stand
        return core_schema.no_info_before_validator_function(cls._without_name, handler(source))

    @classmethod
    def _without_name(cls, value: Any) -> Any:
        if isinstance(value, dict):
            data = cast("dict[str, Any]", value)
            if data.get("name") == cls.name():
                return {key: item for key, item in data.items() if key != "name"}
        return cast("Any", value)

    @classmethod
    def name(cls) -> str:
        """Return the registered name: the file's name inside a plug-in folder, else the dotted path."""
        module = cls.__module__
        if cls.folder and module.startswith(f"{registry.PACKAGE}.{cls.folder}."):
            return module.rsplit(".", 1)[1]
        return f"{module}.{cls.__qualname__}"

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces, defaults included."""
        return _canonical(to_data(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the Spec that `to_json` wrote.

        Raises:
            ValueError: the text is not JSON, or not a valid value of this Spec.
        """
        return resolve(cls, json.loads(text))

    def digest(self) -> str:
        """Return 12 hexadecimal digits of the SHA-256 of the canonical JSON; the same on every machine."""
        return digest_of(to_data(self))

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some fields changed."""
        return resolve(type(self), {**_fields(self), **changes})


def digest_of(data: Any) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of JSON data's canonical form."""
    return hashlib.sha256(_canonical(data).encode()).hexdigest()[:12]


def _canonical(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def to_data(value: Any) -> Any:
    """Return a Spec (or a container of them) as JSON data; a plug-in carries its registered `name`."""
    if isinstance(value, Spec):
        data = {key: to_data(item) for key, item in _fields(value).items()}
        return {"name": value.name(), **data} if value.folder else data
    if isinstance(value, dict):
        return {str(key): to_data(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, tuple | list):
        return [to_data(item) for item in cast("list[Any]", value)]
    return value


def resolve(family: type[S], value: Any) -> S:
    """Return a Spec of a family from a value, a name, a dotted path or a mapping.

    Raises:
        ValueError: unknown name or key (the nearest is suggested), or a value outside its rule.
    """
    if isinstance(value, family):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        raise ValueError(f"expected a {family.__name__}, its name or a mapping, got {value!r}")
    given = dict(cast("dict[str, Any]", value))
    cls = _find(family, given.pop("name")) if family.folder and "name" in given else family
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in given:
        if key not in known:
            raise ValueError(f"unknown key '{key}' of {cls.__name__}{registry.nearest(key, sorted(known))}")
    try:
        return cls(**given)
    except pydantic.ValidationError as error:
        raise ValueError(explain(cls.__name__, error)) from None


def explain(owner: str, error: pydantic.ValidationError) -> str:
    """Return one line a wrong value: where it is, what it is, which rule it breaks."""
    lines: list[str] = []
    for problem in error.errors():
        where = ".".join(str(part) for part in (owner, *problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            message = f"missing; give it, on the command line as --{str(problem['loc'][-1]).replace('_', '-')}"
        given = problem.get("input", PydanticUndefined)
        # a field that is absent, or a rule between several fields, has no one value to show
        shown = "" if problem["type"] == "missing" or not problem["loc"] else f" = {given!r}"
        lines.append(f"{where}{shown}: {message}")
    return "; ".join(lines)


def _fields(value: Spec) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}  # type: ignore[arg-type]


def _find(family: type[S], name: str) -> type[S]:
    assert family.folder is not None
    if "." in name:
        module_name, _, cls_name = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(module_name), cls_name)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"cannot import '{name}': {error}") from None
    else:
        entry = registry.look_up(family.folder, name)
        found = getattr(importlib.import_module(entry.module), entry.cls)
    if not (isinstance(found, type) and issubclass(found, family)):
        raise ValueError(f"'{name}' is not a {family.__name__}")
    return found

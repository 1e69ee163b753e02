"""Options that the command line takes from plug-ins: read from their files' syntax trees, before anything is imported.

A task's fields, a model's fields and the optimizer's fields become options of the verbs that need them, so that a new
plug-in file has its options, its help and the correction of its misspelt keys by itself.
"""

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from seqloom.core import registry
from seqloom.core.registry import Field

KINDS = ("task", "model", "optimizer")
SWEEP = "task sweep"  # the kind "task" where a whole number may be several, separated by commas
TimeText = Annotated[str, Parameter(allow_leading_hyphen=True)]  # so that a budget below 0 is told what a budget is
FromRun = Annotated[Path, Parameter(name="--from")]
OnFlag = Annotated[bool, Parameter(negative_bool="no-")]
_SCALARS: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}


class Numbers(tuple[int, ...]):
    """Several values of one whole number: a sweep, one task each."""


@dataclass(frozen=True)
class Given:
    """What the user gave of each kind, by field name; what was not given is absent and keeps its default."""

    task: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)


def task_named_in(words: list[str]) -> str | None:
    """Return the task that a verb's words name: the first word, else a known task among them, else that of --data."""
    if words and not words[0].startswith("-"):
        return words[0]
    known = registry.catalog("tasks")
    for before, word in zip(words, words[1:], strict=False):
        if word in known and (not before.startswith("--") or "=" in before):
            return word
    return "classify" if any(word.partition("=")[0] == "--data" for word in words) else None


def models_named_in(words: list[str]) -> list[str]:
    """Return the models that --model or --models name, before parsing and without sizes; all when neither is given."""
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in ("--model", "--models"):
            value = value if equals else "".join(words[index + 1 : index + 2])
            return [name.partition(":")[0] for name in split_names(value)]
    return list(registry.catalog("zoo"))


def split_names(text: str) -> list[str]:
    """Return the names of a comma-separated list.

    Raises:
        ValueError: no name, or one named twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ValueError(f"'{text}' names nothing; give names separated by commas, such as gru,transformer")
    if len(set(names)) < len(names):
        raise ValueError(f"'{text}' names one twice; name each once")
    return names


def whole_numbers(option: str, text: str) -> list[int]:
    """Return the whole numbers above 0 of a comma-separated list.

    Raises:
        ValueError: something else stands there.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"{option} '{text}': give whole numbers above 0, separated by commas, such as 256,1024")
    return [int(part) for part in parts]


def number_or_numbers(option: str, text: str) -> "int | Numbers":
    """Return a whole number, or those of a comma-separated list: one task each. What is allowed is the task's to say.

    Raises:
        ValueError: something else stands there, or one number twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[+-]?[0-9]+", part) for part in parts):
        raise ValueError(f"{option} '{text}': give a whole number, or several separated by commas, such as 4,6,8")
    numbers = [int(part) for part in parts]
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{option} '{text}' names a number twice; give each once")
    return Numbers(numbers) if len(numbers) > 1 else numbers[0]


def each_of(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of every task that a sweep asks for: the product of what has several values."""
    values = [value if isinstance(value, Numbers) else [value] for value in task.values()]
    return [dict(zip(task, chosen, strict=True)) for chosen in product(*values)]


def fields_of(kind: str, words: list[str]) -> list[Field]:
    """Return the fields that a verb's words make available for one of the KINDS.

    Raises:
        ValueError: unknown task or model; the nearest is suggested.
    """
    if kind == "optimizer":
        return list(registry.read_class("train/experiment.py", "Optimizer").fields)
    if kind == "task":
        task = task_named_in(words)
        return list(registry.look_up("tasks", task).fields) if task and "." not in task else []
    merged: dict[str, Field] = {}
    for name in models_named_in(words):
        if "." not in name:
            merged.update({f.name: f for f in registry.look_up("zoo", name).fields if f.name not in merged})
    return list(merged.values())


def with_options(verb: Callable[..., Any], kinds: Iterable[str], words: list[str]) -> Callable[..., Any]:
    """Return a verb whose signature holds the fields of some kinds as options; they reach it as `given=Given(...)`.

    An option whose name the verb or an earlier kind already uses is called by its kind, e.g. `--model-length`. With the
    kind SWEEP a task's whole number may be several: they reach the verb as `Numbers`.
    """
    signature = inspect.signature(verb)
    if "given" not in signature.parameters:
        return verb
    own = [p for p in signature.parameters.values() if p.name != "given"]
    taken = {p.name for p in own}
    places: dict[str, tuple[str, Field]] = {}
    extra: list[inspect.Parameter] = []
    sweeps: set[str] = set()
    for wanted in kinds:
        kind = "task" if wanted == SWEEP else wanted
        group = Group(f"{kind.capitalize()} options", sort_key=KINDS.index(kind) + 10)
        for item in fields_of(kind, words):
            name = item.name if item.name not in taken else f"{kind}_{item.name}"
            taken.add(name)
            places[name] = (kind, item)
            swept = wanted == SWEEP and _type(item.annotation) is int
            sweeps |= {name} if swept else set()
            extra.append(_parameter(name, item, group, swept))

    def call(*args: Any, **kwargs: Any) -> Any:
        given = Given()
        for name in [name for name in kwargs if name in places]:
            kind, item = places[name]
            value = kwargs.pop(name)
            option = f"--{name.replace('_', '-')}"
            told = number_or_numbers(option, value) if name in sweeps else _value(item, value)
            getattr(given, kind)[item.name] = told
        return verb(*args, **kwargs, given=given)

    call.__doc__ = verb.__doc__
    call.__name__ = verb.__name__
    setattr(call, "__signature__", signature.replace(parameters=[*own, *extra]))  # noqa: B010
    call.__annotations__ = {p.name: p.annotation for p in (*own, *extra)}
    return call


def _parameter(name: str, item: Field, group: Group, swept: bool) -> inspect.Parameter:
    several = "; several: separated by commas" if swept else ""
    default = "" if item.default in (None, "None") else f" [default: {item.default}]"
    negative = () if item.default == "False" else "no-"  # a flag that is off needs no second way to be off
    about = Parameter(
        help=item.doc + several + default, group=group, negative_bool=negative, allow_leading_hyphen=swept
    )
    annotation = Annotated[(str if swept else _type(item.annotation)) | None, about]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _type(annotation: str) -> Any:
    """Return the type that the command line checks; what only the Spec can check stays a string."""
    tree = ast.parse(annotation, mode="eval").body
    if isinstance(tree, ast.Subscript) and ast.unparse(tree.value) == "Annotated" and isinstance(tree.slice, ast.Tuple):
        tree = tree.slice.elts[0]
    if isinstance(tree, ast.BinOp):
        sides = [part for part in ast.unparse(tree).split(" | ") if part != "None"]
        if len(sides) != 1:
            return str
        tree = ast.parse(sides[0], mode="eval").body
    if isinstance(tree, ast.Subscript) and ast.unparse(tree.value) == "Literal":
        choices = ast.literal_eval(tree.slice)
        choices = choices if isinstance(choices, tuple) else (choices,)
        return Literal[choices] if all(isinstance(c, str) for c in choices) else str
    return _SCALARS.get(ast.unparse(tree), str)


def _value(item: Field, value: Any) -> Any:
    if not isinstance(value, str) or item.annotation in ("str", "str | None"):
        return value  # text is text, also where it begins as JSON does
    if value[:1] in "[{" and value:
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"--{item.name.replace('_', '-')} '{value}' is not JSON: {error}") from None
    words = {part.strip() for part in item.annotation.replace("[", " | ").replace(",", " | ").split("|")}
    if "tuple" in words or "list" in words:
        return [part.strip() for part in value.split(",")]
    if {"int", "str"} <= words and value.isdecimal():
        return int(value)  # a column's number
    return value

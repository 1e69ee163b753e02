"""Folders are the registry: what plug-ins there are, read from their syntax trees.

Listing names, printing help and correcting a misspelt name must cost milliseconds, so nothing here imports torch,
pydantic or the plug-in files themselves. One plug-in file defines exactly one public class that derives
(by name) from the folder's base class; the file's name is the registered name. Fields that it has from other bases,
which stand in private files of the folder (`_name.py`), are its fields too.
"""

import ast
import contextlib
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = "seqloom"
ROOT = Path(__file__).resolve().parent.parent

# folder -> (name of the abstract class that its plug-ins derive from, file that defines it)
FOLDERS = {
    "mixers": ("MixerSpec", "model/mixer.py"),
    "zoo": ("Architecture", "zoo/architecture.py"),
    "tasks": ("Task", "tasks/task.py"),
    "parallel": ("Strategy", "parallel/plan.py"),
}


@dataclass(frozen=True)
class Field:
    """One field of a plug-in's Spec as its source states it."""

    name: str
    annotation: str
    default: str | None
    doc: str


@dataclass(frozen=True)
class Entry:
    """One plug-in: its registered name, its class, its first docstring line, its fields and its class attributes."""

    name: str
    cls: str
    module: str
    summary: str
    fields: tuple[Field, ...]
    attributes: dict[str, object]


@cache
def catalog(folder: str) -> dict[str, Entry]:
    """Return the plug-ins of one of the FOLDERS by registered name, in alphabetical order."""
    base, file = FOLDERS[folder]
    common = _class(ROOT / file, lambda node: node.name == base)
    shared = _body(*common)[0] if common else ()
    entries: dict[str, Entry] = {}
    for path in sorted((ROOT / folder).glob("*.py")):
        if path.stem.startswith("_"):
            continue
        entry = _read(path, folder, base, shared)
        if entry is not None:
            entries[entry.name] = entry
    return entries


def kernels() -> dict[str, list[str]]:
    """Return op name -> names of its kernel files, `ops/<op>_<kernel>.py`, without importing them."""
    stems = sorted(path.stem for path in (ROOT / "ops").glob("*.py"))
    found = {op: [s.removeprefix(op + "_") for s in stems if s.startswith(op + "_")] for op in stems if "_" not in op}
    return {op: names for op, names in found.items() if names}


def nearest(word: str, known: list[str]) -> str:
    """Return ". Did you mean 'x'?" for the closest known word, or the list of all when none is close."""
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    if close:
        return f". Did you mean '{close[0]}'?"
    return f". Known: {', '.join(known)}."


def look_up(folder: str, name: str) -> Entry:
    """Return the entry of a registered name.

    Raises:
        ValueError: no such plug-in; the message suggests the nearest name.
    """
    known = catalog(folder)
    if name not in known:
        kind = {"zoo": "model", "parallel": "strategy"}.get(folder, folder.removesuffix("s"))
        raise ValueError(f"unknown {kind} '{name}'{nearest(name, list(known))}")
    return known[name]


@cache
def read_class(file: str, cls: str) -> Entry:
    """Return a class of one of our files, e.g. ("train/experiment.py", "Optimizer"), as the listing shows plug-ins."""
    found = _class(ROOT / file, lambda node: node.name == cls)
    assert found is not None, f"{file} has no class {cls}"
    fields, attributes = _body(*found)
    summary = (ast.get_docstring(found[0]) or "").partition("\n")[0]
    module = ".".join([PACKAGE, *Path(file).with_suffix("").parts])
    return Entry(cls, cls, module, summary, fields, attributes)


def _read(path: Path, folder: str, base: str, shared: tuple[Field, ...]) -> Entry | None:
    def is_plug_in(node: ast.ClassDef) -> bool:
        bases = (ast.unparse(b).split(".")[-1] for b in node.bases)
        return not node.name.startswith("_") and base in bases

    found = _class(path, is_plug_in)
    if found is None:
        return None
    fields, attributes = _body(*found)
    # a field that is stated anew keeps its place, as in a dataclass
    merged = {field.name: field for field in (*shared, *_inherited(path.parent, found[0]), *fields)}
    fields = tuple(merged.values())
    summary = (ast.get_docstring(found[0]) or "").partition("\n")[0]
    return Entry(path.stem, found[0].name, f"{PACKAGE}.{folder}.{path.stem}", summary, fields, attributes)


def _inherited(folder: Path, node: ast.ClassDef) -> list[Field]:
    """Return the fields of a class's bases in private files of its folder, those of the last base first."""
    fields: list[Field] = []
    for base in reversed(node.bases):
        name = ast.unparse(base).split(".")[-1]
        files = (path for path in sorted(folder.glob("_*.py")) if path.stem != "__init__")
        found = next(filter(None, (_class(path, lambda node, name=name: node.name == name) for path in files)), None)
        if found is not None:
            fields += [*_inherited(folder, found[0]), *_body(*found)[0]]
    return fields


def _class(path: Path, wanted: Callable[[ast.ClassDef], bool]) -> tuple[ast.ClassDef, list[str]] | None:
    if not path.exists():
        return None
    source = path.read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and wanted(node):
            return node, source.splitlines()
    return None


def _body(node: ast.ClassDef, lines: list[str]) -> tuple[tuple[Field, ...], dict[str, object]]:
    """Return the annotated fields and the literal class attributes of a class."""
    fields: list[Field] = []
    attributes: dict[str, object] = {}
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            annotation = ast.unparse(item.annotation)
            if annotation.startswith("ClassVar"):
                _keep_literal(attributes, item.target.id, item.value)
                continue
            comment = lines[item.end_lineno - 1].partition("  # ")[2].strip() if item.end_lineno else ""
            fields.append(Field(item.target.id, annotation, _default(item.value), comment))
        elif isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
            _keep_literal(attributes, item.targets[0].id, item.value)
    return tuple(fields), attributes


def _default(value: ast.expr | None) -> str | None:
    """Return a field's default as written, also from inside `Field(default=…)`; None where a value must be given."""
    if isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1].lower() == "field":
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        value = value.args[0] if value.args else given.get("default", given.get("default_factory"))
    return None if value is None or ast.unparse(value) == "..." else ast.unparse(value)


def _keep_literal(into: dict[str, object], name: str, value: ast.expr | None) -> None:
    with contextlib.suppress(ValueError):  # a class attribute that is computed is not part of the listing
        into[name] = ast.literal_eval(value) if value is not None else None

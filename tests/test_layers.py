"""One door for each hazard, checked on the syntax trees; import-linter checks the layers in `make check`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import seqloom

ROOT = Path(seqloom.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def dotted(node: ast.AST) -> str:
    """Return a.b.c of an attribute chain, else an empty string."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def uses(tree: ast.AST) -> Iterator[str]:
    """Yield every module imported and every attribute chain and called name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield dotted(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield f"{node.func.id}("


# hazard -> the files, relative to the package, that may touch it
DOORS = {
    "os.environ": ("core/runtime.py",),
    "os.getenv": ("core/runtime.py",),
    "triton": ("ops/*_triton.py",),
    "torch.distributed": ("parallel/*.py", "train/checkpoint.py"),
    "jinja2": ("lab/report*.py",),
    "duckdb": ("data/*.py",),
    "socket": ("serve/server.py", "core/runtime.py"),  # the latter asks for the way to a machine, and sends nothing
    "urllib": ("data/fetch.py",),
    "http": ("data/fetch.py", "serve/server.py"),
    "requests": (),
    "pickle": (),
    "torch.load": (),
    "torch.save": (),
    "print(": ("cli.py",),
    "eval(": (),
    "exec(": (),
}


@pytest.mark.parametrize("hazard", DOORS)
def test_a_hazard_has_one_door(hazard):
    found = [
        str(path.relative_to(ROOT))
        for path in FILES
        if not any(path.relative_to(ROOT).match(door) for door in DOORS[hazard])
        and any(use == hazard or use.startswith(hazard + ".") for use in uses(ast.parse(path.read_text())))
    ]
    assert not found, f"{hazard} belongs in {DOORS[hazard] or 'no file'}, found in {found}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_opens_by_saying_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("folder", ["mixers", "zoo", "tasks"])
def test_plug_ins_of_a_folder_never_import_each_other(folder):
    from seqloom.core import registry

    names = set(registry.catalog(folder))
    for name in names:
        tree = ast.parse((ROOT / folder / f"{name}.py").read_text())
        others = {f"seqloom.{folder}.{other}" for other in names - {name}}
        assert not others & set(uses(tree)), name

"""BibTeX of what a run, or named models, tasks and mixers, stand on.

A plug-in names its source as a class attribute of literals,
`source: ClassVar[tuple[str, ...]] = ("key", "Authors", "Title", "Year", "arXiv:… or doi:…")`, or a tuple of such
tuples; `cites` where it has a setting of the name `source`. It is read from the syntax tree, so nothing is imported.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seqloom.core import registry

FOLDERS = ("zoo", "mixers", "tasks")

# what every run stands on, whatever its parts
ALWAYS = (
    (
        "paszke2019",
        "Paszke, A. and others",
        "PyTorch: An Imperative Style, High-Performance Deep Learning Library",
        "2019",
        "arXiv:1912.01703",
    ),
    (
        "loshchilov2019",
        "Loshchilov, I. and Hutter, F.",
        "Decoupled Weight Decay Regularization",
        "2019",
        "arXiv:1711.05101",
    ),
)


def cite(names: Iterable[str] = (), run: Path | None = None) -> dict[str, str]:
    """Return citation key -> BibTeX entry of named plug-ins and of all that a run directory used.

    Raises:
        ValueError: a name that no folder knows (the nearest is suggested), or a directory without a readable run.json.
    """
    wanted = list(names)
    sources: list[tuple[str, ...]] = []
    if run is not None:
        wanted += sorted(_names_in(_read_run(run)))
        sources += ALWAYS
    known = sorted({name for folder in FOLDERS for name in registry.catalog(folder)})
    for name in wanted:
        if name not in known:
            raise ValueError(f"nothing is called '{name}'{registry.nearest(name, known)}")
        sources += _sources(name)
    return {source[0]: bibtex(source) for source in sources}


def bibtex(source: tuple[str, ...]) -> str:
    """Return one BibTeX entry of (key, authors, title, year, identifier)."""
    key, authors, title, year, identifier = source
    scheme, _, rest = identifier.partition(":")
    fields = {"author": _escape(authors), "title": "{" + _escape(title) + "}", "year": year}
    if scheme.lower() == "arxiv":
        fields |= {"eprint": rest, "archivePrefix": "arXiv", "url": f"https://arxiv.org/abs/{rest}"}
    elif scheme.lower() == "doi":
        fields |= {"doi": rest, "url": f"https://doi.org/{rest}"}
    else:
        fields["note"] = _escape(identifier)
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{{key},\n{body}\n}}"


def _escape(text: str) -> str:
    return re.sub(r"([&%#$_])", r"\\\1", text)


def _sources(name: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for folder in FOLDERS:
        entry = registry.catalog(folder).get(name)
        source: Any = (entry.attributes.get("source") or entry.attributes.get("cites")) if entry else None
        if source:
            found += [source] if isinstance(source[0], str) else list(source)
    return found


def _read_run(run: Path) -> dict[str, Any]:
    path = run / "run.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"'{run}' is not a run directory: {path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def _names_in(data: Any) -> Iterator[str]:
    """Yield every registered name that stands as a `name` or as a key of tasks and models, anywhere in a run.json."""
    known = {name for folder in FOLDERS for name in registry.catalog(folder)}
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "name" and value in known:
                yield value
            if key in ("tasks", "models") and isinstance(value, dict):
                yield from (name for name in value if name in known)
            yield from _names_in(value)
    elif isinstance(data, list):
        for item in data:
            yield from _names_in(item)

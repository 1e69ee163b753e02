"""Named sources: public data sets by name, `source:NAME` where a task takes data. A source is a file in `sources/`.

A source is looked for in the folder of real data (SEQLOOM_DATA), then in the cache, and is fetched only then. What was
fetched is held to its SHA-256: the published one where it is known, else that of the first fetch.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from seqloom.core import runtime
from seqloom.core.registry import nearest
from seqloom.data.cache import locked
from seqloom.data.fetch import Download, digests, fetch, fresh, unpack
from seqloom.data.lines import file_digest
from seqloom.data.telling import tell

PREFIX = "source:"
_RECORD = "fetched.json"


@dataclass(frozen=True, kw_only=True)
class Named:
    """A public data set.

    Args:
        title: what it is, in a line.
        licence: under which it may be used.
        citation: key, authors, title, year and where, of the work to cite.
        folder: its name in SEQLOOM_DATA.
        files: that it has, as they are named there.
        downloads: where these come from.
        sha256: of files, where those in SEQLOOM_DATA were seen to be the published ones byte for byte.
        tasks: settings of each task that reads it; values that begin with ./ are paths in its folder.
    """

    title: str
    licence: str
    citation: tuple[str, str, str, str, str]
    folder: str
    files: tuple[str, ...]
    downloads: tuple[Download, ...]
    tasks: Mapping[str, Mapping[str, Any]]
    sha256: Mapping[str, str] = field(default_factory=dict)


def names() -> list[str]:
    """Return the names of the sources."""
    return sorted(path.stem for path in (Path(__file__).parent / "sources").glob("*.py") if path.stem[0] != "_")


def named(name: str) -> Named:
    """Return a source.

    Raises:
        ValueError: there is none of that name; the nearest is suggested.
    """
    if name not in names():
        raise ValueError(f"unknown source '{name}'{nearest(name, names())}")
    return import_module(f"seqloom.data.sources.{name}").source


def with_source(task: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's settings in which `data = "source:NAME"` is replaced by the source's own; others stay and win.

    Raises:
        ValueError: no such source, the task does not read it, or it cannot be fetched.
    """
    asked = settings.get("data")
    if not isinstance(asked, str) or not asked.startswith(PREFIX):
        return dict(settings)
    name = asked.removeprefix(PREFIX)
    source = named(name)
    if task not in source.tasks:
        raise ValueError(f"{task} does not read source '{name}', which is for {', '.join(source.tasks)}")
    folder = located(name, source)
    own = {key: _placed(value, folder) for key, value in source.tasks[task].items()}
    return {**own, **{key: value for key, value in settings.items() if key != "data"}}


def _placed(value: Any, folder: Path) -> Any:
    return str(folder / value.removeprefix("./")) if isinstance(value, str) and value.startswith("./") else value


def located(name: str, source: Named) -> Path:
    """Return the folder that has a source's files: in SEQLOOM_DATA, else in the cache, else fetched there now.

    Raises:
        ValueError: it cannot be fetched, or is not what was published.
    """
    own = runtime.data_dir()
    if own is not None and all((own / source.folder / file).exists() for file in source.files):
        tell(f"source {name}: '{own / source.folder}'")
        return own / source.folder
    folder = runtime.cache_dir() / "sources" / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f"{name}.lock")):
            trusted = _recorded(folder)
            if trusted is not None and _whole(name, folder, trusted):
                tell(f"source {name}: '{folder}', fetched before")
                return folder
            tell(f"source {name}: {source.title}. Licence: {source.licence}")
            _fetch(source, folder, trusted)
    except OSError as error:
        raise ValueError(
            f"cannot keep source '{name}' in '{folder}': {error.strerror or error}; make room, or name another folder "
            "with SEQLOOM_CACHE"
        ) from None
    return folder


def _recorded(folder: Path) -> dict[str, dict[str, str]] | None:
    """Return the SHA-256 of what was fetched at first and of what became of it; None: nothing was fetched."""
    try:
        return json.loads((folder.with_name(f"{folder.name}.{_RECORD}")).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise ValueError(f"'{folder}.{_RECORD}' is damaged; delete it, and the source is fetched anew") from None


def _whole(name: str, folder: Path, trusted: dict[str, dict[str, str]]) -> bool:
    if not folder.is_dir():
        return False
    there = digests(folder)
    wrong = [file for file, digest in trusted["files"].items() if there.get(file) != digest]
    if wrong:
        tell(f"source {name}: {', '.join(wrong[:3])} in '{folder}' is damaged and fetched again")
    return not wrong


def _fetch(source: Named, folder: Path, trusted: dict[str, dict[str, str]] | None) -> None:
    kept = folder.with_name(f"{folder.name}.fetched")  # what a broken connection leaves is gone on with
    paths = [kept / str(number) for number in range(len(source.downloads))]
    found = {
        download.url: file_digest(path) if path.exists() else fetch(download, path)
        for download, path in zip(source.downloads, paths, strict=True)
    }
    made = fresh(folder)
    try:
        for download, path in zip(source.downloads, paths, strict=True):
            before = (trusted or {}).get("downloads", {}).get(download.url)
            if before not in (None, found[download.url]):
                raise ValueError(
                    f"'{download.url}' is no more what was fetched at first: its SHA-256 is {found[download.url]}, and "
                    f"was {before}; if you trust it, delete '{folder}.{_RECORD}'"
                )
            unpack(download, path, made)
        files = digests(made)
        _check(source, files)
        record = folder.with_name(f"{folder.name}.{_RECORD}")
        written = record.with_name(f"{record.name}.part")
        written.write_text(json.dumps({"downloads": found, "files": files}, indent=1), encoding="utf-8")
        os.replace(written, record)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(kept, ignore_errors=True)


def _check(source: Named, files: dict[str, str]) -> None:
    missing = [file for file in source.files if not any(path == file or path.startswith(f"{file}/") for path in files)]
    if missing:
        raise ValueError(f"what was fetched has no {', '.join(missing)}; the host gives another data set now")
    wrong = [file for file, digest in source.sha256.items() if file in files and files[file] != digest]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}, as fetched, is not the published file: its SHA-256 differs; not taken")

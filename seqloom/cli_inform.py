"""The verbs that tell without computing: list, doctor, cite."""

from pathlib import Path
from typing import Any

from seqloom.cli_output import Answer
from seqloom.core import registry


def list_(folder: str | None = None) -> Answer:
    """List what there is: mixers, models, tasks, kernels, plans, sources.

    Parameters
    ----------
    folder
        only this: mixers, models, tasks, kernels, plans or sources
    """
    found: dict[str, Any] = {
        "mixers": _entries("mixers"),
        "models": _entries("zoo"),
        "tasks": _entries("tasks"),
        "kernels": registry.kernels(),
        "plans": _plans(),
        "sources": _sources(),
    }
    if folder is not None:
        if folder not in found:
            raise ValueError(f"unknown list '{folder}'{registry.nearest(folder, list(found))}")
        found = {folder: found[folder]}
    blocks = [f"{title}\n{_lines(items)}" for title, items in found.items()]
    return Answer(found, "\n\n".join(blocks))


def _entries(folder: str) -> dict[str, Any]:
    return {
        name: {
            "summary": entry.summary,
            **{key: entry.attributes[key] for key in ("family", "metric", "better") if key in entry.attributes},
            "fields": {f.name: {"type": f.annotation, "default": f.default, "doc": f.doc} for f in entry.fields},
        }
        for name, entry in registry.catalog(folder).items()
    }


def _plans() -> dict[str, Any]:
    known = registry.catalog("parallel")
    return {
        axis.name: {
            "summary": axis.doc,
            "strategy": axis.name,
        }
        for axis in registry.read_class("parallel/plan.py", "Plan").fields
        if axis.name in known
    }


def _sources() -> dict[str, Any]:
    from seqloom.data.named import named, names

    found: dict[str, Any] = {}
    for name in names():
        source = named(name)
        key, author, title, year, where = source.citation
        found[name] = {
            "summary": f"{source.title}. For {', '.join(source.tasks)}. {source.licence}. {author} {year}",
            "licence": source.licence,
            "citation": {"key": key, "author": author, "title": title, "year": year, "where": where},
            "tasks": list(source.tasks),
            "urls": [download.url for download in source.downloads],
        }
    return found


def _lines(items: dict[str, Any]) -> str:
    if not items:
        return "  none"
    width = max(map(len, items))
    return "\n".join(
        f"  {name.ljust(width)}  {', '.join(item) if isinstance(item, list) else item['summary']}".rstrip()
        for name, item in items.items()
    )


def doctor(*, measure: bool = False) -> Answer:
    """Tell what this machine can run, and why not.

    Parameters
    ----------
    measure
        also measure this machine's rates (some seconds)
    """
    from seqloom.lab.doctor import as_text, examine

    found = examine(measure)
    return Answer(found, as_text(found))


def cite(*names: str, run: Path | None = None) -> Answer:
    """Print BibTeX of the works that models, tasks or a run stand on.

    Parameters
    ----------
    names
        registered names, e.g. gru transformer; or run directories
    run
        a run directory
    """
    from seqloom.lab.cite import cite as find

    entries: dict[str, str] = {}
    for name in names:
        is_run = (Path(name) / "run.json").exists()
        entries.update(find(run=Path(name)) if is_run else find([name]))
    if run is not None or not names:
        entries.update(find(run=run) if run is not None else find(sorted(registry.catalog("zoo"))))
    return Answer(entries, "\n\n".join(entries.values()))

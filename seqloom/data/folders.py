"""Files and folders of examples: what kind of data a path holds, and which label each file of a folder has."""

import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from seqloom.data.files import REJECTED_SHARE, Table, read_table
from seqloom.data.text import digest

Kind = Literal["texts", "series", "pictures", "clips", "sounds"]

SUFFIXES: dict[Kind, tuple[str, ...]] = {  # of one example each, in a folder
    "series": (".csv", ".tsv"),
    "pictures": (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"),
    "clips": (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"),
    "sounds": (".wav", ".flac", ".ogg", ".mp3"),
}
_SHOWN = 5  # rejects that a message tells of

LABELS = "labels.csv"  # at the top of a folder: columns file and label
IDX_MARKS = ("-ubyte", ".idx", ".idx1", ".idx3")  # how names of idx files end, before .gz


class Filed(NamedTuple):
    """The files of a folder that are examples, and their labels."""

    files: list[Path]
    labels: list[str]  # one a file
    rejects: list[dict[str, str | int]]  # "file", "line", "reason" of each row of the labels' table that is not used
    digest: str  # of the names and labels


def kind_of(path: str | Path) -> Kind:
    """Return what kind of data a file or folder holds, by its name or the names in it.

    Raises:
        ValueError: a folder has no file of a known kind, or files of several kinds.
    """
    path = Path(path)
    if path.is_dir():
        kinds: list[tuple[Kind | None, bool]] = [
            (_kind_in_folder(file, path), file.parent == path) for file in _files(path)
        ]
        known: list[Kind] = [kind for kind, _ in kinds if kind is not None]
        if len(set(known)) > 1:  # tables at the top tell of the files, as labels do
            known = [kind for kind, top in kinds if kind is not None and not (kind == "series" and top)]
        counts: Counter[Kind] = Counter(known)
        if len(counts) == 1:
            return next(iter(counts))
        if not counts:
            suffixes = ", ".join(suffix for group in SUFFIXES.values() for suffix in group)
            raise ValueError(f"folder '{path}' has no file that ends in one of {suffixes}; give a folder that does")
        found = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
        raise ValueError(f"folder '{path}' holds {found}; give a folder of one kind")
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".ts"):
        return "series"
    if name.endswith(".npz"):
        shape = _shape_of_x(path)
        return "clips" if len(shape) == 5 or (len(shape) == 4 and shape[-1] not in (1, 3)) else "pictures"
    if name.endswith((*IDX_MARKS, *SUFFIXES["pictures"])):
        return "pictures"
    if name.endswith(SUFFIXES["clips"]):
        return "clips"
    return "sounds" if name.endswith(SUFFIXES["sounds"]) else "texts"


def files_of(folder: Path, kind: Kind) -> list[Path]:
    """Return the files of a kind anywhere in a folder, in the order of their names."""
    return [file for file in _files(folder) if _kind_in_folder(file, folder) == kind]


def labelled_files(folder: Path, kind: Kind, table: str | Path | None = None, allow_rejects: bool = False) -> Filed:
    """Return the files of a kind in a folder and their labels.

    Labels come from a table with the columns file (relative to the folder) and label, which is `labels.csv` in the
    folder unless another is given; without a table a file's label is the name of the subfolder that it stands in.

    Args:
        folder: the folder.
        kind: of the files.
        table: of the labels.
        allow_rejects: whether to go on with more than 0.1 % of the table's rows not used.

    Raises:
        ValueError: no files; a table that cannot be read, names a file that is not there or one twice, or leaves one
            out; a file beside the subfolders, without a table.
    """
    found = [file for file in files_of(folder, kind) if table is None or file.resolve() != Path(table).resolve()]
    if table is None and (folder / LABELS).is_file():
        table = folder / LABELS
    if table is None:
        bare = [file for file in found if file.parent == folder]
        if bare or not found:
            what = f"'{bare[0].name}' stands in no subfolder" if bare else f"no {kind} in it"
            raise ValueError(
                f"'{folder}': {what}; put each file in a subfolder named by its label, or give --labels with a csv of "
                "the columns file and label"
            )
        files, labels, rejects = found, [file.relative_to(folder).parts[0] for file in found], []
    else:
        files, labels, rejects = _by_table(
            folder, found, read_table(table, ["file", "label"], allow_rejects=allow_rejects)
        )
    names = "\n".join(
        f"{file.relative_to(folder).as_posix()}\t{label}" for file, label in zip(files, labels, strict=True)
    )
    return Filed(files, labels, rejects, digest(names.encode()))


def check_files(folder: str | Path, rejects: Sequence[tuple[str, str]], n: int, allow_rejects: bool) -> None:
    """Refuse a folder with too many files that cannot be used.

    Args:
        folder: where they stand.
        rejects: name of a file, and why it is not used.
        n: how many files there are.
        allow_rejects: whether to go on with more than REJECTED_SHARE of them rejected.

    Raises:
        ValueError: all files are rejected, or too many.
    """
    if len(rejects) < n and (len(rejects) <= REJECTED_SHARE * n or allow_rejects):
        return
    shown = "; ".join(f"'{name}': {reason}" for name, reason in rejects[:_SHOWN])
    more = f"; and {len(rejects) - _SHOWN} more" if len(rejects) > _SHOWN else ""
    some = f"more than {REJECTED_SHARE:.1%} of them; mend or remove them, or add --allow-rejects"
    rule = "all of them" if len(rejects) == n else some
    raise ValueError(f"'{folder}': {len(rejects)} of {n} files cannot be used, {rule}. {shown}{more}")


def _by_table(
    folder: Path, found: Sequence[Path], table: Table
) -> tuple[list[Path], list[str], list[dict[str, str | int]]]:
    wanted = [(folder / name.strip()) for name in table.rows["file"]]
    there = {file.resolve() for file in found}
    seen: set[Path] = set()
    for file, line in zip(wanted, table.line, strict=True):
        where = file.resolve()
        if where not in there:
            raise ValueError(f"'{table.path}', line {line}: no file '{file}'; names are relative to '{folder}'")
        if where in seen:
            raise ValueError(f"'{table.path}', line {line}: '{file.name}' has a label already; name each file once")
        seen.add(where)
    if missing := [file for file in found if file.resolve() not in seen] if not table.rejects else []:
        raise ValueError(
            f"'{table.path}' has no label for {len(missing)} files of '{folder}', the first '{missing[0].name}'; add "
            "a row for each, or take the files away"
        )
    labels = [label.strip() for label in table.rows["label"]]
    return wanted, labels, [{"file": str(table.path), **reject._asdict()} for reject in table.rejects]


def _shape_of_x(path: Path) -> tuple[int, ...]:
    """Return the shape of the array `x` of an .npz unread; () where there is none, for its reader to say."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("x.npy") as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            return read(member)[0]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return ()


def _files(folder: Path) -> list[Path]:
    """Return the files in a folder and its subfolders, but not hidden ones, in the order of their names."""
    found: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _kind_in_folder(file: Path, folder: Path) -> Kind | None:
    if file == folder / LABELS:
        return None
    return next((kind for kind, suffixes in SUFFIXES.items() if file.suffix.lower() in suffixes), None)

"""Checkpoints that are whole or not there: written aside, synced, summed, renamed into place, verified when read.

    checkpoints/<step>/<group>.safetensors   tensors, e.g. model, optimizer, best
    checkpoints/<step>/state.json            the rest: step, position, planned steps, ...
    checkpoints/<step>/manifest.json         size and SHA-256 of each file, and of itself; written last
    checkpoints/latest                       the newest step, for people and tools; `load` trusts what it verifies

A process may die between any two of these operations. What has no number for a name is not a checkpoint and is swept.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

FORMAT = 1
_LATEST = "latest"
_MANIFEST = "manifest.json"
_STATE = "state.json"

Groups = dict[str, dict[str, Tensor]]


class CheckpointError(ValueError):
    """A checkpoint could not be written, or none can be read."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that passed its checksums."""

    step: int
    tensors: Groups
    data: dict[str, Any]
    notices: list[str]  # for the user: what was passed over, and why


class _DamageError(Exception):
    """Says what is wrong with one checkpoint."""


def save(directory: Path, step: int, tensors: Groups, data: dict[str, Any], keep: int = 3) -> Path:
    """Write checkpoint `step` and, once it is in place, delete all but the last `keep`.

    Args:
        directory: of all the run's checkpoints; made if absent.
        step: the checkpoint's name; one that stands there already is replaced.
        tensors: group -> name -> tensor; a file each group.
        data: JSON values.
        keep: at least 1.

    Returns:
        The checkpoint's directory.

    Raises:
        CheckpointError: the disk is full or refuses; the older checkpoints are as they were.
    """
    assert keep >= 1 and step >= 0
    temporary = directory / f".{step}.{os.getpid()}.tmp"
    target = directory / str(step)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        sweep(directory)
        _sync(directory.parent)
        temporary.mkdir()
        _fill(temporary, step, tensors, data)
        if target.exists():
            os.rename(target, directory / f".{step}.replaced.tmp")
        os.rename(temporary, target)
        _sync(directory)
        write_whole(directory / _LATEST, f"{step}\n".encode())
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        earlier = [str(s) for s in steps(directory) if s < step]
        left = f"earlier ones ({', '.join(earlier)}) are as they were" if earlier else "there is none before it"
        raise CheckpointError(
            f"cannot save checkpoint {step} in '{directory}': {error.strerror or error}; {left}. "
            "Make room there, then go on with --resume"
        ) from error
    _prune(directory, step, keep)
    return target


def load(directory: Path) -> Loaded | None:
    """Read the newest checkpoint that is whole; None if there is none at all.

    Raises:
        CheckpointError: there are checkpoints, and every one is damaged.
    """
    found = steps(directory)
    while found:
        damage: list[str] = []
        for step in reversed(found):
            try:
                tensors, data = _parse(read_whole(directory / str(step)))
            except _DamageError as reason:
                damage.append(f"checkpoint {step} is damaged ({reason})")
                continue
            notices = [*damage, f"going on from checkpoint {step}, the newest that is whole"] if damage else []
            return Loaded(step, tensors, data, notices + _pointer_notice(directory, step))
        before, found = found, steps(directory) or found
        if found == before:  # else they made room for newer ones while they were read
            raise CheckpointError(
                f"no checkpoint in '{directory}' is whole: {'; '.join(damage)}. Restore one from a copy, or begin "
                "anew with --overwrite"
            )
    return None


def steps(directory: Path) -> list[int]:
    """Return the steps of the checkpoints in a directory, whole or damaged, ascending."""
    if not directory.is_dir():
        return []
    names = [path.name for path in directory.iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)


def why_not(path: Path) -> list[str]:
    """Return what is wrong with one checkpoint, e.g. checkpoints/100; empty: it is whole."""
    try:
        read_whole(path)
    except _DamageError as reason:
        return [str(reason)]
    return []


def read_whole(path: Path) -> dict[str, bytes]:
    """Return the contents of a checkpoint's files, each equal to its checksum."""
    manifest = _read_manifest(path)
    contents: dict[str, bytes] = {}
    for name, expected in manifest["files"].items():
        content = _read(path / name)
        if len(content) != expected["bytes"]:
            raise _DamageError(f"{name} has {len(content)} bytes, not {expected['bytes']}")
        if _sum(content) != expected["sha256"]:
            raise _DamageError(f"{name} differs from its checksum")
        contents[name] = content
    return contents


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file at once: a reader, or a restart, sees the old content or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write(temporary, content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def sweep(directory: Path) -> None:
    """Remove what an interrupted writer left; the caller is the directory's only writer."""
    for path in directory.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _fill(path: Path, step: int, tensors: Groups, data: dict[str, Any]) -> None:
    files: dict[str, dict[str, Any]] = {}

    def add(name: str, content: bytes) -> None:
        _write(path / name, content)
        files[name] = {"bytes": len(content), "sha256": _sum(content)}

    for group, named in tensors.items():
        add(f"{group}.safetensors", safetensors.torch.save({key: t.contiguous() for key, t in named.items()}))
    add(_STATE, _json(data))
    _write(path / _MANIFEST, _signed({"files": files, "format": FORMAT, "step": step}))
    _sync(path)


def _parse(contents: dict[str, bytes]) -> tuple[Groups, dict[str, Any]]:
    try:
        tensors = {
            name.removesuffix(".safetensors"): safetensors.torch.load(content)
            for name, content in contents.items()
            if name.endswith(".safetensors")
        }
        return tensors, json.loads(contents[_STATE])
    except (safetensors.SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise _DamageError(f"not what this version writes: {error}") from None


def _read_manifest(path: Path) -> dict[str, Any]:
    raw = _read(path / _MANIFEST)
    try:
        manifest = json.loads(raw)
        signed = _signed({key: value for key, value in manifest.items() if key != "sha256"})
    except (ValueError, AttributeError):
        raise _DamageError(f"{_MANIFEST} is not JSON") from None
    if signed != raw:  # not a byte may differ, so that no damage is too small to see
        raise _DamageError(f"{_MANIFEST} differs from its checksum")
    if manifest["format"] != FORMAT or str(manifest["step"]) != path.name:
        raise _DamageError(f"{_MANIFEST} is of format {manifest['format']}, step {manifest['step']}")
    if any(Path(name).name != name for name in manifest["files"]):
        raise _DamageError(f"{_MANIFEST} names files elsewhere")
    return manifest


def _signed(manifest: dict[str, Any]) -> bytes:
    return _json({**manifest, "sha256": _sum(_json(manifest))})


def _prune(directory: Path, newest: int, keep: int) -> None:
    # later steps stay: they are there only if damaged, and the run will come by and replace them
    older = [step for step in steps(directory) if step < newest]
    for step in older[: len(older) - (keep - 1)]:
        aside = directory / f".{step}.old.tmp"
        try:
            os.rename(directory / str(step), aside)  # half a checkpoint never stands under its number
        except OSError:
            continue  # an old checkpoint too many is no reason to stop
        shutil.rmtree(aside, ignore_errors=True)
    sweep(directory)


def _pointer_notice(directory: Path, step: int) -> list[str]:
    try:
        pointed = (directory / _LATEST).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return [f"'{directory / _LATEST}' is missing; going on from checkpoint {step}, the newest that is whole"]
    if pointed.isdecimal() and int(pointed) in steps(directory):
        return []  # a run killed between its last two operations has a whole checkpoint beyond the one pointed at
    return [f"'{directory / _LATEST}' points to '{pointed}', which is not there; going on from checkpoint {step}"]


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise _DamageError(f"{path.name} is missing") from None
    except OSError as error:
        raise _DamageError(f"{path.name} cannot be read: {error.strerror}") from None


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""The files of a checkpoint folder: JSON and safetensors, read with suspicion."""

import contextlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
LARGEST_HEADER = 100 * 2**20  # bytes; a table of a million tensors is smaller
LARGEST_JSON = 64 * 2**20
# what goes with a checkpoint and is handed on as it is
COMPANIONS = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "added_tokens.json",
)
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ValueError: absent, too large, or no JSON object.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"'{path}' has more than {LARGEST_JSON >> 20} MiB: not a file of settings")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read '{path}': {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"'{path}' is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"'{path}' holds no JSON object")
    return found


class Stored(NamedTuple):
    """A tensor in a file: where it is and what it is, without its numbers."""

    path: Path
    dtype: str  # as safetensors names it: F32
    shape: tuple[int, ...]


def read_headers(folder: Path) -> dict[str, Stored]:
    """Return what tensors a folder has: in `model.safetensors`, or else in the parts that an index names.

    Raises:
        ValueError: no safetensors there (a pickle is refused and named), a name in two parts, or a file that is
            damaged or hostile.
    """
    found: dict[str, Stored] = {}
    for part in weight_files(folder):
        for name, stored in _header(folder / part).items():
            if name in found:
                raise ValueError(f"'{name}' is in two files: '{found[name].path.name}' and '{part}'")
            found[name] = stored
    return found


def weight_files(folder: Path) -> list[str]:
    """Return the names of the files that hold the weights of a folder.

    Raises:
        ValueError: there are none, or the index is none or names files elsewhere.
    """
    if (folder / WEIGHTS).exists():
        return [WEIGHTS]
    if (folder / INDEX).exists():
        return indexed(folder)
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled:
        raise ValueError(
            f"'{folder}' holds {pickled[0]}, a pickle, which can run code when it is read: it is refused. Save the "
            "model again as safetensors: model.save_pretrained(folder, safe_serialization=True)"
        )
    raise ValueError(f"'{folder}' has no {WEIGHTS}")


def indexed(folder: Path) -> list[str]:
    """Return the names of the files that the index of a folder names.

    Raises:
        ValueError: the index is none, or names files elsewhere or that are no safetensors.
    """
    parts = read_json(folder / INDEX).get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(name, str) for name in parts.values()):
        raise ValueError(f"'{folder / INDEX}' has no weight_map from tensors to files")
    names = sorted(set(parts.values()))
    strange = [name for name in names if Path(name).name != name]
    if strange:
        raise ValueError(f"'{folder / INDEX}' names files outside its folder: {', '.join(strange[:3])}")
    others = [name for name in names if not name.endswith(".safetensors")]
    if others:
        raise ValueError(f"'{folder / INDEX}' names files that are no safetensors: {', '.join(others[:3])}")
    return names


def _header(path: Path) -> dict[str, Stored]:
    with _explained(path):
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
        if len(prefix) < 8:
            raise ValueError(f"'{path}' has {size} bytes, too few for safetensors")
        (header,) = struct.unpack("<Q", prefix)
        if header > min(size - 8, LARGEST_HEADER):
            raise ValueError(
                f"'{path}' announces a header of {header} bytes, but has {size} in all: damaged or hostile"
            )
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  not a mapping
            return {name: Stored(path, part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def read_tensors(stored: Mapping[str, Stored]) -> dict[str, Tensor]:
    """Return tensors, still views into their files: whoever keeps one copies it."""
    found: dict[str, Tensor] = {}
    for path in {entry.path for entry in stored.values()}:
        with _explained(path), safe_open(path, framework="pt") as file:
            found |= {name: file.get_tensor(name) for name, entry in stored.items() if entry.path == path}
    return found


def write_file(path: Path, content: bytes) -> None:
    """Write a file in one step, so that a kill leaves the old one or the new.

    Raises:
        OSError: it cannot be written.
    """
    with _replacing(path) as temporary:
        temporary.write_bytes(content)


def write_weights(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write `model.safetensors` in one step; then an index and the parts that it names go.

    Raises:
        OSError: it cannot be written.
    """
    with _replacing(folder / WEIGHTS) as temporary:
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, {"format": "pt"})
        except SafetensorError as error:
            raise OSError(0, str(error)) from None
    if (folder / INDEX).exists():
        with contextlib.suppress(ValueError):  # an index that names no parts leaves none
            for name in set(indexed(folder)) - {WEIGHTS}:
                (folder / name).unlink(missing_ok=True)
        (folder / INDEX).unlink()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"cannot read '{path}': {error.strerror}") from None
    except SafetensorError as error:
        raise ValueError(f"'{path}' is not a whole safetensors file: {error}") from None


def companions(folder: Path) -> dict[str, bytes]:
    """Return the files that go with the weights, the tokenizer's among them, by name."""
    found: dict[str, bytes] = {}
    for name in COMPANIONS:
        path = folder / name
        if path.is_file() and path.stat().st_size <= LARGEST_JSON:
            found[name] = path.read_bytes()
    return found

"""The files of a checkpoint folder: JSON and safetensors, read with suspicion."""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
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


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a folder, from one file or from the parts that its index names.

    Raises:
        ValueError: no safetensors there (a pickle is refused and named), or a file that is damaged or hostile.
    """
    if (folder / INDEX).exists():
        parts = read_json(folder / INDEX).get("weight_map")
        if not isinstance(parts, dict) or not all(isinstance(name, str) for name in parts.values()):
            raise ValueError(f"'{folder / INDEX}' has no weight_map from tensors to files")
        strange = sorted({name for name in parts.values() if Path(name).name != name})
        if strange:
            raise ValueError(f"'{folder / INDEX}' names files outside its folder: {', '.join(strange[:3])}")
        found: dict[str, Tensor] = {}
        for name in sorted(set(parts.values())):
            found.update(read_tensors(folder / name))
        return found
    if not (folder / WEIGHTS).exists():
        pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
        if pickled:
            raise ValueError(
                f"'{folder}' holds {pickled[0]}, a pickle, which can run code when it is read: it is refused. Save the "
                "model again as safetensors: model.save_pretrained(folder, safe_serialization=True)"
            )
        raise ValueError(f"'{folder}' has no {WEIGHTS}")
    return read_tensors(folder / WEIGHTS)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; memory is bounded by the file's size.

    Raises:
        ValueError: the header is longer than the file or than LARGEST_HEADER, or is not what a header is.
    """
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
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping


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


def widened(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with halves as float32; float32 and float64 stay."""
    return {
        name: tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
        for name, tensor in tensors.items()
    }

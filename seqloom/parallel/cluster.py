"""A cluster: devices alike and the links between them, as measured here or described by hand."""

import json
from pathlib import Path

import pydantic

from seqloom.core.registry import nearest
from seqloom.core.spec import Spec, resolve


class Cluster(Spec):
    """What a prediction knows of the machine. Rates are of one device, for the precision that training has there."""

    name: str = "described"
    devices: int = pydantic.Field(default=1, gt=0)
    memory_bytes: float = pydantic.Field(gt=0)  # of a device
    flops_per_s: float = pydantic.Field(gt=0)  # that large matrix products reach
    bytes_per_s: float = pydantic.Field(gt=0)  # of its memory, read and written
    step_s: float = pydantic.Field(gt=0)  # of one small product that waits for another: what a recurrence pays a step
    link_s: float = pydantic.Field(gt=0)  # latency of a message
    link_bytes_per_s: float = pydantic.Field(gt=0)  # of a link, one direction
    overlaps: bool = False  # whether messages go while a device computes
    crowding: float = pydantic.Field(default=1.0, ge=1)  # times as long as alone when all devices compute

    def lacks(self, memory_bytes: float) -> str | None:
        """Return why a device cannot hold so much; None: it can."""
        if memory_bytes <= self.memory_bytes:
            return None
        return f"needs {memory_bytes / 2**30:.2f} GiB on a device that has {self.memory_bytes / 2**30:.2f} GiB"


# rates that products reach in practice, about 0.6 of what is printed: 67 TFLOP/s float32 (TF32 off), 4.8 TB/s,
# 141 GB, NVLink 450 GB/s a direction (NVIDIA H200 data sheet, 2024); 4 us a small kernel, 10 us a message
KNOWN = {
    "h200x8": Cluster(
        name="h200x8", devices=8, memory_bytes=141e9, flops_per_s=40e12, bytes_per_s=3.8e12, step_s=4e-6, link_s=1e-5,
        link_bytes_per_s=3e11, overlaps=True,
    ),
}  # fmt: skip


def read_cluster(text: str) -> Cluster:
    """Return the cluster of a name, or of a JSON file of a Cluster's fields.

    Raises:
        ValueError: no such name or file, or its fields are not a Cluster's.
    """
    if text in KNOWN:
        return KNOWN[text]
    path = Path(text)
    if not path.is_file():
        raise ValueError(
            f"there is no machine '{text}'{nearest(text, ['this', *KNOWN])} Or name a JSON file with its "
            "memory_bytes, flops_per_s, bytes_per_s, step_s, link_s, link_bytes_per_s"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"'{text}' is not JSON: {error}") from None
    try:
        return resolve(Cluster, {"name": path.stem, **data} if isinstance(data, dict) else data)
    except ValueError as error:
        raise ValueError(f"'{text}': {error}") from None

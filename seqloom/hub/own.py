"""Our own form, for models that no other form has: the spec as JSON, and tensors under our own names."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from seqloom.core.spec import resolve, to_data
from seqloom.hub.form import Form, Rule, same
from seqloom.model.backbone import Backbone
from seqloom.model.model import ModelSpec

_DEEPEST = 32  # lists and mappings inside each other; hybrids of hybrids have a dozen


class Own(Form):
    """Every model; `trust` lets a config.json name code outside seqloom, which is then imported."""

    model_type = "seqloom"

    def __init__(self, trust: bool = False) -> None:
        self.trust = trust

    def spec(self, config: Mapping[str, Any], names: Iterable[str]) -> ModelSpec:
        """Return the spec written there.

        Raises:
            ValueError: it names code outside seqloom, or is deeper or longer than the tensors allow.
        """
        data = config["spec"]
        _check(data, len(set(names)), self.trust)
        return resolve(ModelSpec, data)

    def config(self, spec: ModelSpec) -> dict[str, Any]:
        """Return the config.json, the spec in it."""
        return {"model_type": self.model_type, "architectures": ["Model"], "spec": to_data(spec)}

    def rules(self, spec: ModelSpec) -> list[Rule]:
        """Return rules that leave all names as they are."""
        with torch.device("meta"):
            return [same(name, name) for name in spec.build().state_dict()]

    def prefixed(self, name: str, spec: ModelSpec) -> str:
        """Return the name."""
        return name


def _check(data: Any, tensors: int, trust: bool) -> None:
    """Raise ValueError for a spec that is deeper or longer than can be, or that names code elsewhere."""
    level: list[tuple[str, Any]] = [("spec", data)]
    for _ in range(_DEEPEST):
        below: list[tuple[str, Any]] = []
        for key, value in level:
            foreign = isinstance(value, str) and "." in value and value != Backbone.name() and key != "unit"
            if foreign and not trust:
                raise ValueError(
                    f"config.json names '{value}', code outside seqloom, which would be imported and run: if you know "
                    "it, load with trust=True"
                )
            if isinstance(value, list) and len(value) > tensors:
                raise ValueError(f"config.json has a list of {len(value)} in its spec, but only {tensors} tensors")
            if isinstance(value, dict):
                below += value.items()
            elif isinstance(value, list):
                below += ((key, item) for item in value)
        level = below
        if not level:
            return
    raise ValueError(f"the spec in config.json is nested more than {_DEEPEST} deep")

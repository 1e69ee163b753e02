"""Plan: mesh axis -> degree. A plan changes the clock, never the numbers."""

from abc import ABC, abstractmethod
from typing import Any, Literal

import pydantic

from seqloom.core import registry
from seqloom.core.spec import Spec, resolve

Schedule = Literal["gpipe", "1f1b", "interleaved", "zero_bubble"]

AXES = ("pipeline", "data", "sequence", "tensor")  # of the mesh, slowest first


class Plan(Spec):
    """How a run is laid out over processes: the degree of each mesh axis; their product is the number of processes."""

    data: int = pydantic.Field(default=1, ge=1)  # replicas, each with its share of a batch's rows
    tensor: int = pydantic.Field(default=1, ge=1)  # parts of each layer's parameters
    pipeline: int = pydantic.Field(default=1, ge=1)  # stages, each with some of the blocks
    sequence: int = pydantic.Field(default=1, ge=1)  # stretches of time
    parts: int = pydantic.Field(
        default=4, ge=1
    )  # pipeline: groups of rows, or stretches of time, that follow each other
    cuts: Literal["rows", "time"] = "rows"  # pipeline: which of the two; time for stacks of causal layers
    schedule: Schedule = "gpipe"  # pipeline: in which order a stage takes parts, forward and back
    sequence_norms: bool = False  # tensor: norms, dropout and sums between layers in stretches of time: less memory
    ring: bool = False  # sequence: keys and values of attention go round and are not gathered: less memory
    newton: bool = False  # sequence: rnn, lstm and gru are solved at once over all stretches, not relayed
    bucket_mb: float = pydantic.Field(default=4.0, gt=0)  # data: gradients that are sent together
    bf16_gradients: bool = False  # data: send gradients in bfloat16
    sharded: bool = False  # data: share parameters, gradients and moments out, and gather them block by block
    timeout_s: float = pydantic.Field(default=60.0, gt=0, le=1800)  # a process that is silent for so long is lost

    @classmethod
    def parse(cls, text: str) -> "Plan":
        """Return the plan that a text names: "data=2,pipeline=2", "pipeline=2,cuts=time,parts=8".

        Raises:
            ValueError: not names with values, a name that a plan has not, or a value out of range.
        """
        settings: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = (word.strip() for word in part.partition("="))
            if not equals or not value or name in settings:
                raise ValueError(f"plan '{text}': give names with values, each once, such as data=2,pipeline=2")
            settings[name] = value
        return resolve(cls, settings)

    def __str__(self) -> str:
        fields = {name: getattr(self, name) for name in type(self).__dataclass_fields__}
        plain = type(self)()
        told = [f"{name}={value}".lower() for name, value in fields.items() if value != getattr(plain, name)]
        return ",".join(told) or "data=1"

    @property
    def processes(self) -> int:
        """Return the number of processes that the plan lays out."""
        return self.data * self.tensor * self.pipeline * self.sequence

    def degrees(self) -> dict[str, int]:
        """Return mesh axis -> degree."""
        return {axis: getattr(self, axis) for axis in ("data", "tensor", "pipeline", "sequence")}

    def why_not(self, processes: int) -> list[str]:
        """Return why the plan cannot run on this many processes; empty: it can.

        Every degree above 1 needs the strategy of that name in `seqloom/parallel`.
        """
        reasons: list[str] = []
        known = registry.catalog("parallel")
        for axis, degree in self.degrees().items():
            if degree > 1 and axis not in known:
                have = ", ".join(known) or "none yet"
                reasons.append(
                    f"{axis}={degree} needs the strategy '{axis}', which this version does not have "
                    f"(strategies: {have}); take {axis}=1"
                )
        if self.sequence_norms and self.tensor == 1:
            reasons.append(
                "sequence_norms: norms are cut over the axis tensor; take tensor=2 or more, or no sequence_norms"
            )
        if self.ring and self.sequence == 1:
            reasons.append("ring: keys and values go round an axis of time; take sequence=2 or more, or no ring")
        if self.newton and self.sequence == 1:
            reasons.append("newton: stretches of time are solved at once; take sequence=2 or more, or no newton")
        if self.schedule != "gpipe" and self.pipeline == 1:
            reasons.append(
                f"schedule={self.schedule} orders the parts of a pipeline; take pipeline=2 or more, or no schedule"
            )
        if self.processes != processes:
            reasons.append(
                f"the plan is for {self.processes} process{'es' if self.processes > 1 else ''}, there "
                f"{'are' if processes != 1 else 'is'} {processes}; start as many as the product of its degrees"
            )
        return reasons


class Strategy(ABC):
    """What one axis of the mesh does to a model; the file's name is the axis'.

    Args:
        plan: of which the axis is one.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @abstractmethod
    def why_not(self, model: Any, plan: Plan) -> list[str]:
        """Return why a model cannot be laid out along this axis as a plan wants it; empty: it can."""

    @abstractmethod
    def apply(self, model: Any, axis: Any) -> None:
        """Change a model, in place, to this process's part along an axis of the mesh."""


def listed(names: list[str]) -> str:
    """Return the first of some names in words, and how many more there are."""
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else "".join(names)

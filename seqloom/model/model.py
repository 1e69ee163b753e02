"""A model: frontend, backbone, head. All that tasks, plans and servers see."""

from typing import NamedTuple

import pydantic
import torch
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.spec import Spec
from seqloom.core.types import FRESH, Place, State, fresh_place, locate
from seqloom.model.backbone import Backbone
from seqloom.model.frontend import Frontend
from seqloom.model.head import Head


class ModelState(NamedTuple):
    """Where each row's stream stands, and what the backbone remembers of it."""

    place: Place
    backbone: State


class ModelSpec(Spec):
    """Names a model; `build(seed)` makes it."""

    frontend: Frontend
    backbone: Backbone
    head: Head
    width: int = pydantic.Field(gt=0)

    def build(self, seed: int = 0) -> "Model":
        """Return the model, initialised from the seed alone: the global generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Model(self)


class Model(nn.Module):
    """frontend -> backbone -> head, under the mixer contract at its door."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.frontend = spec.frontend.build(spec.width)
        self.backbone = spec.backbone.build(spec.width)
        self.head = spec.head.build(spec.width)

    @property
    def causal(self) -> bool:
        """Return whether no output depends on later inputs, so that the model can decode."""
        return self.backbone.causal

    @property
    def n_parameters(self) -> int:
        """Return the number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(
        self, inputs: Tensor, state: State | None = None, segment: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        """Answer.

        Args:
            inputs: (B, T) int64 tokens or (B, T, C) values.
            state: None (training), FRESH (prefill) or an earlier call's state (decoding).
            segment: (B, T) integers; 0 is padding, equal ids one document; None: all real, going on. An id never
                comes back within a row's stream.

        Returns:
            (output, next state): the head's answer; the next state is None exactly if `state` is.
        """
        x, state, segment = self.hidden(inputs, state, segment)
        return self.head(x, segment), state

    def hidden(
        self, inputs: Tensor, state: State | None = None, segment: Tensor | None = None
    ) -> tuple[Tensor, State | None, Tensor | None]:
        """Return (the vectors (B, T, D) before the head, the next state, the segment at their resolution)."""
        x, segment = self.frontend(inputs, segment)
        batch, length = x.shape[0], x.shape[1]
        if state is None and segment is None:
            return self.backbone(x)[0], None, None
        before: Place = state.place if state else fresh_place(batch, x.device)
        where, place = locate(segment, before, batch, length)
        if state is None:
            return self.backbone(x, None, where)[0], None, segment
        x, after = self.backbone(x, state.backbone if state else FRESH, where)
        return x, ModelState(place, after), segment

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of a forward pass over (B, T) steps of the backbone; frontends' look-ups count nothing."""
        cost = self.backbone.cost(batch, length)
        head = self.head.project.weight
        steps = batch * length if self.spec.head.kind == "next_token" else batch
        cost += Cost(flops=2 * steps * head.numel(), bytes=head.numel() * head.element_size(), depth=1)
        if self.spec.frontend.kind != "tokens":
            weight = self.frontend.get_parameter("project.weight")
            cost += Cost(
                flops=2 * batch * length * weight.numel(), bytes=weight.numel() * weight.element_size(), depth=1
            )
        return cost

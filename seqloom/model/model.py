"""A model: frontend, backbone, head, and perhaps an encoder. All that tasks, plans and servers see."""

import importlib
from pathlib import Path
from typing import Any, NamedTuple, Self

import pydantic
import torch
from torch import Tensor, nn

from seqloom.core import registry
from seqloom.core.cost import Cost
from seqloom.core.spec import Spec
from seqloom.core.types import FRESH, Place, State, Where, fresh_place, locate
from seqloom.model.backbone import Backbone
from seqloom.model.frontend import Frontend
from seqloom.model.head import Head
from seqloom.model.mixer import Memory, SequenceMixer


class ModelState(NamedTuple):
    """Where each row's stream stands, and what the backbone remembers of it."""

    place: Place
    backbone: State


class Encoder(Spec):
    """What reads the source of an encoder-decoder model."""

    frontend: Frontend | None = None  # None: the decoder's own, shared
    backbone: Backbone


class ModelSpec(Spec):
    """Names a model; `build(seed)` makes it."""

    frontend: Frontend
    backbone: Backbone
    head: Head
    width: int = pydantic.Field(gt=0)
    encoder: Encoder | None = None  # the backbone then reads its output

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if self.head.kind == "next_token" and self.head.tied:
            frontend = self.frontend
            if frontend.kind != "tokens" or frontend.vocabulary != self.head.vocabulary:
                raise ValueError("a tied head needs a frontend of tokens with the head's vocabulary")
        return self

    def build(self, seed: int = 0) -> "Model":
        """Return the model, initialised from the seed alone: the global generator is left as it was.

        Raises:
            ValueError: sizes that do not divide; an encoder that nothing reads, or a backbone that reads one it lacks.
        """
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
        if self.backbone.reads != (spec.encoder is not None):
            lacking = "no encoder to read" if self.backbone.reads else "an encoder that no mixer reads"
            raise ValueError(f"the model has {lacking}: give both an encoder and a mixer such as `cross`, or neither")
        self.encoder: SequenceMixer | None = None
        own = spec.encoder.frontend if spec.encoder is not None else None
        if spec.encoder is not None:
            self.encoder = spec.encoder.backbone.build(spec.width)
        self.source_frontend = own.build(spec.width) if own is not None else None
        self.origin: Any = None  # what `seqloom.load` keeps for `save_pretrained`: tokenizer files and the like

    @property
    def causal(self) -> bool:
        """Return whether no output depends on later inputs, so that the model can decode."""
        return self.backbone.causal

    @property
    def table(self) -> Tensor | None:
        """Return the token vectors (V, D) as the map of a tied head; None for a head with a map of its own."""
        if not (self.spec.head.kind == "next_token" and self.spec.head.tied):
            return None
        embedding = self.frontend.embedding
        assert isinstance(embedding, nn.Module)
        weight: Tensor = embedding.weight  # type: ignore[assignment]
        # an adapter in its place adds to the vectors: all are looked up, so that input and output stay tied
        return weight if type(embedding) is nn.Embedding else embedding(torch.arange(len(weight), device=weight.device))

    @property
    def n_parameters(self) -> int:
        """Return the number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(
        self,
        inputs: Tensor,
        state: State | None = None,
        segment: Tensor | None = None,
        memory: Memory | None = None,
    ) -> tuple[Tensor, State | None]:
        """Answer.

        Args:
            inputs: (B, T) int64 tokens or (B, T, C) values.
            state: None (training), FRESH (prefill) or an earlier call's state (decoding).
            segment: (B, T) integers; 0 is padding, equal ids one document; None: all real, going on. An id never
                comes back within a row's stream.
            memory: what `encode` gave, for a model with an encoder; with a state only at the first call.

        Returns:
            (output, next state): the head's answer; the next state is None exactly if `state` is.
        """
        x, state, segment = self.hidden(inputs, state, segment, memory)
        return self.head(x, segment, self.table), state

    def last(
        self, inputs: Tensor, state: State, segment: Tensor | None = None, memory: Memory | None = None
    ) -> tuple[Tensor, State]:
        """Return the head's answer to the last step alone, (B, V), and the next state; for generation."""
        x, state, segment = self.hidden(inputs, state, segment, memory)
        return self.head(x[:, -1:], None, self.table)[:, 0], state

    def hidden(
        self,
        inputs: Tensor,
        state: State | None = None,
        segment: Tensor | None = None,
        memory: Memory | None = None,
    ) -> tuple[Tensor, State | None, Tensor | None]:
        """Return (the vectors (B, T, D) before the head, the next state, the segment at their resolution)."""
        x, segment = self.frontend(inputs, segment)
        extra = (memory,) if self.backbone.reads else ()
        where: Where | None = None
        place: Place | None = None
        if state is not None or segment is not None:
            before: Place = state.place if state else fresh_place(x.shape[0], x.device)
            where, place = locate(segment, before, x.shape[0], x.shape[1])
        x = self.frontend.place(x, where)
        if state is None or place is None:
            return self.backbone(x, None, where, *extra)[0], None, segment
        x, after = self.backbone(x, state.backbone if state else FRESH, where, *extra)
        return x, ModelState(place, after), segment

    def encode(self, source: Tensor, segment: Tensor | None = None) -> Memory:
        """Return the memory of a source.

        Args:
            source: (B, S) int64 tokens or (B, S, C) values.
            segment: (B, S) integers; 0 is padding; None: all of document 1. A target reads the entries of its own id.

        Raises:
            ValueError: the model has no encoder.
        """
        if self.encoder is None:
            raise ValueError("this model has no encoder")
        frontend = self.source_frontend or self.frontend
        x, segment = frontend(source, segment)
        if segment is None:
            segment = torch.ones(x.shape[:2], dtype=torch.int64, device=x.device)
        where, _ = locate(segment, fresh_place(x.shape[0], x.device), x.shape[0], x.shape[1])
        return Memory(self.encoder(frontend.place(x, where), None, where)[0], segment)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the cost of a forward pass over (B, T) steps of the backbone; frontends' look-ups count nothing.

        An encoder counts as reading as many steps.
        """
        cost = self.backbone.cost(batch, length)
        if self.encoder is not None:
            cost += self.encoder.cost(batch, length)
        steps = batch if self.head.scope == "row" else batch * length
        for head in self.head.matrices(self.table):
            cost += Cost(flops=2 * steps * head.numel(), bytes=head.numel() * head.element_size(), depth=1)
        return cost + self.frontend.cost(batch, length)

    def generate(self, ids: Tensor, max_new_tokens: int = 20, **options: Any) -> Tensor:
        """Return the prompts and what follows them, (B, T + max_new_tokens); see `seqloom.model.generate.complete`."""
        module = importlib.import_module(f"{registry.PACKAGE}.model.generate")
        return module.complete(self, ids, max_new_tokens, **options)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the model to a folder, in Hugging Face's form if it has one; see `seqloom.hub`."""
        return importlib.import_module(f"{registry.PACKAGE}.hub").save(self, Path(folder))

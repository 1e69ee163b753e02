"""A backbone: a pattern of blocks, and itself a mixer, so that hybrids are just tuples and backbones nest."""

from typing import Any

import pydantic
from torch import Tensor, nn

from seqloom.core.cost import Cost
from seqloom.core.types import State, Where
from seqloom.model.block import Block, Channel, Norm, Placement, make_norm
from seqloom.model.mixer import Memory, MixerSpec, SequenceMixer, refuse_state
from seqloom.model.torch_names import from_torch
from seqloom.ops.tape import Tape, Unrecorded, Vector


class BackboneMixer(SequenceMixer):
    """Blocks one after another, and perhaps a last norm; its state is the tuple of theirs."""

    def __init__(self, spec: "Backbone", width: int) -> None:
        super().__init__()
        mixers = [part.build(width) for part in spec.pattern]
        followed = [mixer.reads for mixer in mixers[1:]] + [False]
        channels: list[Channel] = [
            "none" if spec.joined and before_reader else spec.channel for before_reader in followed
        ]
        self.blocks = nn.ModuleList(
            Block(mixer, width, channel, spec.expand, spec.dropout, spec.norm, spec.placement, spec.eps, spec.bias)
            for mixer, channel in zip(mixers, channels, strict=True)
        )
        last = spec.placement == "pre" if spec.last is None else spec.last
        self.norm = make_norm(spec.norm, width, spec.eps) if last else nn.Identity()
        self.causal = all(mixer.causal for mixer in mixers)
        self.reads = any(mixer.reads for mixer in mixers)
        self.register_load_state_dict_pre_hook(from_torch)

    def forward(
        self, x: Tensor, state: State | None = None, where: Where | None = None, memory: Memory | None = None
    ) -> tuple[Tensor, State | None]:
        """Mix along time under the contract; the memory goes to the mixers that read one."""
        refuse_state(self, state)
        states: Any = state if state else (state,) * len(self.blocks)  # None and FRESH go to every block
        after: list[State] = []
        for block, block_state in zip(self.blocks, states, strict=True):
            x, next_state = block(x, block_state, where, memory)
            after.append(next_state)
        return self.norm(x), None if state is None else tuple(after)

    def record(self, tape: Tape, x: Vector, state: State, into: Vector | None = None) -> Vector:
        """Write one step of one row to a tape."""
        if into is not None:
            raise Unrecorded("Backbones inside blocks have no native step.")
        for block, block_state in zip(self.blocks, state, strict=True):
            x = block.record(tape, x, block_state)  # type: ignore[operator]
        return tape.norm(self.norm, x)

    def cost(self, batch: int, length: int) -> Cost:
        """Return the sum over blocks."""
        return sum((block.cost(batch, length) for block in self.blocks), Cost())  # type: ignore[operator]


class Backbone(MixerSpec):
    """A pattern of mixers in residual blocks: `Backbone(pattern=(GRU(), Attention(window=128)) * 2)`.

    A state_dict of torch.nn.TransformerEncoder loads as it is into one of
    `Attention(heads=h, causal=False, rotary=None, bias=b)` with norm="layer", bias=b, eps=1e-5, the activation as
    `channel`, placement "pre" for norm_first, and `last` as to whether the encoder has a `norm`. The biases that ours
    has and an encoder of bias=False has not begin at zero: the answers are equal.
    """

    pattern: tuple[MixerSpec, ...]
    channel: Channel = "swiglu"  # the mixer along channels of each block
    expand: float = pydantic.Field(default=2.0, gt=0)  # inner width of the channel mixer / width
    dropout: float = pydantic.Field(default=0.0, ge=0, lt=1)
    norm: Norm = "rms"  # RMSNorm, or LayerNorm
    placement: Placement = "pre"  # norms before what they feed, behind each sum, or neither norms nor sums
    last: bool | None = None  # whether a norm stands behind the last block; None: if placement is "pre"
    eps: float = pydantic.Field(default=1e-6, gt=0)  # of the norms
    bias: bool = False  # of the channel mixers
    joined: bool = False  # mixers before one that reads a memory share its channel mixer, as in Transformer decoders

    def build(self, width: int) -> BackboneMixer:
        """Return the backbone for vectors of this width."""
        if self.placement == "bare" and self.channel != "none":
            raise ValueError(f"bare blocks have no channel mixer '{self.channel}': set channel='none'")
        if not self.pattern:
            raise ValueError("Backbone.pattern is empty: name at least one mixer, e.g. pattern=(GRU(),)")
        return BackboneMixer(self, width)

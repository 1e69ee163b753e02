"""The classical stack: each recurrent layer reads the states of the one below, and nothing else."""

from typing import ClassVar

import pydantic

from seqloom.mixers.lstm import LSTM
from seqloom.model.backbone import Backbone
from seqloom.model.block import Channel
from seqloom.model.mixer import MixerSpec
from seqloom.zoo.architecture import Architecture, directed


class Stacked(Architecture):
    """LSTM on LSTM without norms, residuals or channel mixers, as torch.nn.LSTM(num_layers=...) stacks them.

    h^l_t = LSTM(h^l_{t-1}, h^{l-1}_t). Work O(B T D D) a layer, depth T + layers by wavefronts; gradients pass through
    every layer, which is what residual blocks were invented against.
    """

    family: ClassVar[str] = "recurrent"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "graves2013",
            "Graves, A. and Mohamed, A. and Hinton, G.",
            "Speech Recognition with Deep Recurrent Neural Networks",
            "2013",
            "arXiv:1303.5778",
        ),
    )
    channel: Channel = "none"
    mixer: MixerSpec = LSTM()  # of each layer
    layers: int = pydantic.Field(default=2, gt=0)

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the mixers, one a layer."""
        return (directed(self.mixer, causal),) * self.layers

    def backbone(self, causal: bool) -> Backbone:
        """Return the layers, one on the other; with any channel mixer they are refused when built."""
        return super().backbone(causal).replace(placement="bare")

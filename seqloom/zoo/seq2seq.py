"""The recurrent encoder-decoder with attention."""

from typing import ClassVar

import pydantic

from seqloom.mixers.additive import Additive
from seqloom.mixers.bidirectional import Bidirectional
from seqloom.mixers.gru import GRU
from seqloom.model.backbone import Backbone
from seqloom.model.frontend import Frontend, Tokens
from seqloom.model.head import Head, NextToken
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import ModelSpec
from seqloom.zoo.architecture import Architecture


class Seq2Seq(Architecture):
    """A GRU both ways reads the source, another writes: c_t = sum_s softmax_s(v tanh(W h_t + U m_s)) m_s.

    Departs from the sources: the context c enters the layers above and not the recurrence's next step (no input
    feeding), so that training runs all steps at once; the writer begins from zeros, not from the reader's last state;
    blocks are residual, with a channel mixer. Work O(B (S + T) D D + B S T D), depth S + T, state B D and the source.
    """

    family: ClassVar[str] = "hybrid"
    needs: ClassVar[str] = "source"
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "sutskever2014",
            "Sutskever, I. and Vinyals, O. and Le, Q. V.",
            "Sequence to Sequence Learning with Neural Networks",
            "2014",
            "arXiv:1409.3215",
        ),
        (
            "bahdanau2015",
            "Bahdanau, D. and Cho, K. and Bengio, Y.",
            "Neural Machine Translation by Jointly Learning to Align and Translate",
            "2015",
            "arXiv:1409.0473",
        ),
    )
    layers: int = pydantic.Field(default=1, gt=0)

    def pattern(self, causal: bool) -> tuple[MixerSpec, ...]:
        """Return the decoder's mixers."""
        return (GRU(), Additive()) * self.layers

    def backbone(self, causal: bool) -> Backbone:
        """Return the decoder's blocks: one channel mixer behind each pair."""
        return super().backbone(causal).replace(joined=True)

    def model(self, frontend: Frontend, head: Head, causal: bool, source: Frontend | None = None) -> ModelSpec:
        """Return the model that reads a task's source and writes its target.

        Raises:
            ValueError: the task has no source.
        """
        if source is None:
            return super().model(frontend, head, causal)  # which says so
        reader = Backbone(
            pattern=(Bidirectional(mixer=GRU()),) * self.layers,
            channel=self.channel,
            expand=self.expand,
            dropout=self.dropout,
        )
        return self.reading(self.dropped(frontend), head, self.dropped(source), reader, self.backbone(True))

    def standard(self, vocabulary: int) -> ModelSpec:
        """Return the model from and to texts of one vocabulary."""
        tokens = Tokens(vocabulary=vocabulary)
        spec = self.model(tokens, NextToken(vocabulary=vocabulary), True, tokens)
        return spec.replace(frontend=tokens, encoder=spec.encoder and spec.encoder.replace(frontend=tokens))

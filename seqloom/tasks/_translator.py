"""Translating with a trained model: sources decoded with beams, told as texts, judged by their overlap."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch
from seqloom.data.pairs import Codec, sources
from seqloom.measure import formulas
from seqloom.measure.overlap import bleu_parts, chrf_parts
from seqloom.model.generate import complete
from seqloom.model.prompt import from_source
from seqloom.tasks.task import Scorer, evaluate, judging

_FORMULAS = {"bleu": formulas.bleu, "chrf": formulas.chrf, "perplexity": formulas.perplexity}
_BATCH = 64  # texts translated together
_SPARE = 10  # tokens that a translation may have beyond what its source's length lets expect


@dataclass(frozen=True)
class Translator:
    """How a model's answers to sources become texts."""

    codec: Codec
    beams: int
    length_penalty: float

    def scorer(self, tokenize: str) -> Scorer:
        """Return what scores a model by its translations, BLEU after one of sacreBLEU's tokenizers."""
        return functools.partial(evaluate, judge=functools.partial(self.judge, tokenize), formulas=_FORMULAS)

    def answers(self, model: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
        """Translate texts, those of like length together; an empty text is its own translation."""
        texts = [str(item).strip() for item in items]
        tokens = [self.codec.tokenizer.encode(text) for text in texts]
        found = [{"translation": ""} for _ in texts]
        order = sorted((row for row, text in enumerate(texts) if text), key=lambda row: len(tokens[row]))
        device = next(model.parameters()).device
        for start in range(0, len(order), _BATCH):
            at = order[start : start + _BATCH]
            source, segment = sources([tokens[row] for row in at], self.codec.end)
            with judging(model):
                translated = self.translated(model, source.to(device), segment.to(device))
            for row, text in zip(at, translated, strict=True):
                found[row] = {"translation": text}
        return found

    def judge(self, tokenize: str, model: Any, batch: Batch, output: Tensor) -> dict[str, Tensor | np.ndarray]:
        """Return what BLEU and chrF of the translations, and the head's own scores, are made of."""
        assert batch.source is not None
        answers = self.translated(model, batch.source, batch.source_segment)
        references = [self.codec.decode(row[row != IGNORED].tolist()) for row in batch.target]
        own = {name: torch.stack(parts, dim=-1) for name, parts in model.head.scores(output, batch.target).items()}
        return {
            "bleu": bleu_parts(answers, references, tokenize),
            "chrf": chrf_parts(answers, references),
            "perplexity": own["bits_per_token"],
            **own,
        }

    def translated(self, model: Any, source: Tensor, segment: Tensor | None) -> list[str]:
        """Return the translations of sources (B, S), with their ends, padded right; each as it would be alone."""
        prompt, real, memory = from_source(model, source, segment, self.codec.begin)
        lengths = (torch.ones_like(source) if segment is None else segment).sum(dim=1)
        limits = (lengths * self.codec.growth).long() + _SPARE
        frontend = model.spec.frontend
        if frontend.positions == "learned":  # a translation ends where the positions do
            limits = limits.clamp(max=frontend.max_length - prompt.shape[1] + 1).clamp(min=1)
        whole = complete(
            model,
            prompt,
            int(limits.max()),
            beams=self.beams,
            length_penalty=self.length_penalty,
            end=self.codec.end,
            limits=limits,
            segment=real,
            memory=memory,
        )
        return [self.codec.decode(row) for row in whole[:, prompt.shape[1] :].tolist()]

"""Generation: prefill the prompt, then decode a token at a time from the state."""

import math
from collections.abc import Iterator

import pydantic
import torch
from torch import Tensor

from seqloom.core.spec import Spec
from seqloom.core.types import FRESH
from seqloom.model.model import Model


class Sampling(Spec):
    """How the next token is drawn from the logits."""

    temperature: float = pydantic.Field(default=1.0, ge=0)  # 0: the most likely token
    top_k: int | None = pydantic.Field(default=None, gt=0)  # only the k most likely; None: all
    top_p: float = pydantic.Field(default=1.0, gt=0, le=1)  # only the smallest set of this probability
    seed: int = 0

    def draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Return a token (B,) from logits (B, V)."""
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        logits = logits.float() / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -math.inf)
        if self.top_p < 1:
            ordered, order = logits.sort(dim=-1, descending=True)
            probability = ordered.softmax(dim=-1)
            # a token stays if the more likely ones do not reach top_p: the first always stays
            out = probability.cumsum(dim=-1) - probability >= self.top_p
            logits = logits.masked_fill(torch.zeros_like(out).scatter(1, order, out), -math.inf)
        return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[:, 0]


def generate(
    model: Model, prompt: Tensor, steps: int, sampling: Sampling | None = None, segment: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield `steps` tokens (B,) after the prompt, each as soon as it is known.

    Args:
        model: causal, with a NextToken head.
        prompt: (B, T) int64, T >= 1; pad rows of unequal length in front, and say so in `segment`.
        steps: how many tokens.
        sampling: how they are drawn; None: the most likely.
        segment: (B, T) integers, 0 at padding; the last step of every row must be real.

    Raises:
        ValueError: the model sees the future, its head gives no tokens, or the prompt is empty.

    Complexity: one prefill over T, then `steps` calls with T = 1: constant each for a recurrence, growing with the
    steps seen for attention without a window.
    """
    if not model.causal:
        raise ValueError("this model sees the future, so it cannot generate: train it with a causal task")
    if model.spec.head.kind != "next_token":
        raise ValueError(f"a head of kind '{model.spec.head.kind}' gives no tokens: generation needs 'next_token'")
    if prompt.shape[1] == 0:
        raise ValueError("the prompt is empty: give at least one token")
    if segment is not None and not bool((segment[:, -1] != 0).all()):
        raise ValueError("a row of the prompt ends in padding: pad in front, so that its last step is real")
    return _tokens(model, prompt, steps, sampling or Sampling(temperature=0.0), segment)


def _tokens(model: Model, prompt: Tensor, steps: int, sampling: Sampling, segment: Tensor | None) -> Iterator[Tensor]:
    generator = torch.Generator(device=prompt.device).manual_seed(sampling.seed)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits, state = model(prompt, FRESH, segment)
            for step in range(steps):
                token = sampling.draw(logits[:, -1], generator)
                yield token
                if step + 1 < steps:
                    logits, state = model(token[:, None], state)
    finally:
        model.train(training)

"""Generation: prefill the prompt, then decode a token at a time from the state."""

import math
from collections.abc import Callable, Iterator, Sequence

import pydantic
import torch
from torch import Tensor

from seqloom.core.spec import Spec
from seqloom.core.types import FRESH, State
from seqloom.model.decoder import decoder
from seqloom.model.mixer import Memory
from seqloom.model.model import Model
from seqloom.ops.tape import Decoder, Unrecorded


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
    model: Model,
    prompt: Tensor,
    steps: int,
    sampling: Sampling | None = None,
    segment: Tensor | None = None,
    memory: Memory | None = None,
) -> Iterator[Tensor]:
    """Yield `steps` tokens (B,) after the prompt, each as soon as it is known.

    Args:
        model: causal, with a NextToken head.
        prompt: (B, T) int64, T >= 1; pad rows of unequal length in front, and say so in `segment`.
        steps: how many tokens.
        sampling: how they are drawn; None: the most likely.
        segment: (B, T) integers, 0 at padding; the last step of every row must be real.
        memory: what `Model.encode` gave, for a model with an encoder.

    Raises:
        ValueError: the model sees the future, its head gives no tokens, or the prompt is empty.

    Complexity: one prefill over T, then `steps` calls with T = 1: constant each for a recurrence, growing with the
    steps seen for attention without a window.
    """
    _check(model, prompt, segment)
    return _tokens(model, prompt, steps, sampling or Sampling(temperature=0.0), segment, memory)


def _check(model: Model, prompt: Tensor, segment: Tensor | None) -> None:
    if not model.causal:
        raise ValueError("this model sees the future, so it cannot generate: train it with a causal task")
    if model.spec.head.kind != "next_token":
        raise ValueError(f"a head of kind '{model.spec.head.kind}' gives no tokens: generation needs 'next_token'")
    if prompt.shape[1] == 0:
        raise ValueError("the prompt is empty: give at least one token")
    if segment is not None and not bool((segment[:, -1] != 0).all()):
        raise ValueError("a row of the prompt ends in padding: pad in front, so that its last step is real")


def _tokens(
    model: Model, prompt: Tensor, steps: int, sampling: Sampling, segment: Tensor | None, memory: Memory | None
) -> Iterator[Tensor]:
    generator = torch.Generator(device=prompt.device).manual_seed(sampling.seed)
    training = model.training
    model.eval()
    try:
        # entered anew at every step: between two tokens the caller's own mode holds
        with torch.inference_mode():
            logits, state = model.last(prompt, FRESH, segment, memory)
            token = sampling.draw(logits, generator)
            play = _native_step(model, state, segment) if steps > 1 else None
        for step in range(steps):
            yield token
            if step + 1 < steps:
                with torch.inference_mode():
                    if play is not None:
                        logits = play(int(token))[None]
                    else:
                        logits, state = model.last(token[:, None], state)
                    token = sampling.draw(logits, generator)
    finally:
        model.train(training)


def _native_step(model: Model, state: State, segment: Tensor | None) -> Decoder | None:
    """Return the native decoder where there is one: a single row without padding on a CPU, in float32."""
    if segment is not None or torch.is_autocast_enabled("cpu"):
        return None
    try:
        return decoder(model, state)
    except Unrecorded:
        return None


def ragged(prompts: Sequence[Sequence[int] | Tensor]) -> tuple[Tensor, Tensor]:
    """Return prompts of unequal length as one (B, T), padded in front, and its segment.

    Raises:
        ValueError: there is no prompt, or one is empty.
    """
    rows = [torch.as_tensor(prompt, dtype=torch.int64) for prompt in prompts]
    if not rows or not all(len(row) for row in rows):
        raise ValueError("a prompt is empty: give each at least one token")
    longest = max(map(len, rows))
    ids, segment = (torch.zeros((len(rows), longest), dtype=torch.int64) for _ in range(2))
    for i, row in enumerate(rows):
        ids[i, longest - len(row) :] = row
        segment[i, longest - len(row) :] = 1
    return ids, segment


def complete(
    model: Model,
    ids: Tensor | Sequence[Sequence[int] | Tensor],
    max_new_tokens: int = 20,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    seed: int = 0,
    beams: int = 1,
    length_penalty: float = 1.0,
    end: int | None = None,
    segment: Tensor | None = None,
    memory: Memory | None = None,
) -> Tensor:
    """Return prompts and what follows them.

    Args:
        model: causal, with a NextToken head.
        ids: (B, T) int64, or a list of prompts of unequal length, which are padded in front.
        max_new_tokens: how many at most.
        temperature: 0 takes the most likely token, above 0 draws.
        top_k: draw among so many only; None: all.
        top_p: draw among the smallest set of this probability.
        seed: of drawing.
        beams: with more than one, the most likely continuations are searched for; only with temperature 0.
        length_penalty: beams are compared by log probability / length^penalty.
        end: a token that ends a row, which it then fills; None: rows end with their last token.
        segment: (B, T) integers, 0 at padding in front.
        memory: what `Model.encode` gave, for a model with an encoder.

    Returns:
        (B, T + n) int64, n <= max_new_tokens: fewer where every row has ended.

    Raises:
        ValueError: as `generate`; beams together with drawing.
    """
    if max_new_tokens < 1 or beams < 1:
        raise ValueError(f"max_new_tokens and beams are at least 1, got {max_new_tokens} and {beams}")
    if not isinstance(ids, Tensor):
        ids, segment = ragged(ids)
        ids = ids.to(next(model.parameters()).device)
    if beams > 1:
        if temperature > 0:
            raise ValueError("beams search for the most likely continuation: set temperature=0, or beams=1 to draw")
        from seqloom.model.beam import search

        _check(model, ids, segment)
        return torch.cat([ids, search(model, ids, max_new_tokens, beams, length_penalty, end, segment, memory)], dim=1)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    found: list[Tensor] = []
    ended = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
    for token in generate(model, ids, max_new_tokens, sampling, segment, memory):
        if end is not None:
            token = token.masked_fill(ended, end)
            ended |= token == end
        found.append(token)
        if end is not None and bool(ended.all()):
            break
    return torch.cat([ids, torch.stack(found, dim=1)], dim=1)


def text(tokens: Iterator[int], decode: Callable[[list[int]], str], stop: Sequence[str] = ()) -> Iterator[str]:
    """Yield the text of tokens as it grows, up to the first of the stop strings, which is left out.

    What may be the beginning of a stop string, or half a character, is held back until it is known.
    """
    if any(not word for word in stop):
        raise ValueError("a stop string is empty: give at least one character")
    known: list[int] = []
    told = 0
    for token in tokens:
        known.append(token)
        whole = decode(known)
        ends = [at for at in (whole.find(word, max(0, told - len(word))) for word in stop) if at >= 0]
        if ends:
            yield whole[told : min(ends)]
            return
        safe = len(whole.rstrip("\N{REPLACEMENT CHARACTER}"))
        for word in stop:
            held = next((n for n in range(len(word) - 1, 0, -1) if whole[:safe].endswith(word[:n])), 0)
            safe = min(safe, len(whole[:safe]) - held) if held else safe
        if safe > told:
            yield whole[told:safe]
            told = safe
    if known and len(whole := decode(known)) > told:
        yield whole[told:]

"""Generation: prefill the prompt, then decode a token at a time from the state."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self

import pydantic
import torch
from torch import Tensor

from seqloom.core.spec import Spec, resolve
from seqloom.core.types import FRESH, State
from seqloom.model.decoder import decoder
from seqloom.model.mixer import Memory
from seqloom.model.model import Model
from seqloom.model.prompt import checked, ragged, whole
from seqloom.ops.tape import Decoder, Unrecorded


class Sampling(Spec):
    """How the next token is drawn from the logits."""

    temperature: float = pydantic.Field(default=1.0, ge=0, allow_inf_nan=False)  # 0: the most likely token
    top_k: int | None = pydantic.Field(default=None, gt=0)  # only the k most likely; None: all
    top_p: float = pydantic.Field(default=1.0, gt=0, le=1)  # only the smallest set of this probability
    seed: int = pydantic.Field(default=0, ge=-(2**63), lt=2**64)  # of drawing

    @pydantic.model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if self.temperature == 0 and (self.top_k is not None or self.top_p < 1):
            raise ValueError("top_k and top_p draw, temperature 0 takes the most likely: give a temperature above 0")
        return self

    def draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Return a token (B,) from logits (B, V)."""
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        # from the highest, so that however small a temperature leaves it finite: below 1e-30 it changes nothing
        logits = (logits.float() - logits.amax(dim=-1, keepdim=True)) / max(self.temperature, 1e-30)
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            kept, at = logits.topk(self.top_k, dim=-1)
            logits = torch.full_like(logits, -math.inf).scatter(1, at, kept)
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
        prompt: (B, T) integers, T >= 1; pad rows of unequal length in front, and say so in `segment`.
        steps: how many tokens.
        sampling: how they are drawn; None: the most likely.
        segment: (B, T) integers, 0 at padding; the last step of every row must be real.
        memory: what `Model.encode` gave, for a model with an encoder.

    Raises:
        TypeError: the prompt is no tensor of integers, or `steps` is no integer.
        ValueError: the model sees the future, or its head gives no tokens or some that it cannot read; a prompt that is
            empty, not (B, T) or holds tokens outside the vocabulary; a segment or memory of other rows; or more steps
            than the positions learnt.

    Complexity: one prefill over T, then `steps` calls with T = 1: constant each for a recurrence, growing with the
    steps seen for attention without a window.
    """
    prompt = checked(model, prompt, whole("steps", steps, 0), segment, memory)
    return _tokens(model, prompt, steps, sampling or Sampling(temperature=0.0), segment, memory)


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
    limits: Tensor | None = None,
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
        length_penalty: beams that end at different lengths are compared by log probability / length^penalty.
        end: a token that ends a row, which it then fills; None: rows end with their last token.
        limits: (B,) integers, how many tokens at most of each row, beside max_new_tokens; only with an end.
        segment: (B, T) integers, 0 at padding in front; only with a tensor.
        memory: what `Model.encode` gave, for a model with an encoder.

    Returns:
        (B, T + n) int64, n <= max_new_tokens: fewer where every row has ended.

    Raises:
        TypeError: as `generate`, or a number that is none.
        ValueError: as `generate`; an end outside the vocabulary; or settings without effect: of drawing at temperature
            0 or with beams, a length penalty without beams and an end, a segment beside a list.
    """
    steps, beams = whole("max_new_tokens", max_new_tokens, 0), whole("beams", beams, 1)
    if not isinstance(ids, Tensor):
        if segment is not None:
            raise ValueError("a list of prompts is padded here: leave out segment, or give a tensor")
        ids, segment = (part.to(next(model.parameters()).device) for part in ragged(ids))
    ids = checked(model, ids, steps, segment, memory)
    sampling = resolve(Sampling, {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed})
    _check_settings(model, sampling, beams, length_penalty, end)
    _check_limits(ids, end, limits)
    if steps == 0:
        return ids
    if beams > 1:
        from seqloom.model.beam import search

        found = search(model, ids, steps, beams, length_penalty, end, segment, memory, limits)
        return torch.cat([ids, found], dim=1)
    return torch.cat([ids, _sampled(_tokens(model, ids, steps, sampling, segment, memory), end, limits)], dim=1)


def _sampled(tokens: Iterator[Tensor], end: int | None, limits: Tensor | None) -> Tensor:
    """Return tokens (B, n), filled with `end` behind each row's end or limit, up to the last row's."""
    found: list[Tensor] = []
    ended: Tensor | None = None
    for step, token in enumerate(tokens, start=1):
        if end is not None:
            ended = torch.zeros_like(token, dtype=torch.bool) if ended is None else ended
            token = token.masked_fill(ended, end)
            ended = ended | (token == end)
            ended = ended if limits is None else ended | (limits <= step)
        found.append(token)
        if ended is not None and bool(ended.all()):
            break
    return torch.stack(found, dim=1)


def _check_limits(ids: Tensor, end: int | None, limits: Tensor | None) -> None:
    if limits is None:
        return
    if end is None:
        raise ValueError("limits end rows at different lengths, and fill them with an end: give an end")
    if limits.shape != ids.shape[:1] or not bool((limits >= 1).all()):
        raise ValueError(f"limits are {ids.shape[0]} numbers of at least 1, one a row; got {limits.tolist()}")


def _check_settings(model: Model, sampling: Sampling, beams: int, length_penalty: float, end: int | None) -> None:
    vocabulary = model.spec.head.vocabulary  # type: ignore[union-attr]
    if end is not None and whole("end", end, 0) >= vocabulary:
        raise ValueError(f"end={end} is outside the vocabulary of {vocabulary}: no row would ever end")
    if not math.isfinite(length_penalty):
        raise ValueError(f"length_penalty is a finite number, got {length_penalty}")
    if length_penalty != 1 and (beams == 1 or end is None):
        raise ValueError("length_penalty compares beams that end at different lengths: give beams and an end")
    if beams > 1 and sampling.temperature > 0:
        raise ValueError("beams search for the most likely continuation: set temperature=0, or beams=1 to draw")
    if sampling.seed != 0 and sampling.temperature == 0:
        raise ValueError("seed is of drawing, temperature 0 takes the most likely: give a temperature above 0")


def text(tokens: Iterable[int | Tensor], decode: Callable[[list[int]], str], stop: Sequence[str] = ()) -> Iterator[str]:
    """Yield the text of tokens as it grows, up to the first of the stop strings, which is left out.

    What may be the beginning of a stop string, or half a character, is held back until it is known.

        >>> for piece in text(generate(model, prompt, 200), tokenizer.decode, stop=["\\n"]): print(piece, end="")

    Args:
        tokens: of one row, as `generate` yields them: tokens behind the stop are never asked for.
        decode: token numbers to text.
        stop: strings that end the text.

    Raises:
        ValueError: a stop string is empty; tokens of several rows.

    Complexity: a token is decoded with those of the character before it, however long the text.
    """
    if isinstance(stop, str) or any(not word for word in stop):
        raise ValueError("a stop string is empty, or stop is no list: give strings of at least one character")
    waiting = ""  # what may be the beginning of a stop string
    for piece, known in _pieces(tokens, decode):
        ends = [at for at in ((waiting + piece).find(word) for word in stop) if at >= 0]
        if ends:
            waiting = (waiting + piece)[: min(ends)]
            break
        if known:
            waiting += piece
            held = max((n for word in stop for n in range(1, len(word)) if waiting.endswith(word[:n])), default=0)
            if held < len(waiting):
                yield waiting[: len(waiting) - held]
                waiting = waiting[len(waiting) - held :]
    if waiting:
        yield waiting


def _pieces(tokens: Iterable[int | Tensor], decode: Callable[[list[int]], str]) -> Iterator[tuple[str, bool]]:
    """Yield the text behind the last piece known, and whether it is known: no character lacks its end."""
    before: list[int] = []  # the tokens of the last piece: how one is spelt may depend on its neighbour
    fresh: list[int] = []
    piece = ""
    for token in tokens:
        if isinstance(token, Tensor) and token.numel() != 1:
            raise ValueError(f"text is of one row, and these tokens are of {token.numel()}: generate rows apart")
        fresh.append(int(token))
        piece = decode(before + fresh)[len(decode(before)) :]
        known = bool(piece) and not piece.endswith("\N{REPLACEMENT CHARACTER}")
        yield piece, known
        if known:
            before, fresh, piece = fresh, [], ""
    yield piece, True

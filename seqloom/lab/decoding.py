"""Decoding: how a trained run continues a prompt, and the continuation."""

from collections.abc import Iterable, Iterator
from typing import Self

import pydantic
import torch
from torch import Tensor

from seqloom.core.spec import Spec
from seqloom.model.generate import Sampling, complete, generate, text
from seqloom.model.model import Model
from seqloom.model.prompt import checked
from seqloom.tasks.task import Interface


class Decoding(Spec):
    """Take the likeliest token, draw one, or search with beams; up to a length or a stop string."""

    length: int = pydantic.Field(default=200, gt=0)  # tokens at most
    temperature: float = pydantic.Field(default=0.0, ge=0, allow_inf_nan=False)  # 0: the likeliest; 1: as modelled
    top_k: int | None = pydantic.Field(default=None, gt=0)  # draw among so many likeliest; None: all
    top_p: float = pydantic.Field(default=1.0, gt=0, le=1)  # draw among the smallest set of this probability
    seed: int = pydantic.Field(default=0, ge=0, lt=2**63)  # of the drawing
    beams: int = pydantic.Field(default=1, gt=0)  # continuations that are kept side by side
    length_penalty: float = pydantic.Field(default=1.0, allow_inf_nan=False)  # beams: log probability / length^this
    stop: tuple[str, ...] = ()  # end before the first of these strings

    @pydantic.model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if self.temperature == 0 and (self.top_k is not None or self.top_p < 1):
            raise ValueError("top_k and top_p draw, temperature 0 takes the likeliest: give a temperature above 0")
        if self.temperature > 0 and self.beams > 1:
            raise ValueError("beams search for the likeliest continuation, a temperature draws: leave one of them out")
        if self.length_penalty != 1 and (self.beams == 1 or not self.stop):
            raise ValueError("length_penalty compares beams that end at different lengths: give beams and a stop")
        if "" in self.stop:
            raise ValueError("a stop string is empty: give at least one character")
        return self


def possible(model: Model, interface: Interface, decoding: Decoding) -> None:
    """Refuse a model and settings with which no prompt is continued, not even one of a single token.

    Raises:
        ValueError: as `continued`.
    """
    _check_stop(interface, decoding)
    checked(model, torch.zeros((1, 1), dtype=torch.int64), decoding.length, None, None)
    if decoding.beams > 1:
        _end(interface, decoding.stop)


def continued(model: Model, interface: Interface, inputs: Tensor, decoding: Decoding) -> tuple[list[int], str]:
    """Return the tokens that follow one prompt (1, T), those of a stop string among them, and their text without it.

    Raises:
        ValueError: the model sees the future; stop strings for a task whose tokens are no text; or beams with anything
            but one stop string of one token, where the beams end.
    """
    _check_stop(interface, decoding)
    decode = interface.coding.decode
    found: list[int] = []
    tokens = _kept(_searched(model, interface, inputs, decoding), found)
    if decode is None:
        return found, "".join(f" {token}" for token in tokens)
    if decoding.stop:
        return found, "".join(text(tokens, decode, decoding.stop))
    return found, decode(list(tokens))


def _check_stop(interface: Interface, decoding: Decoding) -> None:
    if interface.coding.decode is None and decoding.stop:
        raise ValueError("a stop string is text, and this run generates numbered tokens: leave it out")


def _searched(model: Model, interface: Interface, inputs: Tensor, decoding: Decoding) -> Iterable[int]:
    if decoding.beams == 1:
        sampling = Sampling(
            temperature=decoding.temperature, top_k=decoding.top_k, top_p=decoding.top_p, seed=decoding.seed
        )
        return (int(token[0]) for token in generate(model, inputs, decoding.length, sampling))
    whole = complete(
        model,
        inputs,
        decoding.length,
        beams=decoding.beams,
        length_penalty=decoding.length_penalty,
        end=_end(interface, decoding.stop),
    )
    return whole[0, inputs.shape[1] :].tolist()


def _end(interface: Interface, stop: tuple[str, ...]) -> int | None:
    """Return the token at which beams end; None: they have the full length."""
    if not stop:
        return None
    assert interface.coding.encode is not None  # what spells tokens out also reads them
    tokens = [interface.coding.encode(word) for word in stop]
    if len(tokens) != 1 or len(tokens[0]) != 1:
        told = ", ".join(f"{word!r} ({len(steps)})" for word, steps in zip(stop, tokens, strict=True))
        raise ValueError(
            f"beams end at one stop string, of one token; given, with their tokens: {told}. Give such a one, or leave "
            "out beams"
        )
    return int(tokens[0][0])


def _kept(tokens: Iterable[int], found: list[int]) -> Iterator[int]:
    for token in tokens:
        found.append(token)
        yield token

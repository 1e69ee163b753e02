"""Prompts: lists become tensors, and what cannot be continued is refused before it begins."""

import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from seqloom.model.mixer import Memory
from seqloom.model.model import Model


def checked(model: Model, prompt: Any, steps: int, segment: Any, memory: Memory | None) -> Tensor:
    """Return a prompt (B, T) as int64, if the model can continue it by so many steps.

    Raises:
        TypeError: no tensor of integers.
        ValueError: the rule that is broken, and how to keep it.
    """
    frontend, head = model.spec.frontend, model.spec.head
    if not model.causal:
        raise ValueError("this model sees the future, so it cannot generate: train it with a causal task")
    if head.kind != "next_token":
        raise ValueError(f"a head of kind '{head.kind}' gives no tokens: generation needs 'next_token'")
    if frontend.kind != "tokens" or head.vocabulary > frontend.vocabulary:
        known = f"{frontend.vocabulary} tokens" if frontend.kind == "tokens" else "no tokens"
        raise ValueError(f"the head gives {head.vocabulary} tokens and the frontend reads {known}: it needs as many")
    if not isinstance(prompt, Tensor):
        raise TypeError(f"a prompt is a tensor (B, T) of token numbers, got {type(prompt).__name__}")
    if not _integers(prompt):
        raise TypeError(f"token numbers are integers, got {prompt.dtype}: give prompt.long() if they are whole")
    shape = tuple(prompt.shape)
    if len(shape) != 2:
        raise ValueError(f"a prompt has the shape (B, T), got {shape}: for one row give prompt[None]")
    if 0 in shape:
        raise ValueError(f"the prompt is empty, its shape {shape}: give at least one row and one token")
    if segment is not None and (not isinstance(segment, Tensor) or segment.shape != prompt.shape):
        got = tuple(segment.shape) if isinstance(segment, Tensor) else type(segment).__name__
        raise ValueError(f"segment has the shape of the prompt {shape}, got {got}")
    if segment is not None and not bool((segment[:, -1] != 0).all()):
        raise ValueError("a row of the prompt ends in padding: pad in front, so that its last step is real")
    read = prompt if segment is None else prompt[segment != 0]
    if int(read.amin()) < 0 or int(read.amax()) >= frontend.vocabulary:
        wrong = read[(read < 0) | (read >= frontend.vocabulary)][0]
        raise ValueError(f"token {int(wrong)} of the prompt is outside the vocabulary of {frontend.vocabulary}")
    if memory is not None and not model.backbone.reads:
        raise ValueError("this model reads no memory: leave it out")
    if memory is not None and len(memory.x) != len(prompt):
        raise ValueError(f"memory has {len(memory.x)} rows, the prompt {len(prompt)}: give one for each")
    # the last token is not read again
    longest = shape[1] if segment is None else int((segment == segment[:, -1:]).sum(dim=1).amax())
    if frontend.positions == "learned" and longest + steps - 1 > frontend.max_length:
        raise ValueError(
            f"a prompt of {longest} tokens and {steps} more exceed the {frontend.max_length} positions learnt: "
            f"give fewer, here {max(frontend.max_length + 1 - longest, 0)} more at most"
        )
    return prompt.long()


def ragged(prompts: Any) -> tuple[Tensor, Tensor]:
    """Return prompts of unequal length as one (B, T), padded in front, and its segment.

    Raises:
        TypeError: a prompt is no row of integers.
        ValueError: there is no prompt, or one is empty.
    """
    if isinstance(prompts, str | bytes) or not isinstance(prompts, Iterable):
        raise TypeError(f"prompts are a tensor (B, T) or lists of token numbers, one a row, got {prompts!r}")
    rows = [_row(prompt) for prompt in prompts]
    if not rows or not all(len(row) for row in rows):
        raise ValueError("a prompt is empty: give each at least one token")
    longest = max(map(len, rows))
    ids, segment = (torch.zeros((len(rows), longest), dtype=torch.int64) for _ in range(2))
    for i, row in enumerate(rows):
        ids[i, longest - len(row) :] = row
        segment[i, longest - len(row) :] = 1
    return ids, segment


def from_source(model: Model, source: Tensor, segment: Tensor | None, begin: int) -> tuple[Tensor, Any, Memory | None]:
    """Return what a model goes on from to answer sources, for `complete`: (prompt (B, T), its segment, memory).

    An encoder reads the sources and the prompt is `begin`; without one the prompt is the sources with `begin` behind.

    Args:
        model: any.
        source: (B, S) tokens, padded right.
        segment: (B, S) integers, 0 at padding; None: nothing is padded.
        begin: token that opens an answer.
    """
    opening = source.new_full((len(source), 1), begin)
    if model.encoder is not None:
        return opening, None, model.encode(source, segment)
    prompt = torch.cat([source, opening], dim=1)
    if segment is None:
        return prompt, None, None
    real = torch.cat([(segment != 0).long(), torch.ones_like(opening)], dim=1)
    order = real.argsort(dim=1, stable=True)  # padding comes in front, so that the last step is real
    return prompt.gather(1, order), real.gather(1, order), None


def whole(name: str, value: Any, least: int) -> int:
    """Return a whole number that is at least so large.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is smaller.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is a whole number, got {value!r}")
    if operator.index(value) < least:
        raise ValueError(f"{name} is at least {least}, got {value}")
    return operator.index(value)


def _row(prompt: Any) -> Tensor:
    try:
        row = torch.as_tensor(prompt)
    except (TypeError, ValueError, RuntimeError):
        row = None
    if row is None or row.dim() != 1 or (len(row) and not _integers(row)):
        raise TypeError(f"prompts are lists of token numbers, one list a row, got the row {prompt!r}")
    return row.long()


def _integers(x: Tensor) -> bool:
    return not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)

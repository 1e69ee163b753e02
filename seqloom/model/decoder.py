"""A model's step on a tape: what `generate` plays for one row on a CPU."""

from typing import Any

from seqloom.core.types import Place
from seqloom.model.frontend import TokensFrontend
from seqloom.model.head import NextTokenHead
from seqloom.model.model import Model, ModelState
from seqloom.ops.tape import Decoder, Tape, Unrecorded


def decoder(model: Model, state: ModelState, steps: int) -> Decoder:
    """Return what decodes one row natively from a state.

    Raises:
        Unrecorded: the model, its type or device, or the state has no native form; the message says why.
    """
    if state.place.position.shape[0] != 1:
        raise Unrecorded("The native step takes one row.")
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        raise Unrecorded("Hooks of modules would not be called.")
    place: Place = state.place
    position = int(place.position)
    tape = Tape(steps)
    x = _embedded(model, tape, position + steps)
    x = model.backbone.record(tape, x, state.backbone)
    head: Any = model.head
    if not isinstance(head, NextTokenHead) or head.transform is not None:
        raise Unrecorded("Only a plain map to tokens has a native step.")
    weight = model.table if head.project is None else head.project.weight
    assert weight is not None
    return tape.play(tape.product(weight, head.bias, x), position, position)


def _embedded(model: Model, tape: Tape, length: int) -> Any:
    frontend = model.frontend
    if not isinstance(frontend, TokensFrontend) or frontend.norm is not None or frontend.kinds is not None:
        raise Unrecorded("Only plain token vectors have a native step.")
    if frontend.positions.kind == "sinusoidal":
        raise Unrecorded("Sinusoidal positions have no native step.")
    table = frontend.positions.table
    if table is not None and length > len(table):
        raise Unrecorded("The positions learnt would not suffice.")  # and the model's own step says so
    return tape.embed(frontend.embedding.weight, table, frontend.factor)

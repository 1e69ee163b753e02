"""A model's step on a tape: what `generate` plays for one row on a CPU."""

from typing import Any

from torch import nn
from torch.nn.modules.module import _global_forward_hooks as global_hooks
from torch.nn.modules.module import _global_forward_pre_hooks as global_pre_hooks

from seqloom.model.frontend import TokensFrontend
from seqloom.model.head import NextTokenHead
from seqloom.model.model import Model, ModelState
from seqloom.ops.tape import Decoder, Tape, Unrecorded, Vector


def decoder(model: Model, state: ModelState) -> Decoder:
    """Return what decodes one row natively from a state.

    Raises:
        Unrecorded: the model, its type or device, or the state has no native form; the message says why.
    """
    if state.place.position.shape[0] != 1:
        raise Unrecorded("The native step takes one row.")
    if global_hooks or global_pre_hooks or not all(map(_plainly_called, model.modules())):
        raise Unrecorded("Hooks of modules, and a forward of one's own, would not be called.")
    tape = Tape(int(state.place.position))
    x = _embedded(model, tape)
    x = model.backbone.record(tape, x, state.backbone)
    return tape.play(_answered(model, tape, x))


def _plainly_called(module: nn.Module) -> bool:
    return not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _embedded(model: Model, tape: Tape) -> Vector:
    frontend = model.frontend
    if not isinstance(frontend, TokensFrontend) or frontend.norm is not None or frontend.kinds is not None:
        raise Unrecorded("Only plain token vectors have a native step.")
    if type(frontend.embedding) is not nn.Embedding:
        raise Unrecorded(f"{type(frontend.embedding).__name__} in place of Embedding has no native step.")
    if frontend.positions.kind == "sinusoidal":
        raise Unrecorded("Sinusoidal positions have no native step.")
    return tape.embed(frontend.embedding.weight, frontend.positions.table, frontend.factor)


def _answered(model: Model, tape: Tape, x: Vector) -> Vector:
    head: Any = model.head
    if not isinstance(head, NextTokenHead) or head.transform is not None:
        raise Unrecorded("Only a plain map to tokens has a native step.")
    if head.project is None:
        assert model.table is not None
        answer = tape.product(model.table, head.bias, x)
    else:
        answer = tape.linear(head.project, x, bias=head.bias)
    if answer.size > tape.tokens:
        raise Unrecorded(f"The head answers with {answer.size} tokens, of which the table has {tape.tokens}.")
    return answer

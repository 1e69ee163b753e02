"""torch.nn's own kernels for one layer: oneDNN for a float32 LSTM on a CPU, cuDNN on a GPU, ATen's loop otherwise."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from seqloom.core.types import Where
from seqloom.ops.op import Kernel
from seqloom.ops.recurrence import Packed, Weights, fresh, is_gathered, padded_and_forward

# on a CPU from this many units and rows up, and up to so many steps, oneDNN's LSTM is a few per cent faster than native
WIDE, ROWS, STEPS = 512, 8, 1024

_FUNCTIONS = {"tanh": "rnn_tanh", "relu": "rnn_relu", "lstm": "lstm", "gru": "gru"}


@register_flop_formula(torch.ops.aten.mkldnn_rnn_layer)
def _flops(x: Any, w_ih: Any, w_hh: Any, *_: Any, **__: Any) -> int:
    # torch's counter knows no formula for oneDNN's layer and would count nothing
    return 2 * x[0] * x[1] * (w_ih[0] * w_ih[1] + w_hh[0] * w_hh[1])


@register_flop_formula(torch.ops.aten.mkldnn_rnn_layer_backward)
def _backward_flops(x: Any, w_ih: Any, w_hh: Any, *_: Any, **__: Any) -> int:
    return 2 * _flops(x, w_ih, w_hh)


class Torch(Kernel):
    """One call of torch.lstm, torch.gru, torch.rnn_tanh or torch.rnn_relu."""

    preference = 2

    def rank(self, cell: str, x: Tensor, weights: Weights, *args: Any) -> int:
        wide = cell == "lstm" and x.dim() == 3 and weights.hh.shape[1] >= WIDE
        return 4 if wide and x.shape[0] >= ROWS and x.shape[1] <= STEPS else self.preference

    def why_not(
        self,
        cell: str,
        x: Tensor,
        weights: Weights,
        state: tuple[Tensor, ...],
        where: Where | Packed | None,
        last: bool,
        reverse: bool = False,
    ) -> list[str]:
        reasons: list[str] = []
        if x.device.type == "cpu" and (cell != "lstm" or x.dtype != torch.float32):
            reasons.append("On a CPU torch has a fused kernel only for the float32 LSTM.")
        if is_gathered():
            reasons.append("The hidden units are split over processes.")
        if torch.compiler.is_compiling():
            reasons.append("It fixes the number of steps when compiled or exported.")
        if isinstance(where, Packed):
            if x.device.type == "cpu":
                reasons.append("On a CPU torch has no fused kernel for packed sequences.")
            if reverse:
                reasons.append("It turns no packed sequences round.")
        elif where is not None and (where.layout == "mixed" or ((last or reverse) and where.layout == "tail")):
            reasons.append("It knows neither documents nor padding other than behind the last step.")
        if 0 in x.shape[:2]:
            reasons.append("There are no steps.")
        if (weights.b_ih is None) != (weights.b_hh is None):
            reasons.append("It needs both biases or none.")
        if torch.is_autocast_enabled(x.device.type):
            reasons.append("Under autocast its state would lose precision.")
        return reasons

    def __call__(
        self,
        cell: str,
        x: Tensor,
        weights: Weights,
        state: tuple[Tensor, ...],
        where: Where | Packed | None,
        last: bool,
        reverse: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        if isinstance(where, Packed):
            return _run(cell, x, weights, state, where, last)
        return padded_and_forward(_run, cell, x, weights, state, where, last, reverse)


def _run(
    cell: str, x: Tensor, weights: Weights, state: tuple[Tensor, ...], where: Where | Packed | None, last: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    packed = isinstance(where, Packed)
    batch = int(where.sizes[0]) if isinstance(where, Packed) else x.shape[0]
    first = tuple(s[None].to(x.dtype) for s in (state or fresh(cell, x.new_empty((batch, 0)), weights.hh)))
    flat = [weight for weight in weights if weight is not None]
    function: Any = getattr(torch, _FUNCTIONS[cell])
    hx = list(first) if cell == "lstm" else first[0]
    rest = (len(flat) == 4, 1, 0.0, torch.is_grad_enabled(), False)
    if packed:
        y, *after = function(x, where.sizes, hx, flat, *rest)
    else:
        y, *after = function(x, hx, flat, *rest, True)
    return y, tuple(s[0] for s in after)


kernel = Torch()

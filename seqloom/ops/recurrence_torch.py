"""torch.nn's own kernels for one layer: oneDNN for a float32 LSTM on a CPU, cuDNN on a GPU, ATen's loop otherwise."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from seqloom.core.types import Where
from seqloom.ops.op import Kernel
from seqloom.ops.recurrence import fresh, is_gathered

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

    def why_not(
        self,
        cell: str,
        x: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor | None,
        b_hh: Tensor | None,
        state: tuple[Tensor, ...],
        where: Where | None,
        last: bool,
    ) -> list[str]:
        reasons: list[str] = []
        if x.device.type == "cpu" and (cell != "lstm" or x.dtype != torch.float32):
            reasons.append("On a CPU torch has a fused kernel only for the float32 LSTM.")
        if is_gathered():
            reasons.append("The hidden units are split over processes.")
        if torch.compiler.is_compiling():
            reasons.append("It fixes the number of steps when compiled or exported.")
        if where is not None and (where.layout == "mixed" or (last and where.layout == "tail")):
            reasons.append("It knows neither documents nor padding other than behind the last step.")
        if x.shape[0] == 0 or x.shape[1] == 0:
            reasons.append("There are no steps.")
        if (b_ih is None) != (b_hh is None):
            reasons.append("It needs both biases or none.")
        if torch.is_autocast_enabled(x.device.type):
            reasons.append("Under autocast its state would lose precision.")
        return reasons

    def __call__(
        self,
        cell: str,
        x: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor | None,
        b_hh: Tensor | None,
        state: tuple[Tensor, ...],
        where: Where | None,
        last: bool,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        first = tuple(s[None].to(x.dtype) for s in (state or fresh(cell, x, w_hh)))
        weights = [w_ih, w_hh] if b_ih is None else [w_ih, w_hh, b_ih, b_hh]
        function: Any = getattr(torch, _FUNCTIONS[cell])
        hx = list(first) if cell == "lstm" else first[0]
        y, *after = function(x, hx, weights, b_ih is not None, 1, 0.0, torch.is_grad_enabled(), False, True)
        return y, tuple(s[0] for s in after)


kernel = Torch()

"""One step of each recurrent cell and its derivative, as torch operations on preallocated slices; for the time loop."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Steps(NamedTuple):
    """A cell's step and its derivative, on preallocated slices.

    forward(x, u, before, after, saved): writes the next state and what backward needs.
    backward(d_after, before, after, saved, d_x, d_u) -> direct gradients of `before` (beside those through d_u).
    """

    saved: int  # width of `saved` in units of H
    forward: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]
    backward: Callable[[list[Tensor], Tensor, Tensor, Tensor, Tensor, Tensor], list[Tensor | None]]


def _tanh_forward(x: Tensor, u: Tensor, before: Tensor, after: Tensor, saved: Tensor) -> None:
    torch.tanh(u.add_(x), out=after[0])


def _tanh_backward(
    d: list[Tensor], before: Tensor, after: Tensor, saved: Tensor, d_x: Tensor, d_u: Tensor
) -> list[Tensor | None]:
    torch.ops.aten.tanh_backward.grad_input(d[0], after[0], grad_input=d_x)
    d_u.copy_(d_x)
    return [None]


def _relu_forward(x: Tensor, u: Tensor, before: Tensor, after: Tensor, saved: Tensor) -> None:
    torch.clamp_min(u.add_(x), 0.0, out=after[0])


def _relu_backward(
    d: list[Tensor], before: Tensor, after: Tensor, saved: Tensor, d_x: Tensor, d_u: Tensor
) -> list[Tensor | None]:
    torch.mul(d[0], after[0] > 0, out=d_x)
    d_u.copy_(d_x)
    return [None]


def _lstm_forward(x: Tensor, u: Tensor, before: Tensor, after: Tensor, saved: Tensor) -> None:
    hidden = after.shape[-1]
    u.add_(x)
    i, f, g, o, tanh_c = saved.split(hidden, dim=1)
    torch.sigmoid(u[:, : 2 * hidden], out=saved[:, : 2 * hidden])
    torch.tanh(u[:, 2 * hidden : 3 * hidden], out=g)
    torch.sigmoid(u[:, 3 * hidden :], out=o)
    torch.mul(f, before[1], out=after[1])
    after[1].addcmul_(i, g)
    torch.tanh(after[1], out=tanh_c)
    torch.mul(o, tanh_c, out=after[0])


def _lstm_backward(
    d: list[Tensor], before: Tensor, after: Tensor, saved: Tensor, d_x: Tensor, d_u: Tensor
) -> list[Tensor | None]:
    hidden = after.shape[-1]
    i, f, g, o, tanh_c = saved.split(hidden, dim=1)
    d_i, d_f, d_g, d_o = d_x.split(hidden, dim=1)
    d_c = d[1] + torch.ops.aten.tanh_backward(d[0] * o, tanh_c)
    torch.mul(d_c, g, out=d_i)
    torch.mul(d_c, before[1], out=d_f)
    torch.ops.aten.sigmoid_backward.grad_input(
        d_x[:, : 2 * hidden], saved[:, : 2 * hidden], grad_input=d_u[:, : 2 * hidden]
    )
    torch.ops.aten.tanh_backward.grad_input(d_c * i, g, grad_input=d_g)
    torch.ops.aten.sigmoid_backward.grad_input(d[0] * tanh_c, o, grad_input=d_o)
    d_x[:, : 2 * hidden].copy_(d_u[:, : 2 * hidden])
    d_u.copy_(d_x)
    return [None, d_c * f]


def _gru_forward(x: Tensor, u: Tensor, before: Tensor, after: Tensor, saved: Tensor) -> None:
    hidden = after.shape[-1]
    both, (n, u_n) = saved[:, : 2 * hidden], saved[:, 2 * hidden :].split(hidden, dim=1)
    torch.add(x[:, : 2 * hidden], u[:, : 2 * hidden], out=both)
    both.sigmoid_()
    r, z = both.split(hidden, dim=1)
    u_n.copy_(u[:, 2 * hidden :])
    torch.addcmul(x[:, 2 * hidden :], r, u_n, out=n)
    n.tanh_()
    torch.lerp(n, before[0], z, out=after[0])


def _gru_backward(
    d: list[Tensor], before: Tensor, after: Tensor, saved: Tensor, d_x: Tensor, d_u: Tensor
) -> list[Tensor | None]:
    hidden = after.shape[-1]
    r, z, n, u_n = saved.split(hidden, dim=1)
    d_r, d_z, d_n = d_x.split(hidden, dim=1)
    direct = d[0] * z
    torch.ops.aten.tanh_backward.grad_input(d[0] - direct, n, grad_input=d_n)
    torch.ops.aten.sigmoid_backward.grad_input(d[0] * (before[0] - n), z, grad_input=d_z)
    torch.ops.aten.sigmoid_backward.grad_input(d_n * u_n, r, grad_input=d_r)
    d_u.copy_(d_x)
    d_u[:, 2 * hidden :].mul_(r)
    return [direct]


STEPS = {
    "tanh": Steps(0, _tanh_forward, _tanh_backward),
    "relu": Steps(0, _relu_forward, _relu_backward),
    "lstm": Steps(5, _lstm_forward, _lstm_backward),
    "gru": Steps(4, _gru_forward, _gru_backward),
}

"""The scan in Triton, for CUDA: tiles of time by lanes, each an associative scan, chained by the state between them.

A program owns the lanes of one tile and walks through time; work O(B T N), depth T / 64 log 64. Triton's interpreter
runs the same kernels on a CPU, for tests (TRITON_INTERPRET=1).
"""

# pyright: reportMissingImports=false, reportIndexIssue=false
import importlib.util
from typing import Any

import torch
from torch import Tensor

from seqloom.core import runtime
from seqloom.ops.op import Kernel
from seqloom.ops.scan import check, composed_gradients

_present = importlib.util.find_spec("triton") is not None
TIME, LANES = 64, 32  # of a tile

_library = torch.library.Library("seqloom", "FRAGMENT")
_library.define("scan_triton(Tensor a, Tensor b, Tensor? h0) -> Tensor")
_library.define("scan_triton_backward(Tensor a, Tensor h, Tensor? h0, Tensor d_h) -> (Tensor, Tensor, Tensor)")

if _present:
    import triton
    import triton.language as tl

    @triton.jit
    def _compose(a, b, later_a, later_b):  # noqa: ANN202  a step of h -> a h + b after another
        return later_a * a, later_a * b + later_b

    @triton.jit
    def _forward_kernel(a, b, h0, h, steps, width, HAS_H0: tl.constexpr, TIME: tl.constexpr, LANES: tl.constexpr):
        sequence = tl.program_id(0).to(tl.int64)
        lane = tl.program_id(1) * LANES + tl.arange(0, LANES)
        inside = lane < width
        state = tl.zeros((LANES,), dtype=b.dtype.element_ty)
        if HAS_H0:
            state = tl.load(h0 + sequence * width + lane, mask=inside, other=0.0)
        step = tl.arange(0, TIME)
        for begin in range(0, steps, TIME):
            t = begin + step
            at = (sequence * steps + t[:, None]) * width + lane[None, :]
            here = (t[:, None] < steps) & inside[None, :]
            # behind the last step a = 1, b = 0 carries the state on
            decay = tl.load(a + at, mask=here, other=1.0)
            entering = tl.load(b + at, mask=here, other=0.0)
            decays, states = tl.associative_scan((decay, entering), 0, _compose)
            states = states + decays * state[None, :]
            tl.store(h + at, states, mask=here)
            state = tl.sum(tl.where(step[:, None] == TIME - 1, states, 0.0), axis=0)

    @triton.jit
    def _backward_kernel(
        a, h, h0, d_h, d_a, d_b, d_h0, steps, width,
        HAS_H0: tl.constexpr, TIME: tl.constexpr, LANES: tl.constexpr,
    ):  # fmt: skip
        sequence = tl.program_id(0).to(tl.int64)
        lane = tl.program_id(1) * LANES + tl.arange(0, LANES)
        inside = lane < width
        flow = tl.zeros((LANES,), dtype=h.dtype.element_ty)
        first = tl.zeros((LANES,), dtype=h.dtype.element_ty)
        if HAS_H0:
            first = tl.load(h0 + sequence * width + lane, mask=inside, other=0.0)
        step = tl.arange(0, TIME)
        for begin in range(0, steps, TIME):
            t = steps - 1 - begin - step  # from the last step to the first
            at = (sequence * steps + t[:, None]) * width + lane[None, :]
            here = (t[:, None] >= 0) & inside[None, :]
            later = here & (t[:, None] + 1 < steps)
            decay = tl.load(a + at + width, mask=later, other=1.0)
            given = tl.load(d_h + at, mask=here, other=0.0)
            decays, g = tl.associative_scan((decay, given), 0, _compose)
            g = g + decays * flow[None, :]
            before = tl.load(h + at - width, mask=here & (t[:, None] > 0), other=0.0)
            before = tl.where(t[:, None] == 0, first[None, :], before)
            tl.store(d_a + at, g * before, mask=here)
            tl.store(d_b + at, g, mask=here)
            flow = tl.sum(tl.where(step[:, None] == TIME - 1, g, 0.0), axis=0)
            if HAS_H0 and begin + TIME >= steps:
                decay_0 = tl.load(a + at, mask=here & (t[:, None] == 0), other=0.0)
                tl.store(d_h0 + sequence * width + lane, tl.sum(decay_0 * g, axis=0), mask=inside)


def _forward(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    a, b = a.contiguous(), b.contiguous()
    h = torch.empty_like(b)
    if h.numel():
        first = h if h0 is None else h0.contiguous()
        _forward_kernel[_grid(b)](a, b, first, h, *b.shape[1:], h0 is not None, TIME, LANES)
    return h


def _backward(a: Tensor, h: Tensor, h0: Tensor | None, d_h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, d_h = a.contiguous(), d_h.contiguous()
    d_a, d_b, d_h0 = _empty_gradients(a, h, h0, d_h)
    if h.numel():
        first = h if h0 is None else h0.contiguous()
        _backward_kernel[_grid(h)](a, h, first, d_h, d_a, d_b, d_h0, *h.shape[1:], h0 is not None, TIME, LANES)
    else:
        d_h0.zero_()
    return d_a, d_b, d_h0


def _grid(b: Tensor) -> tuple[int, int]:
    return b.shape[0], -(-b.shape[2] // LANES)


def _empty_gradients(a: Tensor, h: Tensor, h0: Tensor | None, d_h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d_a = torch.empty_like(a, memory_format=torch.contiguous_format)
    return d_a, torch.empty_like(d_a), h.new_empty((h.shape[0] if h0 is not None else 0, h.shape[2]))


@torch.library.register_fake("seqloom::scan_triton", lib=_library)
def _(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    return torch.empty_like(b, memory_format=torch.contiguous_format)


torch.library.register_fake("seqloom::scan_triton_backward", _empty_gradients, lib=_library)
_library.impl("scan_triton", _forward, "CompositeExplicitAutograd")
_library.impl("scan_triton_backward", _backward, "CompositeExplicitAutograd")


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], output, inputs[2])


def _gradients(ctx: Any, d_h: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    a, h, h0 = ctx.saved_tensors
    if torch.is_grad_enabled():  # the gradient will be differentiated
        return composed_gradients(torch.ops.seqloom.scan_triton, a, h, h0, d_h)
    d_a, d_b, d_h0 = torch.ops.seqloom.scan_triton_backward(a, h, h0, d_h)
    return d_a, d_b, None if h0 is None else d_h0


torch.library.register_autograd("seqloom::scan_triton", _gradients, setup_context=_remember, lib=_library)


class Triton(Kernel):
    """Tiles of an associative scan on a CUDA device; float32 and float64, narrower types computed in float32."""

    preference = 4

    def why_not(self, a: Tensor, b: Tensor, h0: Tensor | None = None) -> list[str]:
        reasons: list[str] = []
        if not _present:
            reasons.append("Triton is not installed: it comes with torch for CUDA.")
        if b.device.type != "cuda" and not runtime.triton_interprets():
            reasons.append(f"It runs on CUDA, not on '{b.device.type}'.")
        if not b.is_floating_point():
            reasons.append(f"It knows no {b.dtype}.")
        return reasons

    def __call__(self, a: Tensor, b: Tensor, h0: Tensor | None = None) -> Tensor:
        check(a, b, h0)
        if b.dtype not in (torch.float32, torch.float64):
            return self(a.float(), b.float(), None if h0 is None else h0.float()).to(b.dtype)
        return torch.ops.seqloom.scan_triton(a, b, h0)


kernel = Triton()

"""The delta rule in chunks: triangular systems and matrix products in each, and a chain of matrices between them."""

from typing import Any

import torch
from torch import Tensor

from seqloom.ops._opaque import opaque
from seqloom.ops.associative import check
from seqloom.ops.associative_chunked import chunks, decays, sizes
from seqloom.ops.chain import chain
from seqloom.ops.delta import empty_state, step
from seqloom.ops.op import Kernel


class Chunked(Kernel):
    """Chunks of L steps; any device.

    With S the state before a chunk and D_ij the decay from step j to step i, the corrections u_i solve
    (I + tril(b_i D_ij k_i k_j, -1)) u = b v - b D k S, so that u = U - W S with U and W from one triangular system; the
    chunk's answers and its last state are then linear in S.
    """

    preference = 1

    def why_not(self, *args: object) -> list[str]:
        return []

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        beta: Tensor,
        log_decay: Tensor | None = None,
        start: Tensor | None = None,
        state: Tensor | None = None,
        last: bool = False,
        chunk: int = 64,
    ) -> tuple[Tensor, Tensor | None]:
        check(q, k, v)
        if torch.compiler.is_compiling():
            y, after = _operation(q, k, v, beta, log_decay, start, state, chunk)
            return y, after if last else None
        return forward(q, k, v, beta, log_decay, start, state, last, chunk)


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    start: Tensor | None,
    state: Tensor | None,
    last: bool,
    chunk: int,
) -> tuple[Tensor, Tensor | None]:
    """Compute the op, differentiably."""
    first = empty_state(q, v) if state is None else state
    length, dtype = v.shape[1], first.dtype
    if length == 0:
        return torch.zeros_like(v), first.clone() if last else None
    if length == 1:
        if start is not None:
            first = first.masked_fill(start[:, 0, None, None, None], 0.0)
        decay = None if log_decay is None else log_decay[:, 0]
        s, y = step(first, q[:, 0], k[:, 0], v[:, 0], beta[:, 0], decay)
        return y[:, None].to(v.dtype), s if last else None
    n, steps, missing = sizes(length, chunk)
    # systems and states in float32 or wider, also under autocast
    with torch.autocast(v.device.type, enabled=False):
        # (B, n, H, L, K or V)
        parts = (chunks(part.to(dtype), n, steps, missing).transpose(2, 3) for part in (q, k, v))
        queries, keys, values = parts
        b = chunks(beta.to(dtype), n, steps, missing).transpose(2, 3)[..., None]
        if log_decay is not None:
            log_decay = chunks(log_decay, n, steps, missing)
        if start is not None:
            start = chunks(start, n, steps, missing)
        like = chunks(v[..., 0].to(dtype), n, steps, missing)
        between, since, until = decays(log_decay, start, like)
        since, until = (part.transpose(2, 3)[..., None] for part in (since, until))
        system = (b * (keys @ keys.transpose(-1, -2)) * between).tril(-1)
        right = torch.cat([b * values, b * since * keys], dim=-1)
        solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
        u, w = solved.split([values.shape[-1], keys.shape[-1]], dim=-1)
        weights = (queries @ keys.transpose(-1, -2)) * between
        leaving = (keys * until).transpose(-1, -2)
        eye = torch.eye(keys.shape[-1], dtype=dtype, device=v.device)
        a = eye * since[..., -1:, :] - leaving @ w
        states = chain(a, leaving @ u, first)
        y = weights @ u + (queries * since - weights @ w) @ states[:, :-1]
    y = y.transpose(2, 3).flatten(1, 2)[:, :length].to(v.dtype)
    return y, states[:, -1].clone() if last else None


def _fake(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    start: Tensor | None,
    state: Tensor | None,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(v, memory_format=torch.contiguous_format), empty_state(q, v)


def _with_state(*given: Any) -> tuple[Tensor, Tensor | None]:
    return forward(*given[:-1], last=True, chunk=given[-1])


_operation = opaque(
    "delta",
    "Tensor q, Tensor k, Tensor v, Tensor beta, Tensor? log_decay, Tensor? start, Tensor? state, int chunk",
    _with_state,
    _fake,
)
kernel = Chunked()

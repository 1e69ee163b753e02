"""Beam search: the most likely continuations, kept side by side."""

import torch
from torch import Tensor

from seqloom.core.types import FRESH, State, take
from seqloom.model.mixer import Memory
from seqloom.model.model import Model


@torch.inference_mode()
def search(
    model: Model,
    prompt: Tensor,
    steps: int,
    beams: int,
    length_penalty: float,
    end: int | None,
    segment: Tensor | None,
    memory: Memory | None,
    limits: Tensor | None = None,
) -> Tensor:
    """Return the best continuation of each row, (B, n), n <= steps, filled with `end` behind its end.

    A continuation's score is its log probability / length^length_penalty, its end included. A row is settled when
    no beam can overtake its best ended one, and costs nothing from there; `limits` (B,) settle a row earlier. Work: one
    prefill over B rows, then up to `steps` calls with B x beams.

    Source: Wu et al. 2016, arXiv 1609.08144 (length normalisation, here the plain power).
    """
    training = model.training
    model.eval()
    try:
        most = prompt.new_full((len(prompt),), steps) if limits is None else limits.clamp(max=steps)
        return _search(model, prompt, most, beams, length_penalty, end, segment, memory)
    finally:
        model.train(training)


def _search(
    model: Model,
    prompt: Tensor,
    most: Tensor,
    beams: int,
    power: float,
    end: int | None,
    segment: Tensor | None,
    memory: Memory | None,
) -> Tensor:
    batch, device, steps = prompt.shape[0], prompt.device, int(most.max())
    fill = 0 if end is None else end
    logits, state = model.last(prompt, FRESH, segment, memory)
    row = torch.arange(batch, device=device)  # those that are not settled
    state: State = take(state, row.repeat_interleave(beams))
    logits = logits.repeat_interleave(beams, dim=0)
    # all beams of a row begin alike: only the first may grow
    score = torch.full((batch, beams), -torch.inf, device=device, dtype=torch.float64)
    score[:, 0] = 0.0
    tokens = prompt.new_zeros((batch, beams, 0))
    best = torch.full((batch,), -torch.inf, device=device, dtype=torch.float64)
    answer = prompt.new_full((batch, steps), fill)
    for step in range(1, steps + 1):
        value, parent, token = _likeliest(logits, score)
        grown = torch.cat([tokens.gather(1, parent[:, :, None].expand(-1, -1, step - 1)), token[:, :, None]], dim=2)
        done = (most[row] == step)[:, None].expand_as(token)
        done = done if end is None else done | (token == end)
        ended = torch.where(done, value / step**power, -torch.inf)
        # an end counts only among the best `beams`, as it would if beams were all that is kept
        ended[:, beams:] = -torch.inf
        highest, which = ended.max(dim=1)
        better = highest > best[row]
        best[row[better]] = highest[better]
        answer[row[better], :step] = grown[better, which[better]]
        answer[row[better], step:] = fill
        order = done.to(torch.int8).argsort(dim=1, stable=True)[:, :beams]
        score = value.gather(1, order).masked_fill(done.gather(1, order), -torch.inf)
        # the largest that any beam may yet reach: its log probability only falls
        reach = score[:, 0] / (most[row] if power > 0 else step + 1) ** power
        going = best[row] < reach
        if not bool(going.any()):
            break
        chosen = torch.arange(len(row), device=device)[:, None] * beams + parent.gather(1, order)
        tokens = grown.gather(1, order[:, :, None].expand(-1, -1, step))[going]
        row, score = row[going], score[going]
        logits, state = model.last(tokens[:, :, -1].reshape(-1, 1), take(state, chosen[going].flatten()))
    used = steps if end is None else int((answer != end).sum(dim=1).clamp(max=steps - 1).amax()) + 1
    return answer[:, :used]


def _likeliest(logits: Tensor, score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best continuations of each row: (log probabilities, their beams, their tokens), each (B, n).

    n is twice the number of beams, so that enough are left when some end here. `logits` are (B x beams, V), `score`
    (B, beams) the beams' own log probabilities.
    """
    rows, beams = score.shape
    # what is among the best of a row is among the best of its beam: the whole vocabulary is never sorted
    highest, token = logits.float().topk(min(2 * beams, logits.shape[1]), dim=1)
    chance = (highest.double() - logits.float().logsumexp(dim=1, keepdim=True).double()).view(rows, beams, -1)
    total = (score[:, :, None] + chance).flatten(1)
    value, at = total.topk(min(2 * beams, total.shape[1]), dim=1)
    return value, at // chance.shape[2], token.view(rows, -1).gather(1, at)

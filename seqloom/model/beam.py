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
) -> Tensor:
    """Return the best continuation of each row, (B, n), n <= steps, filled with `end` behind its end.

    A continuation's score is its log probability / length^length_penalty, its end included. A row is settled when
    no beam can overtake its best ended one. Work: one prefill over B rows, then up to `steps` calls with B x beams.

    Source: Wu et al. 2016, arXiv 1609.08144 (length normalisation, here the plain power).
    """
    training = model.training
    model.eval()
    try:
        return _search(model, prompt, steps, beams, length_penalty, end, segment, memory)
    finally:
        model.train(training)


def _search(
    model: Model,
    prompt: Tensor,
    steps: int,
    beams: int,
    power: float,
    end: int | None,
    segment: Tensor | None,
    memory: Memory | None,
) -> Tensor:
    batch, device = prompt.shape[0], prompt.device
    logits, state = model.last(prompt, FRESH, segment, memory)
    rows = torch.arange(batch, device=device)
    state: State = take(state, rows.repeat_interleave(beams))
    logits = logits.repeat_interleave(beams, dim=0)
    # all beams of a row begin alike: only the first may grow
    score = torch.full((batch, beams), -torch.inf, device=device, dtype=torch.float64)
    score[:, 0] = 0.0
    tokens = prompt.new_zeros((batch, beams, 0))
    best = torch.full((batch,), -torch.inf, device=device, dtype=torch.float64)
    answer = prompt.new_full((batch, steps), 0 if end is None else end)
    for step in range(1, steps + 1):
        chance = logits.double().log_softmax(dim=-1).view(batch, beams, -1)
        total = (score[:, :, None] + chance).flatten(1)
        vocabulary = chance.shape[2]
        # twice as many, so that enough are left when some end here
        kept = min(2 * beams, total.shape[1])
        value, at = total.topk(kept, dim=1)
        parent, token = at // vocabulary, at % vocabulary
        grown = torch.cat([tokens.gather(1, parent[:, :, None].expand(-1, -1, step - 1)), token[:, :, None]], dim=2)
        done = (token == end) if end is not None else torch.zeros_like(token, dtype=torch.bool)
        if step == steps:
            done = torch.ones_like(done)
        ended = torch.where(done, value / step**power, -torch.inf)
        # an end counts only among the best `beams`, as it would if beams were all that is kept
        ended[:, beams:] = -torch.inf
        highest, which = ended.max(dim=1)
        better = highest > best
        best = torch.where(better, highest, best)
        padded = answer.new_full((batch, steps), 0 if end is None else end)
        padded[:, :step] = grown[rows, which]
        answer = torch.where(better[:, None], padded, answer)
        if step == steps:
            break
        order = done.to(torch.int8).argsort(dim=1, stable=True)[:, :beams]
        score = value.gather(1, order).masked_fill(done.gather(1, order), -torch.inf)
        tokens = grown.gather(1, order[:, :, None].expand(-1, -1, step))
        # the largest that any beam may yet reach: its log probability only falls
        reach = score[:, 0] / (steps if power > 0 else step + 1) ** power
        if bool((best >= reach).all()):
            break
        chosen = (rows[:, None] * beams + parent.gather(1, order)).flatten()
        logits, state = model.last(tokens[:, :, -1].reshape(-1, 1), take(state, chosen))
    used = answer.shape[1] if end is None else int((answer != end).sum(dim=1).clamp(max=steps - 1).amax()) + 1
    return answer[:, :used]

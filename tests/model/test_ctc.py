"""CTC: decoding is that of brute force, the loss that of torch with lengths, and padding changes nothing."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seqloom.core.types import IGNORED
from seqloom.model.ctc import greedy, least_steps, search
from seqloom.model.head_transcript import Transcript, TranscriptHead


def spelt(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label)


def every_labelling(logits: torch.Tensor) -> dict[tuple[int, ...], float]:
    chances = logits.double().softmax(dim=-1).numpy()
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(chances.shape[1]), repeat=len(chances)):
        chance = math.prod(float(chances[step, label]) for step, label in enumerate(path))
        found[spelt(path)] = found.get(spelt(path), 0.0) + chance
    return found


@pytest.mark.parametrize(("steps", "labels"), [(1, 3), (4, 3), (5, 2), (6, 2)])
def test_search_finds_the_likeliest_labels_of_all(steps: int, labels: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    different = 0
    for _ in range(12):
        logits = torch.randn(steps, labels + 1, generator=generator) * 1.5
        chances = every_labelling(logits)
        best = max(chances, key=lambda key: chances[key])
        assert tuple(search(logits, 10_000)) == best
        different += tuple(greedy(logits[None])[0]) != best
    assert different or steps == 1  # sums over paths do matter


def test_greedy_joins_repeats_and_drops_blanks() -> None:
    paths = torch.tensor([[1, 1, 0, 1, 2, 2], [0, 0, 0, 0, 0, 0], [3, 0, 3, 3, 0, 1]])
    assert greedy(F.one_hot(paths, 4).float()) == [[1, 1, 2], [], [3, 3, 1]]


def test_no_beam_is_refused() -> None:
    with pytest.raises(ValueError, match="beams = 0"):
        search(torch.zeros(2, 2), 0)


def test_the_fewest_steps_are_those_of_brute_force() -> None:
    for length in range(4):
        for labels in itertools.product((1, 2), repeat=length):
            least = least_steps(np.array(labels, dtype=np.int64))
            can = [n for n in range(8) if any(spelt(p) == labels for p in itertools.product(range(3), repeat=n))]
            assert least == min(can)


def head(symbols: int = 3) -> TranscriptHead:
    torch.manual_seed(0)
    return TranscriptHead(Transcript(symbols=symbols), 5).double()


def test_the_loss_is_that_of_brute_force() -> None:
    x = torch.randn(2, 5, 5, dtype=torch.float64)
    logits = head(2)(x, None)
    target = torch.tensor([[1, 2, IGNORED], [2, 2, 1]])
    nats = head(2).scores(logits, target)["loss"][0]
    for row, labels in enumerate(((1, 2), (2, 2, 1))):
        chances = every_labelling(logits[row].detach())
        assert float(nats[row].detach()) == pytest.approx(-math.log(chances[labels]), abs=1e-9)


def test_the_loss_and_its_gradient_are_those_of_torch_with_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 9, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    lengths, target = (
        torch.tensor([9, 6, 4]),
        torch.tensor([[1, 2, 2, 3], [3, 1, IGNORED, IGNORED], [1] + [IGNORED] * 3]),
    )
    segment = (torch.arange(9) < lengths[:, None]).long()
    model = head()
    ours = model.loss(model(x, segment), target).double()
    (slope,) = torch.autograd.grad(ours, x)
    labels = torch.tensor([4, 2, 1])
    chances = model(x, None).log_softmax(dim=-1).transpose(0, 1)
    theirs = F.ctc_loss(chances, target.clamp(min=1), lengths, labels, reduction="none").sum() / labels.sum()
    (expected,) = torch.autograd.grad(theirs, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)  # ours is summed up in float32
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-6)
    assert not slope[1, 6:].any() and not slope[2, 4:].any()


def test_padding_before_and_behind_changes_neither_scores_nor_answers() -> None:
    generator = torch.Generator().manual_seed(1)
    x, model = torch.randn(1, 5, 5, dtype=torch.float64, generator=generator), head()
    target = torch.tensor([[2, 1]])
    plain = model(x, None)
    for at in ([0, 1, 2, 3, 4], [2, 3, 4, 5, 6], [3, 4, 5, 6, 7]):
        wide = torch.full((1, 8, 5), math.nan, dtype=torch.float64)
        segment = torch.zeros(1, 8, dtype=torch.int64)
        wide[:, at], segment[:, at] = x, 1
        output = model(wide, segment)
        for metric, parts in model.scores(output, target).items():
            torch.testing.assert_close(parts[0], model.scores(plain, target)[metric][0], rtol=0, atol=1e-12)
        assert search(output[0], 50) == search(plain[0], 50)
        gathered = output[:, at]
        torch.testing.assert_close(gathered, plain, rtol=0, atol=1e-12)


def test_a_transcript_longer_than_the_steps_is_infinitely_unlikely() -> None:
    model = head()
    target = torch.tensor([[1, 1, 2]])
    assert torch.isinf(model.loss(model(torch.zeros(1, 3, 5, dtype=torch.float64), None), target))
    assert torch.isfinite(model.loss(model(torch.zeros(1, 4, 5, dtype=torch.float64), None), target))


def test_parts_of_a_batch_weighed_by_labels_make_the_loss_of_the_whole() -> None:
    x, model = torch.randn(4, 6, 5, dtype=torch.float64), head()
    target = torch.tensor([[1, 2, 3], [1, IGNORED, IGNORED], [2, 2, IGNORED], [3, 1, IGNORED]])
    counts = (target != IGNORED).sum(dim=1)
    whole = model.loss(model(x, None), target)
    halves = [model.loss(model(x[part], None), target[part]) * counts[part].sum() for part in ([0, 1], [2, 3])]
    torch.testing.assert_close(sum(halves) / counts.sum(), whole, rtol=1e-6, atol=0)  # summed up in float32

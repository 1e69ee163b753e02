"""Span heads: padding is never an answer, and the likeliest span is the best of all that may be."""

import numpy as np
import torch

from seqloom.model.head_span import Span, best_spans


def test_padding_has_no_chance_and_changes_nothing() -> None:
    head = Span().build(8).eval()
    x = torch.randn(2, 6, 8)
    segment = torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6])
    output = head(x, segment)
    assert torch.equal(head(x[:1, :4], None), output[:1, :4])
    chances = output.log_softmax(dim=1).exp()
    assert (chances[0, 4:] == 0).all()
    target = torch.tensor([[1, 3], [0, 5]])
    loss = head.loss(output, target)
    assert torch.isfinite(loss)
    apart = [head.loss(output[i : i + 1], target[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss, torch.stack(apart).mean())
    scores = head.scores(output, target)
    torch.testing.assert_close(scores["loss"][0].mean().float(), loss)


def test_both_ends_are_scored() -> None:
    output = torch.zeros(2, 4, 2)
    output[0, 1, 0] = output[0, 2, 1] = output[1, 1, 0] = output[1, 3, 1] = 1.0
    right, ones = Span().build(3).scores(output, torch.tensor([[1, 2], [1, 2]]))["both_ends"]
    assert right.tolist() == [1, 0] and ones.tolist() == [1, 1]


def test_the_best_span_is_the_best_of_all_allowed_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    chances = torch.randn(20, 9, 2, generator=generator).log_softmax(dim=1)
    allowed = torch.rand(20, 9, generator=generator) < 0.6
    allowed[3] = False
    start, end, sure = best_spans(chances, allowed, longest=3)
    for row in range(20):
        found = {
            (i, j): float(chances[row, i, 0] + chances[row, j, 1])
            for i in range(9)
            for j in range(i, min(i + 3, 9))
            if allowed[row, i] and allowed[row, j]
        }
        if not found:
            assert sure[row] == -np.inf
            continue
        best = max(found, key=lambda span: found[span])
        assert (int(start[row]), int(end[row])) == best
        np.testing.assert_allclose(float(sure[row]), found[best], rtol=1e-6)


def test_a_span_longer_than_the_document_is_no_error() -> None:
    start, end, _ = best_spans(torch.zeros(1, 2, 2), torch.ones(1, 2, dtype=torch.bool), longest=100)
    assert 0 <= int(start) <= int(end) < 2

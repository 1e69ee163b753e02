"""An update: decay of matrices alone, clipping, parts that make the whole, and nothing moves unless all is finite."""

import numpy as np
import pytest
import torch

from seqloom.core.types import IGNORED
from seqloom.data.batches import Arrays, Packed
from seqloom.model.frontend import Tokens, Values
from seqloom.model.head import Labels, NextToken
from seqloom.train.experiment import Optimizer
from seqloom.train.learner import Learner
from seqloom.train.update import adamw, draw_from, gradients
from seqloom.zoo.gru import GRUStack


def tiny(seed=0, dropout=0.0):
    return GRUStack(width=8, layers=1, dropout=dropout).model(Values(channels=2), Labels(classes=3), False).build(seed)


def examples(n=12, channels=2, scale=1.0):
    words = np.random.default_rng(0)
    inputs = (scale * words.standard_normal((n, 5, channels))).astype(np.float32)
    return Arrays(inputs, words.integers(0, 3, n))


def copies(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_weight_decay_is_of_matrices_alone():
    model = tiny()
    decays = {id(p): group["weight_decay"] for group in adamw(model, Optimizer()).param_groups for p in group["params"]}
    assert len(decays) == len(list(model.parameters()))
    assert all((decays[id(p)] > 0) == (p.ndim >= 2) for p in model.parameters())


def test_parts_make_the_gradient_of_the_whole():
    # rows of different numbers of targets: an unweighted mean of parts would be another loss
    words = np.random.default_rng(0)
    lengths = [1, 2, 9, 3, 7]
    tokens = [words.integers(0, 20, n) for n in lengths]
    targets = [np.where(words.random(n) < 0.3, IGNORED, words.integers(0, 20, n)) for n in lengths]
    split = Packed.of(tokens, targets)
    model = GRUStack(width=8, layers=1).model(Tokens(vocabulary=20), NextToken(vocabulary=20), True).build(0).double()
    found = []
    for parts in (1, 2, 5):
        model.zero_grad()
        loss = gradients(model, split, np.arange(5), Optimizer(accumulate=parts))
        found.append((float(loss), [p.grad.clone() for p in model.parameters()]))
    for loss, slopes in found[1:]:
        # the loss is computed in float32, whatever the model's type: a few of its roundings
        assert loss == pytest.approx(found[0][0], rel=1e-6)
        for slope, expected in zip(slopes, found[0][1], strict=True):
            torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-7)


def test_a_part_without_targets_adds_nothing():
    targets = [np.array([3, 4]), np.full(2, IGNORED)]
    split = Packed.of([np.array([1, 2]), np.array([5, 6])], targets)
    model = GRUStack(width=8, layers=1).model(Tokens(vocabulary=20), NextToken(vocabulary=20), True).build(0)
    loss = gradients(model, split, np.arange(2), Optimizer(accumulate=2))
    assert torch.isfinite(loss)


def test_a_large_gradient_is_clipped_to_the_norm_and_a_small_one_left():
    for clip, expected in ((1e-3, 1e-3), (1e6, None)):
        model, settings = tiny(), Optimizer(clip=clip)
        _, norm = Learner(model, settings).update(examples(), np.arange(12), rate=0.01)
        after = float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]))
        assert after == pytest.approx(expected or norm, rel=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("parts", [1, 3])
def test_nothing_moves_unless_loss_and_gradient_are_finite(bad, parts):
    model, settings = tiny(), Optimizer(accumulate=parts)
    learner = Learner(model, settings)
    optimizer = learner.optimizer
    learner.update(examples(), np.arange(12), rate=0.01)
    before, moments = copies(model), [t.clone() for s in optimizer.state.values() for t in s.values()]
    split = examples()
    split._inputs[7, 2, 1] = bad
    loss, norm = learner.update(split, np.arange(12), rate=0.01)
    assert not np.isfinite(loss) or not np.isfinite(norm)
    assert same(before, model.state_dict())
    assert all(
        torch.equal(a, b)
        for a, b in zip(moments, [t for s in optimizer.state.values() for t in s.values()], strict=True)
    )


def test_a_gradient_that_overflows_stops_though_the_loss_is_finite():
    model, settings = tiny(), Optimizer()

    class Overflows(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, slope):
            return slope * float("inf")

    whole = model.head.loss
    model.head.loss = lambda output, target: whole(Overflows.apply(output), target)
    before = copies(model)
    loss, norm = Learner(model, settings).update(examples(), np.arange(12), rate=0.01)
    assert np.isfinite(loss) and not np.isfinite(norm)
    assert same(before, model.state_dict())


def test_under_bfloat16_parameters_and_gradients_stay_float32():
    model, settings = tiny(), Optimizer(bf16=True)
    loss, norm = Learner(model, settings).update(examples(), np.arange(12), rate=0.01)
    assert np.isfinite(loss) and np.isfinite(norm)
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in model.parameters())
    plain = tiny()
    expected, _ = Learner(plain, Optimizer()).update(examples(), np.arange(12), rate=0.01)
    assert loss == pytest.approx(expected, rel=0.02)  # bfloat16 has 8 bits: 0.4 % a rounding, a few of them


def test_draws_depend_on_seed_and_step_alone():
    draws = {}
    for seed, step in ((0, 0), (0, 1), (1, 0), (0, 0)):
        draw_from(seed, step, torch.device("cpu"))
        drawn = torch.rand(4)
        assert torch.equal(drawn, draws.setdefault((seed, step), drawn))
    assert len({tuple(d.tolist()) for d in draws.values()}) == 3

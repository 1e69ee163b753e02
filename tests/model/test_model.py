"""Models: frontends, heads, sizes, and generation."""

import math

import pytest
import torch

from seqloom.core.registry import catalog
from seqloom.core.spec import resolve
from seqloom.core.types import FRESH, IGNORED
from seqloom.model.frontend import Patches, Tokens, Values
from seqloom.model.generate import Sampling, generate
from seqloom.model.head import Labels, NextToken, Number
from seqloom.model.model import ModelSpec
from seqloom.zoo.architecture import Architecture, count_parameters, fit_width

NEEDS = {name: entry.attributes.get("needs", "") for name, entry in catalog("zoo").items()}
NAMES = [name for name, needs in NEEDS.items() if needs != "source"]
CAUSAL = [name for name, needs in NEEDS.items() if not needs]


def build(name: str, head=None, frontend=None, causal: bool = True, **options):
    architecture = resolve(Architecture, {"name": name, "width": 16, **options})
    causal = causal and NEEDS[name] != "future"
    return architecture.model(frontend or Tokens(vocabulary=11), head or NextToken(vocabulary=11), causal).build(3)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_builds_the_same_model_and_leaves_the_generator_alone(name) -> None:
    before = torch.random.get_rng_state()
    first, second = build(name), build(name)
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_equal_parameters_within_one_percent(name, causal) -> None:
    causal = causal and NEEDS[name] != "future"
    for target in (50_000, 300_000):
        fitted = fit_width(resolve(Architecture, name), Tokens(), NextToken(), causal, target)
        count = count_parameters(fitted.model(Tokens(), NextToken(), causal), embeddings=False)
        # without channel mixers only the width can be turned, and in the smallest models that is coarse
        assert abs(count - target) <= (0.01 if fitted.channel != "none" else 0.12) * target


def test_an_impossible_size_is_refused() -> None:
    with pytest.raises(ValueError, match="more than twice the 10 asked for"):
        fit_width(resolve(Architecture, "gru"), Tokens(), NextToken(), True, 10)


@pytest.mark.parametrize("name", CAUSAL)
def test_prefill_and_decoding_give_the_outputs_of_training(name) -> None:
    model = build(name).double().eval()
    tokens = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
    segment = torch.tensor([[1] * 12, [0, 0, *[4] * 10], [*[1] * 6, *[2] * 6]])
    whole, _ = model(tokens, None, segment)
    first, state = model(tokens[:, :7], FRESH, segment[:, :7])
    outputs = [first]
    for t in range(7, 12):
        step, state = model(tokens[:, t : t + 1], state, segment[:, t : t + 1])
        outputs.append(step)
    real = segment != 0
    torch.testing.assert_close(torch.cat(outputs, dim=1)[real], whole[real], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_padding_may_hold_anything(name) -> None:
    head, frontend = Labels(classes=3), Values(channels=2)
    model = build(name, head, frontend, causal=False).double()
    x = torch.randn(2, 9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    segment = torch.tensor([[1] * 9, [1] * 4 + [0] * 5])
    spoiled = x.clone()
    spoiled[1, 4:] = math.nan
    clean, dirty = model(x, None, segment)[0], model(spoiled, None, segment)[0]
    torch.testing.assert_close(clean, dirty, rtol=0, atol=1e-12)
    alone = model(x[1:, :4])[0]
    torch.testing.assert_close(clean[1:], alone, rtol=0, atol=1e-9)
    dirty.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("pool", ["mean", "max", "last"])
def test_pooling_sees_real_steps_only(pool) -> None:
    from seqloom.model.pooling import pooled

    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    segment = torch.tensor([[0, 1, 1, 0, 0], [0] * 5])
    expected = {"mean": x[0, 1:3].mean(0), "max": x[0, 1:3].amax(0), "last": x[0, 2]}[pool]
    out = pooled(x, segment, pool)
    torch.testing.assert_close(out[0], expected)
    assert torch.equal(out[1], torch.zeros(3))


def test_patches_shorten_time_and_must_divide_it() -> None:
    model = build("gru", Labels(classes=3), Patches(channels=2, size=4), causal=False)
    assert model.hidden(torch.randn(2, 8, 2))[0].shape == (2, 2, 16)
    with pytest.raises(ValueError, match="6 steps do not divide into patches of 4"):
        model(torch.randn(2, 6, 2))


def test_a_patch_belongs_to_the_document_of_its_last_real_step() -> None:
    frontend = Patches(channels=1, size=2).build(4)
    segment = torch.tensor([[9, 3, 0, 0, 3, 0, 0, 5], [9, 9, 3, 3, 4, 2, 0, 0]])
    _, ids = frontend(torch.randn(2, 8, 1), segment)
    assert ids.tolist() == [[3, 0, 3, 5], [9, 3, 2, 0]]
    _, none = frontend(torch.randn(2, 0, 1), segment[:, :0])
    assert none.shape == (2, 0)


def test_scores_sum_to_the_metric() -> None:
    model = build("gru")
    tokens = torch.randint(11, (4, 6), generator=torch.Generator().manual_seed(0))
    target = tokens.roll(-1, dims=1)
    target[:, -1] = IGNORED
    output, _ = model(tokens)
    bits, count = model.head.scores(output, target)["bits_per_token"]
    mean = (bits.sum() / count.sum()).item()
    assert mean == pytest.approx(model.head.loss(output, target).item() / math.log(2), rel=1e-5)
    number = build("gru", Number(), Values(channels=2))
    out, _ = number(torch.randn(4, 6, 2))
    squared, ones = number.head.scores(out, torch.zeros(4))["mse"]
    assert (squared.sum() / ones.sum()).item() == pytest.approx(number.head.loss(out, torch.zeros(4)).item(), rel=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_greedy_generation_equals_asking_for_the_whole_each_time(name) -> None:
    model = build(name).eval()
    prompt = torch.randint(11, (2, 5), generator=torch.Generator().manual_seed(0))
    generated = torch.stack(list(generate(model, prompt, 6)), dim=1)
    sequence = prompt
    for t in range(6):
        token = model(sequence)[0][:, -1].argmax(-1)
        assert torch.equal(token, generated[:, t])
        sequence = torch.cat([sequence, token[:, None]], dim=1)


def test_sampling_is_a_function_of_its_seed_and_keeps_its_limits() -> None:
    model = build("gru")
    prompt = torch.zeros(1, 3, dtype=torch.int64)
    draw = lambda **options: [t.item() for t in generate(model, prompt, 20, Sampling(**options))]
    assert draw(seed=1) == draw(seed=1) != draw(seed=2)
    assert draw(top_k=1) == draw(temperature=0.0) == draw(top_p=1e-6)
    model.train()
    draw()
    assert model.training


def test_generation_refuses_what_cannot_be_generated() -> None:
    prompt = torch.zeros(1, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="sees the future"):
        generate(build("gru", causal=False), prompt, 3)
    with pytest.raises(ValueError, match="'labels' gives no tokens"):
        generate(build("gru", Labels(classes=3)), prompt, 3)
    with pytest.raises(ValueError, match="prompt is empty"):
        generate(build("gru"), prompt[:, :0], 3)
    with pytest.raises(ValueError, match="ends in padding"):
        generate(build("gru"), prompt, 3, segment=torch.tensor([[1, 1, 0]]))


@pytest.mark.parametrize("name", NAMES)
def test_model_cost_is_what_a_counter_counts(name) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    for head, frontend in ((NextToken(vocabulary=11), Tokens(vocabulary=11)), (Labels(classes=3), Values(channels=2))):
        model = build(name, head, frontend)
        x = torch.zeros(2, 9, dtype=torch.int64) if frontend.kind == "tokens" else torch.zeros(2, 9, 2)
        counter = FlopCounterMode(display=False)
        with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            model(x)
        assert counter.get_total_flops() == model.cost(2, 9).flops


def test_a_model_spec_needs_a_pattern_and_a_fitting_width() -> None:
    with pytest.raises(ValueError, match="pattern is empty"):
        ModelSpec.from_json(
            '{"width":8,"frontend":{"kind":"tokens"},"head":{"kind":"labels"},"backbone":{"pattern":[]}}'
        ).build()
    with pytest.raises(ValueError, match="multiple of 8, got 12"):
        build("transformer", width=12)


def test_a_smoothed_loss_of_tokens_is_the_cross_entropy_with_spread_targets() -> None:
    head = NextToken(vocabulary=5, smoothing=0.1).build(4)
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[1, 4, IGNORED], [0, IGNORED, 2]])
    spread = torch.full((4, 5), 0.1 / 5)
    real = target != IGNORED
    spread[torch.arange(4), target[real]] += 0.9
    wanted = -(spread * logits[real].log_softmax(dim=-1)).sum(dim=-1).mean()
    assert torch.allclose(head.loss(logits, target), wanted)
    # what is told of it is not smoothed
    plain = NextToken(vocabulary=5).build(4)
    for name, parts in head.scores(logits, target).items():
        assert all(torch.equal(*both) for both in zip(parts, plain.scores(logits, target)[name], strict=True))

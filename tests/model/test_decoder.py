"""The native decoder gives what the model's own steps give."""

import pytest
import torch

import seqloom
from seqloom.core.types import FRESH
from seqloom.mixers.attention import Attention
from seqloom.mixers.gru import GRU
from seqloom.mixers.rnn import RNN
from seqloom.mixers.ssd import SSD
from seqloom.model.backbone import Backbone
from seqloom.model.decoder import decoder
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.model.model import ModelSpec
from seqloom.ops import _native
from seqloom.ops.tape import Unrecorded

pytestmark = pytest.mark.skipif(bool(_native.why_not()), reason=" ".join(_native.why_not()))


def model_of(*pattern, width: int = 24, **settings):
    return ModelSpec(
        frontend=Tokens(vocabulary=19),
        backbone=Backbone(pattern=pattern, **settings),
        head=NextToken(vocabulary=19),
        width=width,
    ).build(1)


def biased(tied: bool = False, positions="none", length: int = 200, vocabulary: int = 19):
    return ModelSpec(
        frontend=Tokens(vocabulary=19, positions=positions, max_length=length),
        backbone=Backbone(pattern=(Attention(heads=2),)),
        head=NextToken(vocabulary=vocabulary, tied=tied, bias=True),
        width=16,
    ).build(1)


MODELS = {
    "gpt": lambda: seqloom.build("gpt", vocabulary=19, width=40),
    "gru": lambda: seqloom.build("gru", vocabulary=19, width=24),
    "lstm": lambda: seqloom.build("lstm", vocabulary=19, width=20),
    "hybrid": lambda: seqloom.build("hybrid", vocabulary=19, width=24),
    "mamba2": lambda: seqloom.build("mamba2", vocabulary=19, width=24, heads=4),
    "rotary, grouped, window": lambda: model_of(Attention(heads=6, kv_heads=2, window=5), Attention(heads=2)),
    "a window shorter than the prompt, one of a step": lambda: model_of(
        Attention(heads=2, window=4), Attention(window=1)
    ),
    "windows longer than the room at first": lambda: model_of(Attention(window=70), Attention(heads=2, window=500)),
    "a bias on the map to tokens": lambda: biased(),
    "a tied map": lambda: biased(tied=True),
    "learnt positions": lambda: biased(positions="learned"),
    "window longer than the prompt": lambda: model_of(Attention(heads=2, window=30)),
    "elman": lambda: model_of(RNN(), RNN(activation="relu"), channel="relu"),
    "layer norm, gelu": lambda: model_of(GRU(hidden=17), norm="layer", channel="gelu", bias=True, width=22),
    "no channel mixer, one step": lambda: model_of(SSD(heads=3, groups=3, kernel=1, bias=True), channel="none"),
}


@pytest.mark.parametrize("name", MODELS)
def test_native_steps_equal_the_model_s(name) -> None:
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    prompt = torch.randint(19, (1, 9), generator=torch.Generator().manual_seed(0))
    # past the room that caches have at first, and around the ring of a window
    tokens = torch.randint(19, (1, 80), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        _, state = model.last(prompt, FRESH)
        play = decoder(model, state)
        for token in tokens[0].tolist():
            expected, state = model.last(torch.tensor([[token]]), state)
            given = play(token)
            scale = max(1.0, expected.abs().amax().item())
            # sums of some dozen float32 terms in another order
            assert (given - expected[0]).abs().amax().item() <= 2e-5 * scale


def test_the_state_given_is_left_as_it_was() -> None:
    model = MODELS["hybrid"]().eval()
    with torch.no_grad():
        _, state = model.last(torch.tensor([[1, 2, 3]]), FRESH)
        expected, _ = model.last(torch.tensor([[4]]), state)
        play = decoder(model, state)
        for token in range(5):
            play(token)
        assert torch.equal(model.last(torch.tensor([[4]]), state)[0], expected)


def test_what_has_no_native_step_says_so_and_is_generated_all_the_same() -> None:
    prompt = torch.tensor([[1, 2, 3]])
    for model, reason in (
        (seqloom.build("xlstm", vocabulary=11, width=16), "MLSTMMixer has no native step"),
        (seqloom.build("gpt", vocabulary=11, width=16).double(), "float32"),
        (seqloom.build("transformer_xl", vocabulary=11, width=16), "norms before"),
    ):
        with torch.no_grad():
            _, state = model.eval().last(prompt, FRESH)
            with pytest.raises(Unrecorded, match=reason):
                decoder(model, state)
        assert model.generate(prompt, max_new_tokens=4).shape == (1, 7)


def prefilled(model, prompt=(1, 2, 3)):
    with torch.no_grad():
        return model.eval().last(torch.tensor([prompt]), FRESH)[1]


def test_hooks_and_replaced_parts_are_not_passed_over(monkeypatch) -> None:
    model = MODELS["gpt"]()
    state = prefilled(model)
    attention = model.backbone.blocks[0].mixer
    decoder(model, state)
    for hook in (
        model.backbone.blocks[0].register_forward_hook(lambda *_: None),
        torch.nn.modules.module.register_module_forward_hook(lambda *_: None),
        torch.nn.modules.module.register_module_forward_pre_hook(lambda *_: None),
    ):
        with pytest.raises(Unrecorded, match="Hooks"):
            decoder(model, state)
        hook.remove()
    with monkeypatch.context() as patch:
        patch.setattr(attention, "forward", attention.forward)
        with pytest.raises(Unrecorded, match="a forward of one's own"):
            decoder(model, state)
    for owner, name, kind in ((attention, "out", "Linear"), (model.frontend, "embedding", "Embedding")):
        part = getattr(owner, name)
        setattr(owner, name, torch.nn.Sequential(part))
        with pytest.raises(Unrecorded, match=f"Sequential in place of {kind}"):
            decoder(model, state)
        setattr(owner, name, part)
    model.head.project = torch.nn.Sequential(model.head.project)
    with pytest.raises(Unrecorded, match="Sequential in place of Linear"):
        decoder(model, state)


def test_a_token_or_a_position_that_no_table_holds_is_refused() -> None:
    wider = biased(vocabulary=2000)
    with pytest.raises(Unrecorded, match="2000 tokens, of which the table has 19"):
        decoder(wider, prefilled(wider))
    model = biased(positions="learned", length=5)
    play = decoder(model, prefilled(model))
    for token in (-1, 19, 1_999_999):
        with pytest.raises(ValueError, match="not among the 19"):
            play(token)
    play(1), play(2)
    with pytest.raises(ValueError, match="behind the 5 positions"):
        play(3)


def test_memory_follows_the_steps_played_and_stays_within_the_window() -> None:
    model = model_of(Attention(heads=2, window=16), Attention(heads=2, window=100), Attention(heads=2))
    play = decoder(model, prefilled(model))
    rooms = lambda: [cache.room for cache in play._caches]
    assert rooms() == [16, 64, 64]
    for _ in range(130):
        play(1)
    assert rooms() == [16, 100, 256]


def test_generation_takes_the_weights_of_the_moment() -> None:
    model = MODELS["gru"]().eval()
    prompt = torch.tensor([[1, 2, 3]])
    before = model.generate(prompt, max_new_tokens=8)
    with torch.no_grad():
        model.head.project.weight.neg_()
    assert not torch.equal(model.generate(prompt, max_new_tokens=8), before)

"""Named models: sizes, presets, encoder and decoder, memories that grow."""

import pytest
import torch

import seqloom
from seqloom.core.registry import catalog
from seqloom.core.spec import resolve
from seqloom.core.types import FRESH, state_bytes
from seqloom.model.frontend import Patches, Tokens, Values
from seqloom.model.head import Labels, NextToken
from seqloom.zoo.architecture import SIZES, Architecture, count_parameters

# parameters without the token table of 256, at each turn of the dial
GOLDEN = {
    "bert": (1_001_688, 10_009_344, 99_974_488, 999_922_880),
    "bilstm": (1_003_496, 9_985_248, 100_034_384, 1_000_033_320),
    "cnn_lstm": (1_000_280, 9_976_088, 99_921_000, 1_000_001_520),
    "cnn_transformer": (996_320, 10_024_608, 100_038_192, 999_585_792),
    "elman": (996_640, 10_001_136, 100_113_600, 999_890_216),
    "gpt": (999_472, 9_986_880, 100_017_264, 1_000_270_464),
    "griffin": (995_040, 10_017_328, 99_983_040, 1_000_144_000),
    "gru": (1_001_640, 9_986_808, 99_901_600, 999_665_408),
    "gru_transformer": (1_006_088, 9_979_552, 99_950_640, 999_901_728),
    "hierarchical": (1_001_360, 10_011_256, 100_039_928, 1_000_288_744),
    "hybrid": (994_320, 10_009_920, 100_068_360, 999_796_064),
    "lstm": (996_992, 9_997_344, 99_925_896, 999_586_432),
    "lstm_transformer": (1_000_656, 10_015_824, 99_858_264, 999_905_760),
    "mamba2": (969_160, 10_288_256, 97_970_736, 1_002_072_256),
    "mingru": (996_640, 10_001_136, 100_113_600, 999_890_216),
    "seq2seq": (1_002_400, 10_027_632, 99_940_800, 1_000_341_088),
    "stacked": (968_320, 9_871_232, 99_882_240, 1_001_334_208),
    "transformer": (1_001_664, 10_017_792, 99_998_592, 999_614_592),
    "transformer_xl": (1_003_136, 9_991_104, 99_995_904, 1_000_135_936),
    "vit": (998_304, 9_986_752, 99_909_552, 1_000_032_704),
    "xlstm": (997_232, 10_007_888, 100_035_072, 1_000_191_904),
}
PUBLISHED = {
    # of GPT-2: 124,439,808 and 1,557,611,200 in all, less 50,257 tokens of 768 and 1,600
    ("gpt", "small"): 85_842_432,
    ("gpt", "xl"): 1_477_200_000,
    # of BERT with its pooler: 109,482,240, less 30,522 tokens and the pooler of 590,592; the head instead
    ("bert", "base"): 109_482_240 - 30_522 * 768 - 590_592 + 590_592 + 2 * 768 + 256,
    # 6 + 6 layers: attention 4 D (D + 1), feed-forward 2 D F + F + D, norms 2 D each
    ("transformer", "base"): 6 * (4 * 512 * 513 + 2 * 512 * 2048 + 2560 + 4 * 512)
    + 6 * (8 * 512 * 513 + 2 * 512 * 2048 + 2560 + 6 * 512),
}


@pytest.mark.parametrize("name", catalog("zoo"))
def test_presets_have_their_counts(name) -> None:
    counts = []
    for preset in SIZES:
        spec = resolve(Architecture, name).sized(preset)
        counts.append(count_parameters(spec.standard(256), embeddings=False))
    assert tuple(counts) == GOLDEN[name]
    for count, (asked, _, _) in zip(counts, SIZES.values(), strict=True):
        assert abs(count - asked) <= 0.04 * asked


@pytest.mark.parametrize(("name", "preset"), PUBLISHED)
def test_published_sizes_have_their_published_counts(name, preset) -> None:
    spec = resolve(Architecture, name).sized(preset).standard(256)
    assert count_parameters(spec, embeddings=False) == PUBLISHED[name, preset]


@pytest.mark.parametrize("name", catalog("zoo"))
def test_a_named_model_is_built_and_answers(name) -> None:
    model = seqloom.build(name, preset="1m", vocabulary=50)
    tokens = torch.randint(50, (2, 7))
    memory = model.encode(tokens) if model.encoder is not None else None
    logits, _ = model(tokens, memory=memory)
    assert logits.shape == (2, 7, 50) and logits.isfinite().all()


def test_wrong_names_presets_and_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown model 'gtp'. Did you mean 'gpt'"):
        seqloom.build("gtp")
    with pytest.raises(ValueError, match="gpt has no preset '10mm'. Did you mean '10m'"):
        seqloom.build("gpt", preset="10mm")
    with pytest.raises(ValueError, match="unknown key 'head' of GPT. Did you mean 'heads'"):
        seqloom.build("gpt", head=4)
    with pytest.raises(ValueError, match="multiple of 5, got 128"):
        seqloom.build("gpt", heads=5)
    with pytest.raises(ValueError, match="leave none behind recurrent=2"):
        seqloom.build("gru_transformer", recurrent=2)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("stacked", {"channel": "gelu"}, "have no channel mixer 'gelu'"),
        ("stacked", {"expand": 3.0}, "expand=3 widens channel mixers"),
        ("mamba2", {"expand": 8.0}, "expand=8 widens channel mixers"),
        ("gpt", {"preset": "1m", "width": 64}, "preset='1m' fits the width to its size"),
        (None, {}, "needs a model's name"),
        ("gpt", {"preset": 10}, "gpt has no preset '10'"),
        ("gpt", {"vocabulary": 0}, "vocabulary=0: a model of text needs at least one token$"),
    ],
)
def test_a_setting_that_cannot_be_obeyed_is_refused_in_a_sentence(name, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        seqloom.build(name, **settings)


def test_a_channel_mixer_that_is_asked_for_is_built() -> None:
    for channel, built in ((None, "relu"), ("gelu", "gelu"), ("swiglu", "swiglu")):
        spec = resolve(Architecture, {"name": "transformer", "channel": channel})
        whole = spec.standard(50)
        assert whole.encoder is not None and whole.encoder.backbone.channel == whole.backbone.channel == built
        assert spec.backbone(True).channel == (channel or "swiglu")
    assert seqloom.build("mamba2", width=16, channel="gelu", expand=8.0).spec.backbone.expand == 8.0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gpt", {"heads": 16}),
        ("gpt", {"layers": 2, "max_length": 64}),
        ("transformer", {"channel": "gelu", "heads": 2}),
        ("griffin", {"layers": 6}),
        ("gru", {"expand": 3.0}),
    ],
)
def test_a_preset_keeps_its_size_with_settings_over_it(name, settings) -> None:
    architecture = resolve(Architecture, name).sized("1m", **settings)
    assert all(getattr(architecture, key) == value for key, value in settings.items() if key != "expand")
    assert abs(count_parameters(architecture.standard(256), embeddings=False) - 1_000_000) <= 20_000
    assert seqloom.build("gpt", preset="small", layers=1, width=96).spec.width == 96


def test_models_say_which_tasks_they_cannot_do() -> None:
    with pytest.raises(ValueError, match="bert sees the future, and this task is causal"):
        resolve(Architecture, "bert").model(Tokens(), NextToken(), True)
    with pytest.raises(ValueError, match="seq2seq reads a source"):
        resolve(Architecture, "seq2seq").model(Tokens(), NextToken(), False)


@pytest.mark.parametrize("name", ["seq2seq", "transformer"])
def test_a_decoder_step_by_step_gives_the_outputs_of_training_and_reads_its_own_source(name) -> None:
    model = seqloom.build(name, vocabulary=11, width=16, layers=2).double().eval()
    generator = torch.Generator().manual_seed(0)
    source, tokens = torch.randint(11, (3, 9), generator=generator), torch.randint(11, (3, 6), generator=generator)
    segment = torch.tensor([[1] * 9, [1] * 5 + [0] * 4, [1] * 9])
    memory = model.encode(source, segment)
    whole, _ = model(tokens, memory=memory)
    first, state = model(tokens[:, :2], FRESH, memory=memory)
    outputs = [first]
    for t in range(2, 6):
        step, state = model(tokens[:, t : t + 1], state)
        outputs.append(step)
    torch.testing.assert_close(torch.cat(outputs, dim=1), whole, rtol=0, atol=1e-9)
    # padding of the source changes nothing, other rows neither
    alone, _ = model(tokens[1:2], memory=model.encode(source[1:2, :5]))
    torch.testing.assert_close(whole[1:2], alone, rtol=0, atol=1e-9)
    changed, _ = model(tokens, memory=model.encode(source.roll(1, 1), segment))
    assert (changed - whole).abs().amax() > 1e-6
    # all parameters learn
    model(tokens, memory=model.encode(source))[0].sin().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_memory_is_asked_for() -> None:
    model = seqloom.build("seq2seq", vocabulary=11, width=16)
    with pytest.raises(ValueError, match="needs a memory"):
        model(torch.zeros(1, 3, dtype=torch.int64))
    tokens = torch.zeros(1, 3, dtype=torch.int64)
    translator = seqloom.build("transformer", vocabulary=11, width=16)
    with pytest.raises(ValueError, match=r"give memory=model.encode\(source\); for text without a source"):
        translator.generate(tokens)
    assert translator.generate(tokens, 4, memory=translator.encode(tokens)).shape == (1, 7)
    with pytest.raises(ValueError, match="no encoder"):
        seqloom.build("gpt", vocabulary=11, width=16).encode(torch.zeros(1, 3, dtype=torch.int64))


def test_transformer_xl_remembers_longer_than_it_was_trained_to() -> None:
    short = seqloom.build("transformer_xl", vocabulary=11, width=16, memory=4).eval()
    longer = seqloom.build("transformer_xl", vocabulary=11, width=16, memory=12).eval()
    longer.load_state_dict(short.state_dict())
    tokens = torch.randint(11, (1, 40), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 20] = (changed[0, 20] + 1) % 11

    def reach(model) -> int:
        difference = (model(tokens)[0] - model(changed)[0]).abs().amax(dim=2)[0]
        return int((difference > 1e-7).nonzero().max()) - 20

    # two layers of `memory` steps each
    assert reach(short) == 8 and reach(longer) == 19  # the row ends there
    _, state = longer(tokens, FRESH)
    assert state_bytes(state.backbone) == state_bytes(longer(tokens[:, :12], FRESH)[1].backbone)


@pytest.mark.parametrize("name", ["gru", "mamba2", "xlstm", "griffin"])
def test_the_state_of_a_recurrent_model_does_not_grow(name) -> None:
    model = seqloom.build(name, vocabulary=11, width=16, **({"window": 8} if name == "griffin" else {})).eval()
    with torch.no_grad():
        _, state = model(torch.zeros(1, 10, dtype=torch.int64), FRESH)
        at_10 = state_bytes(state)
        for _ in range(4):
            _, state = model(torch.zeros(1, 25_000, dtype=torch.int64), state)
        _, state = model(torch.zeros(1, 1, dtype=torch.int64), state)
    assert int(state.place.position) == 100_011
    assert state_bytes(state) == at_10


def test_positions_learnt_end_with_a_clear_message() -> None:
    model = seqloom.build("gpt", vocabulary=11, width=16, max_length=8)
    with pytest.raises(ValueError, match="9 steps is longer than the 8 positions learnt"):
        model(torch.zeros(1, 9, dtype=torch.int64))


@pytest.mark.parametrize(
    ("name", "weights"), [("bert", 0.1), ("gpt", 0.1), ("vit", 0), ("transformer", 0), ("transformer_xl", 0)]
)
def test_dropout_stands_where_the_papers_put_it(name, weights) -> None:
    spec = resolve(Architecture, name).replace(dropout=0.1).standard(50)
    assert spec.frontend.dropout == 0.1 and spec.backbone.dropout == 0.1
    assert all(getattr(mixer, "dropout", 0) == weights for mixer in spec.backbone.pattern)
    # a task's own frontend keeps what it says, where that is more
    if name != "transformer":
        for frontend in (Tokens(dropout=0.5), Values(dropout=0.5), Patches(dropout=0.5)):
            assert resolve(Architecture, name).model(frontend, Labels(classes=3), False).frontend.dropout == 0.5


@pytest.mark.parametrize("frontend", [Tokens(vocabulary=9, dropout=0.5), Values(dropout=0.5), Patches(dropout=0.5)])
def test_frontends_drop_in_training_alone(frontend) -> None:
    module = frontend.build(8)
    given = torch.randint(9, (1, 16)) if frontend.kind == "tokens" else torch.randn(1, 16, 1)
    x = module(given, None)[0]
    assert (module.train().place(x, None) == 0).any()
    assert torch.equal(module.eval().place(x, None), x)


@pytest.mark.parametrize("name", ["bert", "gpt"])
def test_a_model_with_dropout_keeps_its_published_form(name, tmp_path) -> None:
    model = seqloom.build(name, vocabulary=50, width=16, dropout=0.1)
    model.save_pretrained(tmp_path)
    assert seqloom.load(tmp_path).spec == model.spec

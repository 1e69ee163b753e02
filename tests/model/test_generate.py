"""Generation: ragged prompts, ends, beams, stop strings."""

import itertools
import math

import pytest
import torch

import seqloom
from seqloom.model.frontend import Tokens
from seqloom.model.generate import Sampling, generate, text
from seqloom.model.head import NextToken
from seqloom.model.mixer import Memory
from seqloom.model.prompt import from_source

MODELS = ("gru", "gpt", "mamba2", "griffin", "transformer_xl")


def build(name: str):
    return seqloom.build(name, vocabulary=11, width=16).double().eval()


@pytest.mark.parametrize("name", MODELS)
def test_ragged_prompts_together_give_what_each_gives_alone(name) -> None:
    model = build(name)
    prompts = [[3, 1, 4, 1, 5, 9, 2], [6], [5, 3, 5]]
    together = model.generate(prompts, max_new_tokens=9)
    for row, prompt in zip(together, prompts, strict=True):
        alone = model.generate(torch.tensor([prompt]), max_new_tokens=9)
        assert torch.equal(row[-9:], alone[0, -9:])


@pytest.mark.parametrize("name", ["gru", "gpt"])
def test_wide_beams_find_the_most_likely_of_all_continuations(name) -> None:
    model = seqloom.build(name, vocabulary=3, width=16, seed=4).double().eval()
    prompt = torch.tensor([[0, 1, 2]])
    best, found = -1e9, None
    for continuation in itertools.product(range(3), repeat=4):
        row = torch.cat([prompt, torch.tensor([continuation])], dim=1)
        chance = model(row)[0].log_softmax(-1)[0, 2:6]
        score = sum(chance[i, token].item() for i, token in enumerate(continuation))
        if score > best:
            best, found = score, row
    assert torch.equal(model.generate(prompt, max_new_tokens=4, beams=27), found)


def test_beams_of_rows_do_not_mix_and_a_long_penalty_favours_length() -> None:
    model = build("gru")
    prompts = torch.tensor([[1, 2, 3], [4, 5, 6]])
    together = model.generate(prompts, max_new_tokens=6, beams=3, end=0)
    for i in range(2):
        alone = model.generate(prompts[i : i + 1], max_new_tokens=6, beams=3, end=0)
        n = alone.shape[1]
        assert torch.equal(together[i, :n], alone[0]) and bool((together[i, n:] == 0).all())
    lengths = [
        int((model.generate(prompts, max_new_tokens=12, beams=4, end=e, length_penalty=p)[:, 3:] != e).sum())
        for p in (-4.0, 4.0)
        for e in (1,)
    ]
    assert lengths[0] <= lengths[1]


def test_rows_end_and_are_filled() -> None:
    model = build("gru")
    prompt = torch.tensor([[1, 2], [3, 4], [5, 6]])
    free = model.generate(prompt, max_new_tokens=12)
    end = int(free[0, 5])
    given = model.generate(prompt, max_new_tokens=12, end=end)
    for row, whole in zip(given[:, 2:], free[:, 2:], strict=True):
        ends = (whole == end).nonzero()
        n = int(ends[0]) + 1 if len(ends) else 12
        assert torch.equal(row[:n], whole[: min(n, len(row))]) and bool((row[n:] == end).all())


def test_an_encoder_decoder_generates_from_its_source() -> None:
    model = build("seq2seq")
    memory = model.encode(torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]))
    begin = torch.zeros(2, 1, dtype=torch.int64)
    given = model.generate(begin, max_new_tokens=5, memory=memory)
    row = begin
    for _ in range(5):
        row = torch.cat([row, model(row, memory=memory)[0][:, -1:].argmax(-1)], dim=1)
    assert torch.equal(given, row)
    assert model.generate(begin, max_new_tokens=5, memory=memory, beams=3).shape == (2, 6)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_limit_ends_a_row_as_if_it_were_alone(beams) -> None:
    model = build("gru")
    prompts = torch.tensor([[1, 2], [3, 4], [5, 6]])
    end = 0
    limits = torch.tensor([4, 1, 7])
    together = model.generate(prompts, max_new_tokens=7, beams=beams, end=end, limits=limits)
    for i, limit in enumerate(limits.tolist()):
        alone = model.generate(prompts[i : i + 1], max_new_tokens=limit, beams=beams, end=end)
        n = alone.shape[1]
        assert torch.equal(together[i, :n], alone[0]) and bool((together[i, n:] == end).all())


def test_rows_that_are_settled_do_not_change_the_others() -> None:
    model = build("seq2seq")
    sources = torch.randint(0, 11, (6, 5), generator=torch.Generator().manual_seed(3))
    begin = torch.zeros(6, 1, dtype=torch.int64)
    memory = model.encode(sources)
    for end in range(3):
        together = model.generate(begin, max_new_tokens=9, beams=3, end=end, memory=memory)
        for i in range(6):
            own = Memory(memory.x[i : i + 1], memory.id[i : i + 1])
            alone = model.generate(begin[:1], max_new_tokens=9, beams=3, end=end, memory=own)
            assert torch.equal(together[i, : alone.shape[1]], alone[0])


def test_sources_are_prompts_where_no_encoder_reads_them() -> None:
    source, segment = torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([[1, 1, 1], [1, 0, 0]])
    prompt, real, memory = from_source(build("gru"), source, segment, 10)
    assert prompt.tolist() == [[1, 2, 3, 10], [0, 0, 4, 10]] and memory is None
    assert real.tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert from_source(build("gru"), source, None, 10)[1] is None
    prompt, real, memory = from_source(build("seq2seq"), source, segment, 10)
    assert prompt.tolist() == [[10], [10]] and real is None and torch.equal(memory.id, segment)


def test_limits_are_one_a_row_and_need_an_end() -> None:
    model, prompt = build("gru"), torch.tensor([[1], [2]])
    with pytest.raises(ValueError, match="give an end"):
        model.generate(prompt, limits=torch.tensor([1, 2]))
    for wrong in ([1], [0, 2]):
        with pytest.raises(ValueError, match="2 numbers of at least 1"):
            model.generate(prompt, end=0, limits=torch.tensor(wrong))


def spelt(tokens: list[int]) -> str:
    return bytes(tokens).decode("utf-8", errors="replace")


@pytest.mark.parametrize(
    ("whole", "stop", "expected"),
    [
        ("one two three", (), "one two three"),
        ("one two three", (" t",), "one"),
        ("one two three", ("three", "two"), "one "),
        ("abababac!", ("abac",), "abab"),
        ("never", ("x", "rr"), "never"),
        ("é€ end.", ("nd",), "é€ e"),
        ("a€", ("€",), "a"),
    ],
)
def test_text_ends_before_the_first_stop_string_and_shows_no_part_of_it(whole, stop, expected) -> None:
    pieces = list(text(iter(whole.encode()), spelt, stop))
    assert "".join(pieces) == expected
    assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in pieces)


def test_what_cannot_be_generated_is_refused() -> None:
    model = build("gru")
    with pytest.raises(ValueError, match="set temperature=0, or beams=1"):
        model.generate(torch.tensor([[1]]), beams=2, temperature=1.0)
    with pytest.raises(ValueError, match="a prompt is empty"):
        model.generate([[1], []])
    with pytest.raises(ValueError, match="sees the future"):
        build("bert").generate(torch.tensor([[1]]), beams=2)
    for stop in (("",), "end"):
        with pytest.raises(ValueError, match="a stop string is empty, or stop is no list"):
            list(text(iter([1]), spelt, stop))
    with pytest.raises(ValueError, match="of one row, and these tokens are of 2"):
        list(text(generate(model, torch.tensor([[1], [2]]), 3), spelt))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"top_k": 3}, "top_k and top_p draw"),
        ({"top_p": 0.5}, "top_k and top_p draw"),
        ({"seed": 3}, "seed is of drawing"),
        ({"top_k": 3, "beams": 2}, "top_k and top_p draw"),
        ({"length_penalty": 2.0}, "give beams and an end"),
        ({"length_penalty": 2.0, "beams": 2}, "give beams and an end"),
        ({"length_penalty": math.nan, "beams": 2, "end": 1}, "finite number, got nan"),
        ({"end": 11}, "end=11 is outside the vocabulary of 11"),
        ({"end": -1}, "end is at least 0, got -1"),
        ({"memory": Memory(torch.zeros(1, 2, 16), torch.ones(1, 2))}, "reads no memory"),
    ],
)
def test_no_setting_is_without_effect(settings, match) -> None:
    with pytest.raises(ValueError, match=match):
        build("gru").generate(torch.tensor([[1]]), 3, **settings)
    if "top_k" in settings or "top_p" in settings:
        with pytest.raises(ValueError, match=match):
            Sampling(temperature=0.0, **{key: settings[key] for key in settings if key.startswith("top")})


@pytest.mark.parametrize(
    ("ids", "settings", "match"),
    [
        (torch.tensor([1, 2]), {}, r"shape \(B, T\), got \(2,\): for one row give prompt\[None\]"),
        (torch.zeros(0, 3, dtype=torch.int64), {}, r"empty, its shape \(0, 3\)"),
        (torch.zeros(1, 0, dtype=torch.int64), {}, r"empty, its shape \(1, 0\)"),
        (torch.tensor([[1.0]]), {}, "integers, got torch.float32"),
        (torch.tensor([[True]]), {}, "integers, got torch.bool"),
        (torch.tensor([[1, 11]]), {}, "token 11 of the prompt is outside the vocabulary of 11"),
        (torch.tensor([[-1, 2]]), {}, "token -1 of the prompt"),
        ([1, 2, 3], {}, "one list a row, got the row 1"),
        ([[1, 2], [0.5]], {}, r"got the row \[0.5\]"),
        ([[1, "a"]], {}, "got the row"),
        (["abc"], {}, "got the row 'abc'"),
        ("abc", {}, "one a row, got 'abc'"),
        (7, {}, "one a row, got 7"),
        ([], {}, "a prompt is empty"),
        ([[1, 12]], {}, "token 12"),
        ([[1]], {"segment": torch.ones(1, 1)}, "leave out segment"),
        (torch.tensor([[1]]), {"segment": torch.ones(2, 1)}, r"shape of the prompt \(1, 1\), got \(2, 1\)"),
        (torch.tensor([[1]]), {"segment": [[1]]}, "got list"),
        (torch.tensor([[1]]), {"max_new_tokens": 2.5}, "max_new_tokens is a whole number, got 2.5"),
        (torch.tensor([[1]]), {"max_new_tokens": -1}, "max_new_tokens is at least 0, got -1"),
        (torch.tensor([[1]]), {"beams": "2"}, "beams is a whole number, got '2'"),
        (torch.tensor([[1]]), {"beams": 0}, "beams is at least 1, got 0"),
        (torch.tensor([[1]]), {"end": 1.0}, "end is a whole number"),
        (torch.tensor([[1]]), {"temperature": -1}, "^Sampling.temperature = -1: Input should be greater"),
        (torch.tensor([[1]]), {"temperature": math.nan}, "^Sampling.temperature = nan"),
        (torch.tensor([[1]]), {"temperature": 1, "top_k": 0}, "^Sampling.top_k = 0: Input should be greater"),
        (torch.tensor([[1]]), {"temperature": 1, "top_p": 0}, "^Sampling.top_p = 0: Input should be greater"),
        (torch.tensor([[1]]), {"temperature": "warm"}, "^Sampling.temperature = 'warm'"),
        (torch.tensor([[1]]), {"temperature": 1, "seed": 2**64}, "^Sampling.seed"),
    ],
)
def test_what_is_wrong_with_a_prompt_or_a_setting_is_said(ids, settings, match) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        build("gru").generate(ids, **settings)


def test_a_memory_has_the_rows_of_the_prompt() -> None:
    model = build("seq2seq")
    with pytest.raises(ValueError, match="memory has 2 rows, the prompt 1"):
        model.generate(torch.tensor([[1]]), memory=model.encode(torch.tensor([[1, 2], [3, 4]])))


def test_a_head_of_tokens_that_the_frontend_cannot_read_is_refused() -> None:
    spec = seqloom.build("gpt", vocabulary=8, width=16).spec.replace(head=NextToken(vocabulary=2000, bias=True))
    model = spec.build()
    with torch.no_grad():
        model.head.bias[-1] = 100
    with pytest.raises(ValueError, match="head gives 2000 tokens and the frontend reads 8"):
        model.generate(torch.tensor([[1, 2]]), 4)


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("beams", [1, 2])
def test_more_steps_than_positions_are_refused_before_the_first(segmented, beams) -> None:
    spec = seqloom.build("gpt", vocabulary=11, width=16).spec
    model = spec.replace(frontend=Tokens(vocabulary=11, positions="learned", max_length=8)).build()
    prompt = torch.tensor([[1, 2, 3]])
    segment = torch.tensor([[1, 2, 2]]) if segmented else None
    most = 7 if segmented else 6
    assert model.generate(prompt, most, segment=segment, beams=beams).shape == (1, 3 + most)
    with pytest.raises(ValueError, match=f"8 positions learnt: give fewer, here {most} more at most"):
        model.generate(prompt, most + 1, segment=segment, beams=beams)
    with pytest.raises(ValueError, match="positions learnt"):
        generate(model, prompt, most + 1, segment=segment)


def test_no_steps_give_the_prompt_back() -> None:
    model = build("gru")
    prompt = torch.tensor([[1, 2], [3, 4]], dtype=torch.int32)
    assert torch.equal(model.generate(prompt, 0), prompt.long())
    assert torch.equal(model.generate(prompt, 0, beams=2), prompt.long())
    assert list(generate(model, prompt, 0)) == []


def test_exactly_k_are_drawn_among_also_where_they_are_equal() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = Sampling(top_k=2).draw(torch.zeros(500, 6), generator)
    assert len(drawn.unique()) == 2


def test_however_small_a_temperature_takes_the_most_likely() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    for temperature in (1e-5, 1e-42, 5e-324):
        assert Sampling(temperature=temperature).draw(logits, torch.Generator()).item() == 1


def test_text_takes_what_generate_yields_and_decodes_no_token_often() -> None:
    model = seqloom.build("gru", vocabulary=256, width=16)
    prompt = torch.tensor([[1, 2]])
    decoded = 0

    def decode(tokens: list[int]) -> str:
        nonlocal decoded
        decoded += len(tokens)
        return " ".join(map(str, tokens))

    tokens = model.generate(prompt, 200)[0, 2:].tolist()
    assert "".join(text(generate(model, prompt, 200), decode)) == " ".join(map(str, tokens))
    assert decoded <= 4 * 200

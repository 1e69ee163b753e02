"""Generation: ragged prompts, ends, beams, stop strings."""

import itertools

import pytest
import torch

import seqloom
from seqloom.model.generate import text

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
    with pytest.raises(ValueError, match="at least 1, got 0 and 1"):
        model.generate(torch.tensor([[1]]), max_new_tokens=0)
    with pytest.raises(ValueError, match="a prompt is empty"):
        model.generate([[1], []])
    with pytest.raises(ValueError, match="sees the future"):
        build("bert").generate(torch.tensor([[1]]), beams=2)
    with pytest.raises(ValueError, match="a stop string is empty"):
        list(text(iter([1]), spelt, ("",)))

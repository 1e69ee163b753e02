"""Decoding: a continuation ends before its stop, beams find a likelier one, and no setting is without effect."""

from pathlib import Path

import pytest
import torch

from seqloom.core.spec import resolve
from seqloom.lab.decoding import Decoding
from seqloom.lab.trained import Trained, load
from seqloom.train.experiment import Experiment
from seqloom.train.loop import Training


def trained(out: Path, task: dict[str, object], steps: int = 1) -> Trained:
    model = {"name": "gru", "width": 16, "layers": 1}
    Training(resolve(Experiment, {"task": task, "model": model, "budget": {"steps": steps}}), out=out).finish()
    return load(out)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run that has nearly learnt one sentence."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    task = {"name": "language", "data": str(folder / "a.txt"), "length": 32}
    return trained(folder / "run", task, steps=60)


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.5, "seed": 1}, {"beams": 3}])
def test_a_stop_ends_the_text_that_stands_without_it(run: Trained, settings: dict[str, object]) -> None:
    whole = run.answer("the q", Decoding(length=40, **settings))  # type: ignore[arg-type]
    assert len(whole["tokens"]) == 40
    beams = "beams" in settings
    stop = (" ",) if beams else (whole["continuation"][8:11], "never there")
    cut = run.answer("the q", Decoding(length=40, stop=stop, **settings))  # type: ignore[arg-type]
    assert not any(word in cut["continuation"] for word in stop)
    assert bytes(cut["tokens"]).decode(errors="replace") == cut["continuation"] + stop[0]  # the run ends at its stop
    if not beams:  # a search that ends elsewhere may find another text
        assert cut["continuation"] == whole["continuation"][: whole["continuation"].index(stop[0])]


def likelihood(run: Trained, prompt: str, tokens: list[int]) -> float:
    """Return the log probability of what follows a prompt."""
    steps = torch.tensor([[*prompt.encode(), *tokens]])
    with torch.no_grad():
        chance = run.model(steps[:, :-1])[0].double().log_softmax(-1)
    return float(chance.gather(2, steps[:, 1:, None])[0, -len(tokens) :].sum())


def test_beams_find_what_is_at_least_as_likely_as_token_after_token(run: Trained) -> None:
    first, found = (run.answer("fox", Decoding(length=12, beams=beams))["tokens"] for beams in (1, 16))
    assert likelihood(run, "fox", found) >= likelihood(run, "fox", first)


def test_a_larger_length_penalty_gives_no_shorter_continuation(run: Trained) -> None:
    # the mean log probability of a longer text can only weigh more
    lengths = [
        len(run.answer("fox", Decoding(length=12, beams=16, stop=(" ",), length_penalty=power))["tokens"])
        for power in (0.0, 1.0, 3.0)
    ]
    assert lengths == sorted(lengths)


def test_a_share_of_the_probability_near_none_leaves_the_likeliest_token(run: Trained) -> None:
    likeliest = run.answer("the", Decoding(length=12))
    assert run.answer("the", Decoding(length=12, temperature=1.0, top_p=1e-6)) == likeliest
    assert run.answer("the", Decoding(length=12, temperature=1.0, top_k=1)) == likeliest


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"top_k": 3}, "temperature above 0"),
        ({"top_p": 0.5}, "temperature above 0"),
        ({"beams": 2, "temperature": 1.0}, "leave one of them out"),
        ({"length_penalty": 2.0}, "give beams and a stop"),
        ({"length_penalty": 2.0, "beams": 2}, "give beams and a stop"),
        ({"stop": ("a", "")}, "a stop string is empty"),
        ({"length": 0}, "length = 0"),
        ({"beams": 0}, "beams = 0"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        resolve(Decoding, settings)


@pytest.mark.parametrize("stop", [("do",), ("a", "b"), ("é",)])
def test_beams_end_at_one_token_alone(run: Trained, stop: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="of one token; given, with their tokens: '"):
        run.answer("the", Decoding(beams=2, stop=stop))


def test_numbered_tokens_have_no_stop_string(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", {"name": "copying"})
    found = run.answer("1 2 3", Decoding(length=3, beams=2))
    assert found["continuation"] == "".join(f" {token}" for token in found["tokens"]) and len(found["tokens"]) == 3
    with pytest.raises(ValueError, match="this run generates numbered tokens: leave it out"):
        run.answer("1 2 3", Decoding(stop=("1",)))

"""Language: where the text comes from, how it is split, the floor, and what is refused."""

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqloom.core.spec import resolve
from seqloom.core.types import IGNORED
from seqloom.data.batches import Examples, Windows
from seqloom.data.source import share, standard_library
from seqloom.model.frontend import Tokens
from seqloom.tasks.language import Language, unigram
from seqloom.zoo.gru import GRUStack


def targets(examples: Examples) -> np.ndarray:
    target = examples.batch(np.arange(len(examples))).target.numpy()
    return target[target != IGNORED]


@pytest.fixture(scope="module")
def library():  # noqa: ANN201
    return Language().open()


def test_the_standard_library_is_split_by_file_without_its_tests() -> None:
    names = [file.name for file in standard_library()]
    assert {"argparse.py", "json/decoder.py", "typing.py"} <= set(names)
    assert not [name for name in names if "/test" in name or "site-packages" in name]
    assert names == sorted(names, key=share)
    assert share("json/decoder.py") == share("json/decoder.py") != share("json/encoder.py")


def test_facts_say_how_much_of_which_library(library) -> None:  # noqa: ANN001
    facts = library.facts
    assert facts["files"] > facts["files_used"] > 50 and facts["bytes"] > facts["train_bytes"]
    assert facts["python"] in facts["source"]
    assert (facts["train_bytes"], facts["test_bytes"]) == (4_000_000, 65_536)


def test_the_floor_is_the_byte_frequencies_of_training_on_test(library) -> None:  # noqa: ANN001
    known = np.bincount(targets(library.train), minlength=256) + 1.0
    asked = targets(library.test)
    bits = -np.log2(known / known.sum())[asked].mean()
    assert library.floor == pytest.approx(bits, rel=1e-6)  # the first byte of training is no target
    assert 4 < library.floor < 5.5  # source text


def test_unigram_chances_of_known_frequencies() -> None:
    assert unigram(np.repeat(np.arange(256), 3), 256).tolist() == [1 / 256] * 256
    assert unigram(np.zeros(255, np.int64), 256)[0] == pytest.approx(256 / 511)  # one is added to each count


def test_the_users_text_is_split_by_position_and_nothing_is_lost(tmp_path: Path) -> None:
    text = bytes(range(33, 126)) * 20
    plain, packed = tmp_path / "text.txt", tmp_path / "text.txt.gz"
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text))
    opened = Language(data=str(plain), length=100).open()
    parts = [bytes(targets(split).astype(np.uint8)) for split in (opened.train, opened.validation, opened.test)]
    cuts = [0, 1674, 1767, 1860]
    assert parts == [text[a + 1 : b] for a, b in zip(cuts, cuts[1:], strict=False)]  # the first byte is no target
    zipped = Language(data=str(packed), length=100).open()
    assert np.array_equal(targets(zipped.test), targets(opened.test))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        ("naïve\ncafé".encode("latin-1") * 50, r"not UTF-8: byte 0xef in line 1 \(offset 2\).*--encoding latin-1"),
        (b"one\ntwo\0three" * 50, "NUL byte in line 2"),
        (b"too short", "9 bytes, too few"),
    ],
)
def test_bad_text_is_refused_with_the_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Language(data=str(path)).open()


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "text.gz"
    broken.write_bytes(gzip.compress(b"text " * 500)[:-20])
    for path, message in [(tmp_path / "no.txt", "no file"), (tmp_path, "cannot read"), (broken, "cannot read")]:
        with pytest.raises(ValueError, match=message):
            Language(data=str(path)).open()


def test_masked_bytes_are_scored_where_they_are_masked_alone(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(bytes(range(33, 126)) * 20)
    plain, masked = (Language(data=str(path), length=50, objective=name).open() for name in ("next", "masked"))
    assert plain.causal and not masked.causal
    assert masked.frontend == Tokens(vocabulary=257) and masked.metric == "bits_per_byte"
    asked = targets(masked.test)
    assert len(asked) == round(0.15 * 50) + round(0.15 * 42)  # 93 bytes, of which the last is no input
    chances = unigram(np.frombuffer(path.read_bytes()[:1674], np.uint8), 256)
    assert masked.floor == pytest.approx(-np.log2(chances)[asked].mean())
    again = Language(data=str(path), length=50, objective="masked").open(seed=1)
    assert not np.array_equal(targets(again.train), targets(masked.train))  # the masks are of the seed
    assert again.facts == masked.facts and masked.facts["masked_share"] == 0.15


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"masked_share": 0.15}, "no effect with objective=next"),
        ({"masked_share": 0.0, "objective": "masked"}, "greater than 0"),
        ({"masked_share": 1.0, "objective": "masked"}, "less than 1"),
        ({"objective": "both"}, "'next' or 'masked'"),
        ({"vocabulary": 300}, "no effect with tokens=bytes"),
        ({"test": "other.txt"}, "test and validation_data need data"),
        ({"objective": "masked", "shift": True}, "context and shift are of objective=next"),
    ],
)
def test_a_setting_outside_its_rule_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(Language, settings)


TEXT = "the cat sees a dog\n\na bird hears the old cat\nthe dog finds a naïve bird\n" * 40


@pytest.fixture
def text_file(tmp_path: Path) -> str:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return str(tmp_path / "text.txt")


@pytest.mark.parametrize("tokens", ["bytes", "characters", "words", "bpe"])
def test_tokens_spell_the_text_and_are_scored_in_their_unit(text_file: str, tokens: str) -> None:
    settings = {} if tokens == "bytes" else {"vocabulary": 280}
    opened = Language(data=text_file, tokens=tokens, length=16, **settings).open()
    metric = {"words": "perplexity", "characters": "bits_per_character"}.get(tokens, "bits_per_byte")
    assert opened.metric == metric
    encode, decode = opened.coding.encode, opened.coding.decode
    assert encode is not None and decode is not None
    assert decode(encode("a naïve dog\nthe cat").tolist()) == "a naïve dog\nthe cat"
    restored = Language(data=text_file, tokens=tokens, **settings).coding(opened.encoding)
    assert restored.encode is not None and np.array_equal(restored.encode("the bird"), encode("the bird"))
    model = GRUStack(width=8, layers=1).model(opened.frontend, opened.head, True).build(0)
    torch.nn.init.zeros_(model.frontend.embedding.weight)  # tied heads: each token is as likely as any other
    if model.head.project is not None:
        torch.nn.init.zeros_(model.head.project.weight)
    found = opened.score(model, opened.test).value(metric)
    n, vocabulary = len(targets(opened.test)), opened.facts["vocabulary"]
    spelt = len(decode(targets(opened.test).tolist()).encode())
    uniform = {"perplexity": vocabulary, "bits_per_character": math.log2(vocabulary)}
    assert found == pytest.approx(uniform.get(metric, math.log2(vocabulary) * n / spelt), rel=1e-4)
    assert opened.floor < found


def test_words_of_training_alone_are_known_and_others_are_one(text_file: str, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("the zebra sees a dog\n" * 9, encoding="utf-8")
    opened = Language(data=text_file, tokens="words", length=8, test=str(tmp_path / "new.txt")).open()
    assert opened.coding.decode is not None
    assert opened.coding.decode(targets(opened.test)[:5].tolist()) == "<unk> sees a dog\n"
    assert opened.facts["unknown_share"] == pytest.approx(1 / 6) and opened.facts["split"] == "by position"


def test_a_window_is_told_from_the_context_in_front_of_it() -> None:
    whole = np.arange(1, 24)
    windows = Windows(whole, 5, context=3)
    batch = windows.batch(np.arange(len(windows)))
    asked = batch.target[batch.target != IGNORED]
    assert asked.tolist() == whole[1:].tolist()  # each token is asked for once
    assert batch.inputs[1, :8].tolist() == whole[2:10].tolist()
    assert (batch.target[1] != IGNORED).tolist()[:8] == [False] * 3 + [True] * 5


def test_windows_that_shift_begin_elsewhere_in_each_epoch_and_are_as_many() -> None:
    windows = Windows(np.arange(1000), 64, shifts=7)
    first, second = (windows.of_epoch(epoch) for epoch in (0, 1))
    begins = [int(each.batch(np.array([0])).inputs[0, 0]) for each in (first, second, windows.of_epoch(1))]
    assert begins[0] != begins[1] == begins[2]
    for each in (first, second):
        assert np.array_equal(each.lengths, windows.lengths)
        assert len(set(targets(each).tolist())) == len(windows) * 64


def test_a_text_is_cut_between_characters(tmp_path: Path) -> None:
    (tmp_path / "zh.txt").write_text("语言模型" * 37, encoding="gb18030")
    opened = Language(data=str(tmp_path / "zh.txt"), encoding="gb18030", tokens="characters", length=8).open()
    assert opened.facts["vocabulary"] == 5  # and the unknown one
    assert sum(opened.facts[f"{part}_tokens"] for part in ("train", "validation", "test")) == 4 * 37


def test_no_window_that_is_scored_is_longer_than_those_of_training(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("to be or not to be, that is the question. " * 80)
    opened = Language(data=str(tmp_path / "a.txt"), length=32, context=16, shift=True).open()
    for part in (opened.validation, opened.test):
        assert part.lengths.max() == 32 == opened.train.lengths.max()
    with pytest.raises(ValueError, match="leaves nothing to score"):
        Language(data=str(tmp_path / "a.txt"), length=32, context=32)

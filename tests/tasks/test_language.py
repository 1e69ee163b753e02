"""Language: where the text comes from, how it is split, the floor, and what is refused."""

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqloom.core.spec import resolve
from seqloom.core.types import IGNORED
from seqloom.data.batches import Examples
from seqloom.data.source import share, standard_library
from seqloom.model.frontend import Tokens
from seqloom.tasks.language import Language, unigram_bits


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


def test_unigram_bits_of_known_frequencies() -> None:
    known = np.repeat(np.arange(256, dtype=np.uint8), 3)
    assert unigram_bits(known, np.array([1, 200], dtype=np.uint8)) == 8.0
    twice = np.array([0] * 255, dtype=np.uint8)  # (255 + 1) of 255 + 256
    assert unigram_bits(twice, twice) == pytest.approx(math.log2(511 / 256))


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
    assert masked.floor == pytest.approx(unigram_bits(np.frombuffer(path.read_bytes()[:1674], np.uint8), asked))
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
    ],
)
def test_a_setting_outside_its_rule_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(Language, settings)

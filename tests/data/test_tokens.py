"""Tokens are text in other words: whatever is encoded is decoded, after JSON too, and nothing is unknown."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqloom.data.tokens import BPE, Bytes, Tokenizer, tokenizer_from_json, truncated

TEXTS = [
    "The cat sat on the mat.",
    "the dog sat on the Cat",
    "naïve café",
    "猫は可愛い",
    "It's 3,141.5 times as much\n",
]
WHOLE = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
TOKENIZERS = {"bytes": Bytes(), "bpe": BPE.learn(TEXTS * 20, 300)}

every_kind = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)


@every_kind
@given(texts=st.lists(WHOLE, max_size=8))
@settings(deadline=None)
def test_what_is_encoded_is_decoded(tokenizer: Tokenizer, texts: list[str]) -> None:
    tokens, offsets = tokenizer.encode_batch(texts)
    assert len(offsets) == len(texts) + 1 and offsets[-1] == len(tokens)
    for text, start, end in zip(texts, offsets, offsets[1:], strict=False):
        piece = tokens[start:end]
        assert np.array_equal(piece, tokenizer.encode(text))
        # the space that BPE puts before a first word is one of the text's own where it begins with a space
        assert tokenizer.decode(piece) in (text, text.removeprefix(" "))
    if len(tokens):
        assert tokens.max() < tokenizer.vocabulary and tokens.dtype.kind == "u"


@every_kind
def test_what_comes_back_from_json_encodes_alike(tokenizer: Tokenizer) -> None:
    text = tokenizer.to_json()
    again = tokenizer_from_json(text)
    assert again.to_json() == text and again.vocabulary == tokenizer.vocabulary
    assert np.array_equal(again.encode_batch(TEXTS)[0], tokenizer.encode_batch(TEXTS)[0])


def test_lower_makes_no_difference_of_case() -> None:
    for lower in (Bytes(lower=True), BPE.learn(TEXTS, 300, lower=True)):
        assert np.array_equal(lower.encode("THE Cat, É"), lower.encode("the cat, é"))
        assert np.array_equal(tokenizer_from_json(lower.to_json()).encode("THE"), lower.encode("the"))
    for exact in TOKENIZERS.values():
        assert not np.array_equal(exact.encode("THE"), exact.encode("the"))


def test_bpe_is_shorter_than_bytes_and_keeps_to_its_vocabulary() -> None:
    bpe = TOKENIZERS["bpe"]
    assert bpe.vocabulary == 300 and bpe.encode("the cat").size < 7
    # nothing in so little text comes often enough to merge
    assert BPE.learn(["ab"], 8000).vocabulary < 270
    with pytest.raises(ValueError, match="vocabulary = 255 has no room for the 256 bytes"):
        BPE.learn(TEXTS, 255)


def test_a_word_is_the_same_tokens_at_the_start_and_inside() -> None:
    bpe = TOKENIZERS["bpe"]
    assert bpe.encode("sat").tolist() == bpe.encode("cat sat").tolist()[-bpe.encode("sat").size :]


def test_another_process_learns_the_same() -> None:
    code = (
        "from seqloom.data.tokens import BPE; import hashlib; "
        f"print(hashlib.sha256(BPE.learn({TEXTS!r} * 20, 300).to_json().encode()).hexdigest())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == hashlib.sha256(TOKENIZERS["bpe"].to_json().encode()).hexdigest()


def test_bytes_cut_inside_a_character_decode_to_a_mark() -> None:
    assert Bytes().decode("é".encode()[:1]) == "\ufffd"


@given(lengths=st.lists(st.integers(0, 9), max_size=8), limit=st.integers(1, 9))
def test_truncated_keeps_the_first_tokens_of_each(lengths: list[int], limit: int) -> None:
    pieces = [np.arange(100 * i, 100 * i + n) for i, n in enumerate(lengths)]
    offsets = np.cumsum([0, *lengths])
    tokens, cut = truncated(np.concatenate([np.zeros(0, int), *pieces]), offsets, limit)
    assert [tokens[a:b].tolist() for a, b in zip(cut, cut[1:], strict=False)] == [p[:limit].tolist() for p in pieces]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"kind": "words"}', '{"kind": "bytes"}', '{"kind": "bpe", "tokenizer": 1}']
)
def test_json_that_is_no_tokenizer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="tokenizer"):
        tokenizer_from_json(text)


def test_json_is_one_document() -> None:
    assert json.loads(TOKENIZERS["bpe"].to_json())["kind"] == "bpe"

"""Pairs: what a batch holds, and what turns texts into it."""

import numpy as np
import pytest
import torch

from seqloom.core.types import IGNORED
from seqloom.data.pairs import Codec, Pairs, dictionary, sources
from seqloom.data.tokens import BPE, Bytes

BEGIN, END = 20, 21


def pairs(source: list[list[int]], target: list[list[int]]) -> Pairs:
    sides = ((np.array(sum(rows, [])), np.cumsum([0, *map(len, rows)])) for rows in (source, target))
    return Pairs(*sides, BEGIN, END)


def test_inputs_begin_and_sources_and_targets_end() -> None:
    batch = pairs([[1, 2, 3], [4]], [[5], [6, 7]]).batch(np.array([0, 1]))
    assert batch.source.tolist() == [[1, 2, 3, END], [4, END, 0, 0]]
    assert batch.source_segment.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.inputs.tolist() == [[BEGIN, 5, 0], [BEGIN, 6, 7]] and batch.segment.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.target.tolist() == [[5, END, IGNORED], [6, 7, END]]


def test_without_padding_there_is_no_segment() -> None:
    batch = pairs([[1, 2], [3, 4]], [[5], [6]]).batch(np.array([1, 0]))
    assert batch.source_segment is None and batch.segment is None and batch.rows.tolist() == [1, 0]


def test_an_example_is_as_long_as_both_sides() -> None:
    found = pairs([[1, 2, 3], [4]], [[5], [6, 7]])
    assert found.lengths.tolist() == [6, 5] and found.longest.tolist() == [3, 2]


def test_sides_of_different_number_and_empty_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="1 sources for 2 targets"):
        pairs([[1]], [[1], [2]])
    with pytest.raises(ValueError, match="example 1 has no tokens"):
        pairs([[1], [2]], [[1], []])


def test_a_dictionary_finds_what_comes_together() -> None:
    draw = np.random.default_rng(0)
    source = [draw.integers(0, 8, size=5).tolist() for _ in range(200)]
    target = [[19, *(token + 10 for token in reversed(row))] for row in source]  # 19 comes with everything
    found = dictionary(pairs(source, target), 20)
    assert found[:8].tolist() == list(range(10, 18))
    assert found[9] == 9  # never seen: itself


def test_sources_alone_are_as_in_a_batch() -> None:
    tokens, segment = sources([np.array([1, 2, 3]), np.array([4])], END)
    batch = pairs([[1, 2, 3], [4]], [[5], [6]]).batch(np.array([0, 1]))
    assert torch.equal(tokens, batch.source) and torch.equal(segment, batch.source_segment)


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_texts_come_back_as_they_were(kind: str) -> None:
    texts = ["Zwei Hunde, 3.5 m!", "一个女人的头上有一个装满水的篮子。", "a\u2028b", "x  y", "🙂 ok", "the the the dog"]
    codec = Codec(BPE.learn(texts * 3, 300) if kind == "bpe" else Bytes())
    batch = codec.pairs(texts, texts).batch(np.arange(len(texts)))
    assert [codec.decode(row[row != IGNORED].tolist()) for row in batch.target] == texts
    again = Codec.of(codec.to_data())
    assert again.decode(again.tokenizer.encode(texts[1]).tolist()) == texts[1]


def test_growth_is_what_few_pairs_exceed() -> None:
    codec = Codec(Bytes())
    found = codec.pairs(["abcd"] * 200, ["abcdefg"] * 199 + ["x" * 400])
    assert codec.growing(found, np.arange(200)).growth == pytest.approx(2.0, abs=0.11)


def test_what_is_no_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="no encoding of pairs"):
        Codec.of({"growth": 1.0})

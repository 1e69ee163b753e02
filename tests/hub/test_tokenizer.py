"""The tokenizer of a checkpoint that has no tokenizer.json equals the one that transformers makes of its files."""

import json

import pytest

import seqloom
from seqloom.hub import tokenizer

TEXTS = ["Late cards, café 卡!", "unlate", " two  spaces\n<|endoftext|>x", "[CLS] late [MASK]", ""]
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "\u2028",
    "late",
    "card",
    "##s",
    "un",
    "##late",
    ",",
    "!",
    "cafe",
    "Late",
]


def loaded(folder, name: str, files: dict[str, str]):
    seqloom.build(name, vocabulary=300, width=16).save_pretrained(folder)
    for file, content in files.items():
        (folder / file).write_text(content, encoding="utf-8")
    return seqloom.load(folder)


@pytest.mark.parametrize("lower", [None, True, False])
def test_word_pieces_equal_those_of_transformers(lower, tmp_path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    settings = {} if lower is None else {"tokenizer_config.json": json.dumps({"do_lower_case": lower})}
    model = loaded(tmp_path, "bert", {"vocab.txt": "\n".join(WORDS) + "\n", **settings})
    found, theirs = tokenizer(model), transformers.BertTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert found.encode(text).ids == theirs(text)["input_ids"], text


def test_byte_pairs_equal_those_of_transformers(tmp_path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from tokenizers.pre_tokenizers import ByteLevel

    merges = [("l", "a"), ("t", "e"), ("la", "te"), ("Ġ", "s")]
    tokens = [*sorted(ByteLevel.alphabet()), *("".join(pair) for pair in merges), "<|endoftext|>"]
    files = {
        "vocab.json": json.dumps({token: i for i, token in enumerate(tokens)}),
        "merges.txt": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges),
    }
    found = tokenizer(loaded(tmp_path, "gpt", files))
    theirs = transformers.GPT2Tokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert found.encode(text).ids == theirs(text)["input_ids"], text
        assert found.decode(found.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "add tokenizer.json, vocab.txt, or vocab.json and merges.txt"),
        ({"vocab.json": "{}"}, "no tokenizer came"),
        ({"vocab.json": "[1]", "merges.txt": "a b"}, "are damaged"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "a b c"}, "are damaged"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "a b"}, "are damaged"),
        ({"vocab.txt": "late", "tokenizer_config.json": "["}, "are damaged"),
        ({"vocab.txt": "late"}, "are damaged"),
    ],
)
def test_missing_and_damaged_files_are_told(files, message, tmp_path) -> None:
    model = loaded(tmp_path, "gpt", files)
    with pytest.raises(ValueError, match=message):
        tokenizer(model)

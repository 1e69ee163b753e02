"""The tokenizer that came with a checkpoint, from whichever files there are."""

import json
from typing import Any

from tokenizers import AddedToken
from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer
from tokenizers.implementations.byte_level_bpe import ByteLevelBPETokenizer

from seqloom.data.tokens import hub_tokenizer
from seqloom.model.model import Model


def tokenizer(model: Model) -> Any:
    """Return the tokenizer that came with a loaded model, of the `tokenizers` library.

    It is that of tokenizer.json, or else BERT's WordPiece of vocab.txt, or GPT-2's BPE of vocab.json and merges.txt.

    Raises:
        ValueError: none came along, or its files are damaged.
    """
    files: dict[str, bytes] = model.origin.files if model.origin is not None else {}
    if "tokenizer.json" in files:
        return hub_tokenizer(files["tokenizer.json"])
    try:
        if "vocab.txt" in files:
            return _word_pieces(files)
        if "vocab.json" in files and "merges.txt" in files:
            return _byte_pairs(files)
    except Exception as error:  # noqa: BLE001  the library raises bare Exception
        raise ValueError(f"the tokenizer's files that came with this model are damaged: {error}") from None
    raise ValueError(
        "no tokenizer came with this model: add tokenizer.json, vocab.txt, or vocab.json and merges.txt to its folder"
    )


def _word_pieces(files: dict[str, bytes]) -> Any:
    settings = json.loads(files.get("tokenizer_config.json", b"{}"))
    # not splitlines: vocabularies hold separators of other kinds as words
    words = [line.rstrip("\r") for line in files["vocab.txt"].decode().removesuffix("\n").split("\n")]
    return BertWordPieceTokenizer(
        {word: i for i, word in enumerate(words)},
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )


def _byte_pairs(files: dict[str, bytes]) -> Any:
    vocabulary = json.loads(files["vocab.json"])
    lines = files["merges.txt"].decode().split("\n")
    rows = (line.rstrip("\r").split(" ") for line in lines if line.strip() and not line.startswith("#version"))
    pairs = [(first, second) for first, second in rows]
    settings = json.loads(files.get("tokenizer_config.json", b"{}"))
    engine = ByteLevelBPETokenizer(vocabulary, pairs, add_prefix_space=settings.get("add_prefix_space", False))
    end = "<|endoftext|>"
    if end in vocabulary:
        engine.add_special_tokens([AddedToken(end, normalized=False)])
    return engine

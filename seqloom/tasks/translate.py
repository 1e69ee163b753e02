"""Translate: sequences to sequences, learnt from parallel text of the user's; decoded with beams, judged by BLEU."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pydantic

from seqloom.data.batches import Examples, shuffled, stream
from seqloom.data.columns import chosen_by
from seqloom.data.files import read_inputs
from seqloom.data.formats import Column, is_table
from seqloom.data.inputs import Line, read_lines
from seqloom.data.pairs import Codec, Pairs, dictionary
from seqloom.data.parallel import Kept, Parallel, by_source, read_pairs, read_parallel, without
from seqloom.data.records import Reject
from seqloom.data.tokens import BPE, Bytes
from seqloom.measure import formulas
from seqloom.measure.overlap import bleu_parts, signatures
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.tasks._translator import Translator
from seqloom.tasks.task import Coding, Opened, Task, Watch, evaluate

_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")

Part = tuple[list[str], list[str]]  # source texts and target texts of a split


class Translate(Task):
    """Translate texts, learnt from pairs of yours: two files line by line, or a table with a column of each language.

    One example of tokens="bpe", as its tokens would be spelt:

        source    _ein _hund _l äuft . <end>
        inputs    <begin> _a _dog _runs .
        target    _a _dog _runs . <end>

    seq2seq and transformer have an encoder for the source; any other causal model reads source and inputs as one text.
    Pairs that training repeats, that stand in a later split too, or whose source stands in test are left out of it and
    counted; where a file is split, all translations of a source stand in one part.
    """

    metric: ClassVar[str] = "bleu"
    better: ClassVar[str] = "higher"
    models: ClassVar[tuple[str, ...]] = ("seq2seq", "transformer", "gpt", "lstm")
    cites: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "papineni2002",
            "Papineni, K. and Roukos, S. and Ward, T. and Zhu, W.-J.",
            "BLEU: a Method for Automatic Evaluation of Machine Translation",
            "2002",
            "doi:10.3115/1073083.1073135",
        ),
        ("post2018", "Post, M.", "A Call for Clarity in Reporting BLEU Scores", "2018", "arXiv:1804.08771"),
        (
            "popovic2015",
            "Popovic, M.",
            "chrF: character n-gram F-score for automatic MT evaluation",
            "2015",
            "doi:10.18653/v1/W15-3049",
        ),
    )
    source: str | None = None  # file of texts to translate, one a line; with data: their column, name or number
    target: str | None = None  # file of their translations, line by line; with data: their column
    data: str | None = None  # instead of two files, a table: .tsv .csv .jsonl, also .gz, or .parquet; columns 0 and 1
    test_source: str | None = None  # files to test on; none: part of the rows
    test_target: str | None = None  # likewise
    test: str | None = None  # table to test on, with the same columns as data
    validation_source: str | None = None  # files to validate on; none: part of the rows
    validation_target: str | None = None  # likewise
    validation: float = pydantic.Field(default=0.05, gt=0, lt=0.5)  # share of the rows where no such files are given
    tokens: Literal["bpe", "bytes"] = "bpe"  # steps: strings learnt from both sides of training, or bytes
    vocabulary: int = pydantic.Field(default=8000, ge=256)  # BPE tokens at most, the 256 bytes among them
    max_length: int = pydantic.Field(default=200, gt=0)  # tokens of a side: longer pairs are not trained on
    smoothing: float = pydantic.Field(default=0.1, ge=0, lt=1)  # label smoothing of the training loss
    beams: int = pydantic.Field(default=4, gt=0)  # translations kept side by side; 1: always the likeliest token
    length_penalty: float = pydantic.Field(default=1.0, allow_inf_nan=False)  # beams: log probability / length^this
    bleu_tokenize: Literal["auto", "13a", "intl", "zh", "char", "none"] = "auto"  # sacreBLEU's; auto: zh for Han, 13a
    encoding: str = "utf-8"  # of the files
    header: bool | None = None  # whether the table's first row names the columns; None: if a column is named
    allow_rejects: bool = False  # go on with more than 0.1 % of the pairs unusable

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("", "test_", "validation_"):
            source, target = (getattr(self, f"{name}{side}") for side in ("source", "target"))
            if (source is None) != (target is None):
                raise ValueError(f"{name}source and {name}target go together; given: {source or target} alone")
        if self.data is None and self.source is None:
            raise ValueError("give source and target, two files line by line, or data, a table of both")
        if self.data is None and (self.test is not None or self.header is not None):
            raise ValueError("test and header are of tables, and no data is given; take test_source and test_target")
        if self.test is not None and self.test_source is not None:
            raise ValueError(f"test '{self.test}' and test_source '{self.test_source}': give one of them")
        if self.beams == 1 and self.length_penalty != 1:
            raise ValueError("length_penalty compares beams, and beams is 1: leave it out, or give more beams")
        return self

    @chosen_by("source", "target")
    def open(self, seed: int = 0) -> Opened:
        """Read the pairs, part them, learn the tokens from training, and encode all.

        Raises:
            ValueError: a file cannot be read, files differ in lines, or too few pairs can be used.
        """
        given = self._read("", self.data)
        assert given is not None
        parts = [given, self._read("validation_"), self._read("test_", self.test)]
        kept = without(given, *parts[1:])
        splits = self._splits(parts, kept.rows, seed)
        known = [*splits[0][0], *splits[0][1]]
        codec = Codec(BPE.learn(known, self.vocabulary) if self.tokens == "bpe" else Bytes())
        examples = [codec.pairs(*split) for split in splits]
        fits = np.flatnonzero(examples[0].longest <= self.max_length)
        if len(fits) == 0:
            raise ValueError(f"no pair of training has at most {self.max_length} tokens a side; raise max_length")
        train = examples[0].select(fits)
        codec = codec.growing(examples[0], fits)
        judged = "zh" if _han(splits[0][1]) else "13a"
        judged = judged if self.bleu_tokenize == "auto" else self.bleu_tokenize
        floor, floor_of = _floor(examples[0], splits[2], codec, judged)
        tokens = Tokens(vocabulary=codec.vocabulary)
        read = [part for part in parts if part is not None]
        return Opened(
            task=self,
            title=f"Translation of {PurePath(self.data or self.source or '').name}",
            train=train,
            validation=examples[1],
            test=examples[2],
            frontend=tokens,
            source=tokens,
            head=NextToken(vocabulary=codec.vocabulary, tied=True, smoothing=self.smoothing),
            causal=True,
            floor=floor,
            floor_of=floor_of,
            facts={**_account(read), **self._facts(examples, train, codec, judged), **_left_out(kept)},
            rejects=[
                {"file": part.name, "line": line, "reason": reason} for part in read for line, reason in part.rejects
            ],
            defaults={"batch_size": 64, "learning_rate": 2e-3},
            architecture={"dropout": 0.2},
            parameters=1_000_000,
            coding=self._coding(codec),
            encoding=codec.to_data(),
            scorer=self._translator(codec).scorer(judged),
            watch=Watch("bits_per_token", "lower", evaluate),
        )

    def _facts(self, examples: list[Pairs], train: Examples, codec: Codec, judged: str) -> dict[str, Any]:
        """Return what the report tells of encoded splits, of whose first a part is trained on."""
        return {
            "train": len(train),
            "validation": len(examples[1]),
            "test": len(examples[2]),
            "too_long_dropped": len(examples[0]) - len(train),
            "tokens": self.tokens,
            "vocabulary": codec.vocabulary,
            "source_length_median": float(np.median(examples[0].read)),
            "target_length_median": float(np.median(examples[0].written)),
            "length_max": int(max(part.longest.max() for part in examples)),
            "max_length": self.max_length,
            "beams": self.beams,
            "signatures": signatures(judged),
        }

    def coding(self, encoding: Any) -> Coding:
        """Return how texts become tokens, and translations texts, from what `open` wrote."""
        return self._coding(Codec.of(encoding))

    def _coding(self, codec: Codec) -> Coding:
        return Coding(codec.tokenizer.encode, codec.decode, self._translator(codec).answers, self._items)

    def _items(self, path: Path) -> Iterator[Line | Reject]:
        """Give the sources of a table, if tables are learnt from, or the lines of a file that is none."""
        if self.data is None or not is_table(path):
            return read_lines(path, self.encoding)
        return read_inputs(path, self._columns()[0], encoding=self.encoding, header=self.header)

    def _translator(self, codec: Codec) -> Translator:
        return Translator(codec, self.beams, self.length_penalty)

    def _read(self, split: str, table: str | None = None) -> Parallel | None:
        """Return the pairs of a table, or of the files given for a split; None where neither is."""
        if table is not None:
            return read_pairs(table, self._columns(), self.encoding, self.header, self.allow_rejects)
        source, target = getattr(self, f"{split}source"), getattr(self, f"{split}target")
        return None if source is None else read_parallel(source, target, self.encoding, self.allow_rejects)

    def _columns(self) -> list[Column]:
        """Return the columns of a table, of sources and targets."""
        return [int(column) if column.isdecimal() else column for column in (self.source or "0", self.target or "1")]

    def _splits(self, parts: list[Parallel | None], rows: list[np.ndarray], seed: int) -> list[Part]:
        """Return the texts of training, validation and test; what is not given is taken from the first part."""
        assert parts[0] is not None
        groups = by_source(parts[0], rows[0])
        own = [groups[number] for number in shuffled(stream(seed), len(groups))]
        taken = max(1, round(self.validation * len(own)))
        chosen: list[Part] = []
        for part, kept in zip(parts[1:], rows[1:], strict=True):
            if part is None:
                part, kept, own = parts[0], sorted(chain(*own[:taken])), own[taken:]
            chosen.append(_texts(part, kept))
        splits = [_texts(parts[0], sorted(chain(*own))), *chosen]
        if any(not split[0] for split in splits):
            counts = ", ".join(str(len(split[0])) for split in splits)
            raise ValueError(
                f"{counts} pairs are left for training, validation and test, where each needs one: all pairs of a "
                "source text stand in one split, and are left out of the earlier; give more pairs"
            )
        return splits


def _texts(part: Parallel, rows: Iterable[int]) -> Part:
    return [part.source[row] for row in rows], [part.target[row] for row in rows]


def _han(texts: list[str]) -> bool:
    """Return whether more than half of the characters of texts, blanks aside, are Chinese."""
    sample = "".join(texts[:: -(-len(texts) // 1000)])
    return 2 * len(_HAN.findall(sample)) > len("".join(sample.split()))


def _floor(train: Pairs, test: Part, codec: Codec, tokenize: str) -> tuple[float, str]:
    """Return the better of two trivial translations of the test split, in BLEU, and what it is in words."""
    best = dictionary(train, codec.vocabulary)
    tokens, offsets = codec.tokenizer.encode_batch(test[0])
    by_word = [codec.decode(row.tolist()) for row in np.split(best[tokens], offsets[1:-1])]
    tried = {
        "the source itself": test[0],
        "for each source token the target token that goes best with it in training": by_word,
    }
    scores = {
        what: float(formulas.bleu(bleu_parts(texts, test[1], tokenize).sum(axis=0))) for what, texts in tried.items()
    }
    what = max(scores, key=lambda name: scores[name])
    return scores[what], what


def _left_out(kept: Kept) -> dict[str, int]:
    """Return what was left out since it stands elsewhere, as facts."""
    return {
        "duplicates_dropped": kept.repeated,
        "overlaps_dropped": kept.shared[0],
        "overlaps_exact": kept.exact[0],
        "validation_overlaps_dropped": kept.shared[1],
        "sources_also_in_validation": kept.known,
    }


def _account(parts: list[Parallel]) -> dict[str, Any]:
    """Return what became of the rows of all files, and their digests."""
    return {
        "source": " | ".join(part.name for part in parts),
        "rows_in": sum(part.rows_in for part in parts),
        "rows_used": sum(map(len, parts)),
        "rows_rejected": sum(len(part.rejects) for part in parts),
        "digests": [digest for part in parts for digest in part.digests],
    }

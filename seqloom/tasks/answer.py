"""Answer: find the answer to a question in a passage, or rank candidates for it."""

from typing import Any, ClassVar, Literal, Self

import pydantic

from seqloom.data.columns import chosen_by
from seqloom.tasks._extracting import extraction_coding, open_extraction
from seqloom.tasks._selecting import open_selection, selection_coding
from seqloom.tasks.task import Coding, Opened, Task

_KINDS = {"extract": extraction_coding, "select": selection_coding}


class Answer(Task):
    """Answer questions: by a stretch of a passage (SQuAD's json), or by the best of candidates (a table of pairs).

    Question and passage are one sequence of words, or of characters where a script has no spaces. One example of
    extraction, of which a step is a word's number and small numbers about it; its target are the first and the last
    step of "in Warsaw":

        question  Where was Chopin born?
        context   Frédéric Chopin was born in Warsaw.

        inputs    where was chopin born ? | frédéric chopin was born in warsaw .
        also in the other  -  x  x  x  -  |  -  x  x  x  -  -  -
        target    10 11

    Of selection, a pair of it; its target is 1, the candidate answers the question:

        question,candidate,label
        Where was Chopin born?,He was born in Warsaw.,1

    A file named .json holds passages, any other is a table of pairs. Without files of their own, validation and test
    are parts of the data, by passage or by question: none stands in two of them.
    """

    metric: ClassVar[str] = "f1"
    better: ClassVar[str] = "higher"
    models: ClassVar[tuple[str, ...]] = ("gru", "bilstm", "transformer", "gru_transformer")
    source: ClassVar[tuple[str, ...]] = (
        "rajpurkar2016",
        "Rajpurkar, P. and Zhang, J. and Lopyrev, K. and Liang, P.",
        "SQuAD: 100,000+ Questions for Machine Comprehension of Text",
        "2016",
        "arXiv:1606.05250",
    )
    data: str  # SQuAD's .json, or a table of pairs: .csv .tsv .jsonl, also .gz, or .parquet
    dev: str | None = None  # file to validate on, likewise; None: part of the data
    test: str | None = None  # file to test on, likewise; None: part of the data
    validation: float = pydantic.Field(default=0.1, gt=0, lt=0.5)  # share of the data to validate on, and to test on
    question: str | int = "question"  # column of a table: name, or number from 0 where there is no header
    candidate: str | int = "candidate"  # column of the candidate answers, likewise
    label: str | int = "label"  # column that is 1 where the candidate answers the question, else 0
    ranking: Literal["clean", "all"] = "clean"  # score questions with right and wrong candidates, or all of them
    vocabulary: int | None = pydantic.Field(default=None, ge=16)  # numbered words; None: 20,000, of pairs one in 50
    max_length: int = pydantic.Field(default=512, ge=16)  # steps of a window: question and part of the passage
    stride: int = pydantic.Field(default=128, gt=0)  # steps from one window of a long passage to the next
    max_answer: int = pydantic.Field(default=30, gt=0)  # steps of an answer at most
    encoding: str = "utf-8"  # of the files
    header: bool | None = None  # whether a table's first row names the columns; None: it does if a column is named
    delimiter: str | None = None  # what separates a table's cells; None: by the file's name
    allow_rejects: bool = False  # go on with more than 0.1 % of the rows unusable

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if len({self.question, self.candidate, self.label}) < 3:
            raise ValueError(
                f"question '{self.question}', candidate '{self.candidate}', label '{self.label}': must be three columns"
            )
        if self.stride > self.max_length // 2:
            raise ValueError(
                f"stride {self.stride} is more than half of max_length {self.max_length}: windows would leave parts of "
                "a passage out; take a smaller stride"
            )
        kinds = {_holds_passages(path) for path in (self.data, self.dev, self.test) if path is not None}
        if len(kinds) > 1:
            raise ValueError("data, dev and test must be of one kind: all .json with passages, or all tables of pairs")
        return self

    @chosen_by("question", "candidate", "label")
    def open(self, seed: int = 0) -> Opened:
        """Read the files, split, learn the words from the training split, and encode all.

        Raises:
            ValueError: a file cannot be read or too much of it not used, or a split holds nothing to score.
        """
        return open_extraction(self, seed) if _holds_passages(self.data) else open_selection(self, seed)

    def coding(self, encoding: Any) -> Coding:
        """Return what answers questions again.

        Raises:
            ValueError: the encoding is not one of this task's.
        """
        try:
            return _KINDS[encoding["kind"]](self, encoding)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no encoding of answer: {error!r}") from None


def _holds_passages(path: str) -> bool:
    return path.lower().removesuffix(".gz").endswith(".json")

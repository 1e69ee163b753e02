"""Converse: what a customer's question wants, whether it can be answered, and the known answer that is nearest."""

from typing import Any, ClassVar, Self

import pydantic

from seqloom.tasks._intents import Intents, intents_coding, open_intents
from seqloom.tasks.task import Coding, Opened, Task


class Converse(Intents, Task):
    """Answer customers: the intent of a question, whether it is out of scope, and the known questions nearest to it.

    Learnt from a table of questions with intents, with answers, or with both. One example, as its tokens would be
    spelt; its target is the number of "card_arrival" among the sorted intents:

        text,category
        Where is my card?,card_arrival

        inputs    _where _is _my _card ?
        target    0

    Questions with the intent `oos` are out of scope: they are not learnt, and should be told from the others. Where
    there are none, a tenth of the intents is held out to stand for them; held_out=0 learns all.
    """

    metric: ClassVar[str] = "accuracy"
    better: ClassVar[str] = "higher"
    models: ClassVar[tuple[str, ...]] = ("gru", "bilstm", "transformer", "lstm_transformer")
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "casanueva2020",
            "Casanueva, I. and others",
            "Efficient Intent Detection with Dual Sentence Encoders",
            "2020",
            "arXiv:2003.04807",
        ),
        (
            "larson2019",
            "Larson, S. and others",
            "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction",
            "2019",
            "arXiv:1909.02027",
        ),
    )

    @pydantic.model_validator(mode="after")
    def _columns(self) -> Self:
        if self.intent is None and self.answer is None:
            raise ValueError("name the column of the intents (--intent), of the answers (--answer), or both")
        named = [column for column in (self.text, self.intent, self.answer) if column is not None]
        if len(set(named)) < len(named):
            raise ValueError(f"text, intent and answer are columns {named}: they must be different ones")
        return self

    def open(self, seed: int = 0) -> Opened:
        """Read the tables, split the rows, learn the tokens from the training rows, and encode all.

        Raises:
            ValueError: a table cannot be read or too many of its rows not used; intents that cannot be learnt, split or
                tested.
        """
        return open_intents(self, seed)

    def coding(self, encoding: Any) -> Coding:
        """Return how questions become tokens and are answered, from what `open` wrote."""
        return intents_coding(self, encoding)

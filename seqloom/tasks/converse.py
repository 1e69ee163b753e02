"""Converse: what a customer's question wants, whether it can be answered, and the known answer that is nearest."""

from dataclasses import fields
from typing import Any, ClassVar, Literal, Self

import pydantic

from seqloom.data.columns import chosen_by
from seqloom.tasks._intents import Intents, intents_coding, open_intents
from seqloom.tasks._questions import Questions
from seqloom.tasks._replies import Replies, open_replies, replies_coding
from seqloom.tasks.task import Coding, Opened, Task


class Converse(Intents, Replies, Task):
    """Answer customers: the intent of a question, whether it is out of scope, and the known questions nearest to it.

    Learnt from a table of questions with intents, with answers, or with both. One example, as its tokens would be
    spelt; its target is the number of "card_arrival" among the sorted intents:

        text,category
        Where is my card?,card_arrival

        inputs    _where _is _my _card ?
        target    0

    Questions with the intent `oos` are out of scope: they are not learnt, and should be told from the others. Where
    there are none, a tenth of the intents is held out to stand for them; held_out=0 learns all. With
    objective="generate" answers are written, by an encoder-decoder or any causal model:

        source    _where _is _my _card ? <end>
        inputs    <begin> _it _takes _a _week .
        target    _it _takes _a _week . <end>
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

    objective: Literal["intent", "generate"] = "intent"  # tell intents and retrieve answers, or write answers

    @pydantic.model_validator(mode="after")
    def _columns(self) -> Self:
        if self.objective == "generate" and (self.answer is None or self.intent is not None):
            raise ValueError("objective=generate learns from questions and answers: name --answer, leave --intent out")
        if self.intent is None and self.answer is None:
            raise ValueError("name the column of the intents (--intent), of the answers (--answer), or both")
        named = [column for column in (self.text, self.intent, self.answer) if column is not None]
        if len(set(named)) < len(named):
            raise ValueError(f"text, intent and answer are columns {named}: they must be different ones")
        other = Intents if self.objective == "generate" else Replies
        own = {field.name for field in fields(other)} - {field.name for field in fields(Questions)}
        for name in sorted(own):
            if getattr(self, name) != type(self).__pydantic_fields__[name].default:  # type: ignore[attr-defined]
                raise ValueError(f"{name} has no effect with objective={self.objective}: leave it out")
        return self

    @chosen_by("text", "intent", "answer")
    def open(self, seed: int = 0) -> Opened:
        """Read the tables, split the rows, learn the tokens from the training rows, and encode all.

        Raises:
            ValueError: a table cannot be read or too many of its rows not used; intents that cannot be learnt, split or
                tested.
        """
        return open_replies(self, seed) if self.objective == "generate" else open_intents(self, seed)

    def coding(self, encoding: Any) -> Coding:
        """Return how questions become tokens and are answered, from what `open` wrote."""
        return replies_coding(self, encoding) if self.objective == "generate" else intents_coding(self, encoding)

"""Replies: answers written token by token, learnt from questions with their answers."""

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import pydantic
import torch
from torch import Tensor

from seqloom.core.types import IGNORED
from seqloom.data.batches import Batch
from seqloom.data.pairs import Codec, Pairs, sources
from seqloom.data.splits import grouped, without
from seqloom.data.tokens import truncated
from seqloom.measure.formulas import bleu, chrf, perplexity
from seqloom.measure.overlap import bleu_parts, chrf_parts
from seqloom.model.frontend import Tokens
from seqloom.model.generate import complete
from seqloom.model.head import NextToken
from seqloom.model.prompt import from_source
from seqloom.tasks._questions import Asked, Questions, learn_tokens, read_items, read_questions
from seqloom.tasks.task import Coding, Opened, Watch, evaluate, judging

_FORMULAS = {"chrf": chrf, "bleu": bleu, "perplexity": perplexity}
_BATCH = 64  # questions answered together


class Replies(Questions):
    """Settings of learning to write answers."""

    beams: int = pydantic.Field(default=4, gt=0)  # answers kept side by side as one is written; 1: the likeliest token


def open_replies(task: Replies, seed: int) -> Opened:
    """Read the tables, split the rows, learn the tokens from both sides of the training rows, and encode all.

    Raises:
        ValueError: a table cannot be read, or has too few different questions.
    """
    asked = read_questions(task)
    parts = _split(task, asked, seed)
    codec = Codec(learn_tokens(task, [text for side in _texts(asked, parts[0]) for text in side]))
    train, validation, test = (_pairs(task, codec, *_texts(asked, rows)) for rows in parts)
    floor, floor_of = _floor(asked, parts, codec)
    tokens = Tokens(vocabulary=codec.vocabulary)
    return Opened(
        task=task,
        title=f"Replies of {PurePath(task.data).name}",
        train=train,
        validation=validation,
        test=test,
        frontend=tokens,
        source=tokens,
        head=NextToken(vocabulary=codec.vocabulary, tied=True),
        causal=True,
        floor=floor,
        floor_of=floor_of,
        facts={
            **asked.facts(task),
            "train": len(train),
            "validation": len(validation),
            "test": len(test),
            "duplicates_dropped": len(asked.questions) - sum(map(len, parts)),
            "answers": len(set(asked.answers)),
            "vocabulary": codec.vocabulary,
            "question_length_median": float(np.median(train.read)),
            "answer_length_median": float(np.median(train.written)),
            "max_length": task.max_length,
            "beams": task.beams,
        },
        rejects=asked.rejects(),
        defaults={"batch_size": 32, "learning_rate": 2e-3},
        architecture={"dropout": 0.2},
        parameters=1_000_000,
        decides="chrf",
        scorer=functools.partial(evaluate, judge=functools.partial(_judge, task, codec), formulas=_FORMULAS),
        watch=Watch("bits_per_token", "lower", evaluate),
        coding=replies_coding(task, codec.to_data()),
        encoding=codec.to_data(),
    )


def replies_coding(task: Replies, encoding: Any) -> Coding:
    """Return how questions become tokens, and tokens answers.

    Raises:
        ValueError: the encoding is not one of `open_replies`.
    """
    codec = Codec.of(encoding)

    def encode(line: str) -> np.ndarray:
        return codec.tokenizer.encode(line)[: task.max_length]

    def answers(model: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
        questions = [str(item).strip() for item in items]
        if "" in questions:
            raise ValueError(f"question {questions.index('') + 1} is empty; ask something")
        found: list[dict[str, Any]] = []
        device = next(model.parameters()).device
        for start in range(0, len(questions), _BATCH):
            asked = [encode(question) for question in questions[start : start + _BATCH]]
            source, segment = sources(asked, codec.end)
            with judging(model):
                found += [
                    {"answer": text} for text in _written(task, codec, model, source.to(device), segment.to(device))
                ]
        return found

    return Coding(encode=encode, decode=codec.decode, answers=answers, items=functools.partial(read_items, task))


def _split(task: Replies, asked: Asked, seed: int) -> list[np.ndarray]:
    """Return the rows of training, validation and test; equal questions stand in one of them."""
    n, share = asked.learnt, task.validation
    kept = without(asked.keys[:n], asked.keys[n:])
    shares = (1 - 2 * share, share, share) if task.test is None else (1 - share, share)
    different = len(np.unique(asked.keys[kept]))
    if different < len(shares):
        raise ValueError(f"'{task.data}' has {different} different questions; {len(shares)} or more make the splits")
    parts = [kept[rows] for rows in grouped(asked.keys[kept], None, shares, seed)]
    return parts if task.test is None else [*parts, np.arange(n, len(asked.questions))]


def _texts(asked: Asked, rows: np.ndarray) -> tuple[list[str], list[str]]:
    return [asked.questions[row] for row in rows], [asked.answers[row] for row in rows]


def _pairs(task: Replies, codec: Codec, questions: list[str], answers: list[str]) -> Pairs:
    source, target = (
        truncated(*codec.tokenizer.encode_batch(texts), task.max_length) for texts in (questions, answers)
    )
    return Pairs(source, target, codec.begin, codec.end)


def _judge(task: Replies, codec: Codec, model: Any, batch: Batch, output: Tensor) -> dict[str, Tensor | np.ndarray]:
    """Return what chrF and BLEU of the answers written, and the head's own scores, are made of."""
    assert batch.source is not None
    said = _written(task, codec, model, batch.source, batch.source_segment)
    wanted = [codec.decode(row[row != IGNORED].tolist()) for row in batch.target]
    own = {name: torch.stack(parts, dim=-1) for name, parts in model.head.scores(output, batch.target).items()}
    overlaps = {"chrf": chrf_parts(said, wanted), "bleu": bleu_parts(said, wanted, "13a")}
    return {**overlaps, "perplexity": own["bits_per_token"], **own}


def _written(task: Replies, codec: Codec, model: Any, source: Tensor, segment: Tensor | None) -> list[str]:
    """Return the answers to questions (B, S), with their ends, padded right; each as it would be alone."""
    prompt, real, memory = from_source(model, source, segment, codec.begin)
    longest, frontend = task.max_length, model.spec.frontend
    if frontend.positions == "learned":  # an answer ends where the positions do
        longest = max(1, min(longest, frontend.max_length - prompt.shape[1] + 1))
    whole = complete(model, prompt, longest, beams=task.beams, end=codec.end, segment=real, memory=memory)
    return [codec.decode(row) for row in whole[:, prompt.shape[1] :].tolist()]


def _floor(asked: Asked, parts: list[np.ndarray], codec: Codec) -> tuple[float, str]:
    """Return the better chrF on test of two ways to answer from training, and that in words."""
    from sklearn.feature_extraction.text import CountVectorizer  # here, since it takes a second to load

    (questions, answers), (asking, wanted) = _texts(asked, parts[0]), _texts(asked, parts[2])
    # scikit-learn's own types are looser than what it gives
    words: Any = CountVectorizer(analyzer=lambda text: codec.tokenizer.encode(text).tolist(), binary=True)  # type: ignore[arg-type]
    known: Any = words.fit_transform(questions)
    held: Any = words.transform(asking)
    nearest = np.zeros(len(asking), dtype=np.int64)
    for start in range(0, len(asking), _BATCH):
        rows = slice(start, start + _BATCH)
        shared = (held[rows] @ known.T).toarray()
        either = held[rows].sum(axis=1) + known.sum(axis=1).T - shared
        nearest[rows] = np.asarray(shared / np.maximum(either, 1)).argmax(axis=1)
    tried = {
        "the answer to the training question that shares most of its tokens (Jaccard)": [answers[i] for i in nearest],
        "the most frequent answer in training": [Counter(answers).most_common(1)[0][0]] * len(wanted),
    }
    scores = {what: float(chrf(chrf_parts(said, wanted).sum(axis=0))) for what, said in tried.items()}
    what = max(scores, key=lambda name: scores[name])
    return scores[what], what

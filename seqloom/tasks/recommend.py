"""Recommend: the next item of each user, learnt from what users chose, in time order."""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic
import torch

from seqloom.data.batches import Examples
from seqloom.data.columns import chosen_by
from seqloom.data.formats import is_table
from seqloom.data.interactions import (
    Histories,
    Interactions,
    asking,
    core,
    lasting,
    learning,
    overlaps,
    read_histories,
    read_lines,
    read_ratings,
)
from seqloom.data.records import Reject
from seqloom.measure.ranking import Following, Popular, ranked
from seqloom.measure.scores import Scores
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.tasks.task import Coding, Opened, Task, judging, sample_rows

_ANSWERS = 10  # items recommended
_SCORED = 256  # rows scored at a time: one score of each item a row


class Recommend(Task):
    """Predict the next item of a user, learnt from lines of `user item item ...` or a table with times of yours.

    The last item of each user is for testing, the last but one for validation (leave-one-out). One user, 7, with
    items a b c d e, oldest first, becomes one example of each split:

        7 a b c d e

        training      inputs  a b      targets  b c
        validation    inputs  a b c    target   d
        test          inputs  a b c d  target   e

    A target is ranked among all items, no sample of them. Files that are named .csv, .tsv, .jsonl or .parquet, or that
    come with a delimiter, are tables: one interaction a row, in columns by name, or by number from 0 without a header.
    """

    metric: ClassVar[str] = "ndcg@10"
    better: ClassVar[str] = "higher"
    models: ClassVar[tuple[str, ...]] = ("gru", "lstm", "transformer", "gru_transformer", "mamba2")
    source: ClassVar[tuple[tuple[str, ...], ...]] = (
        (
            "kang2018",
            "Kang, W. and McAuley, J.",
            "Self-Attentive Sequential Recommendation",
            "2018",
            "arXiv:1808.09781",
        ),
        (
            "hidasi2016",
            "Hidasi, B. and Karatzoglou, A. and Baltrunas, L. and Tikk, D.",
            "Session-based Recommendations with Recurrent Neural Networks",
            "2016",
            "arXiv:1511.06939",
        ),
    )
    data: str  # lines of user item item ..., oldest first; or a table: .csv .tsv .jsonl .parquet, or with --delimiter
    user: str | int = "user"  # column of a table: name, or number from 0 where there is no header
    item: str | int = "item"  # column of a table, likewise
    time: str | int = "time"  # column of a table, numbers or dates; "": its rows stand in time order
    core: int = pydantic.Field(default=0, ge=0)  # keep users and items with so many interactions (k-core); 0: all
    min_length: int = pydantic.Field(default=3, ge=3)  # interactions of a user at least; others are left out
    max_length: int = pydantic.Field(default=50, gt=0)  # most recent items that are read; training reads all in turn
    seen: Literal["auto", "leave_out", "rank"] = "auto"  # rank items a user had? auto: if anyone has an item twice
    dropout: float = pydantic.Field(default=0.5, ge=0, lt=1)  # of the items' vectors
    encoding: str = "utf-8"  # of the file
    header: bool | None = None  # whether a table's first row names the columns; None: it does if a column is named
    delimiter: str | None = None  # what separates a table's cells; None: by the file's name
    allow_rejects: bool = False  # go on with more than 0.1 % of the rows unusable

    @chosen_by("user", "item", "time")
    def open(self, seed: int = 0) -> Opened:
        """Read the interactions and leave each user's last two items out; the split does not depend on the seed.

        Raises:
            ValueError: the file cannot be read or too many of its rows not used; too few users, or items, are left.
        """
        read = self._read(self.data)
        data = lasting(core(read, self.core) if self.core else read, self.min_length)
        tokens = [sequence + 1 for sequence in data.sequences]  # 0 is padding
        if len(data.items) < 2 or max(map(len, tokens)) < 4:
            raise ValueError(
                f"'{self.data}' has {len(data.users)} users with {self.min_length} or more interactions and "
                f"{len(data.items)} items{f' in its {self.core}-core' if self.core else ''}; to learn needs users with "
                "4 or more, and 2 items: give more data, or a smaller core or min_length"
            )
        train = learning([sequence[:-2] for sequence in tokens], self.max_length)
        validation = asking([sequence[:-1] for sequence in tokens], self.max_length)
        test = asking(tokens, self.max_length)
        repeats = sum(len(sequence) - len(np.unique(sequence)) for sequence in tokens)
        leave_out = not repeats if self.seen == "auto" else self.seen == "leave_out"
        vocabulary = len(data.items) + 1
        floor, floor_of = _floor(tokens, vocabulary, leave_out)
        encoding = {"items": data.items, "leave_out": leave_out}
        return Opened(
            task=self,
            title=f"Next item in {PurePath(self.data).name}",
            train=train,
            validation=validation,
            test=test,
            frontend=Tokens(vocabulary=vocabulary, dropout=self.dropout),
            head=NextToken(vocabulary=vocabulary, unit="item", tied=True),
            causal=True,
            floor=floor,
            floor_of=floor_of,
            facts={
                **_account(self, read, data),
                "train": len(train),
                "validation": len(validation),
                "test": len(test),
                **overlaps(tokens),
                "repeats": repeats,
                "seen_items": "left out of the ranking" if leave_out else "ranked like any other",
            },
            rejects=[{"file": self.data, "line": line, "reason": reason} for line, reason in read.rejects],
            defaults={"batch_size": 64, "learning_rate": 2e-3},
            architecture={"dropout": 0.2},
            coding=self.coding(encoding),
            encoding=encoding,
            scorer=functools.partial(rank_last, leave_out=leave_out),
        )

    def coding(self, encoding: Any) -> Coding:
        """Return users' items to tokens and back, and the items recommended to each user.

        Raises:
            ValueError: the encoding is not one of this task's.
        """
        try:
            names, leave_out = [str(name) for name in encoding["items"]], bool(encoding["leave_out"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no encoding of recommend: {error!r}") from None
        tokens = {name: token for token, name in enumerate(names, 1)}

        def encode(line: str) -> np.ndarray:
            known = [tokens[name] for name in line.split()[1:] if name in tokens]
            return np.array(known[-self.max_length :], dtype=np.int64)

        def answers(model: Any, items: Sequence[Any]) -> list[dict[str, Any]]:
            return [self._answer(model, _asked(item), tokens, names, leave_out) for item in items]

        return Coding(
            encode=encode,
            decode=lambda found: " ".join(names[token - 1] for token in found if token),
            answers=answers,
            items=self._items,
        )

    def _answer(
        self, model: Any, asked: tuple[str, list[str]], tokens: dict[str, int], names: list[str], leave_out: bool
    ) -> dict[str, Any]:
        """Return the items recommended to one user, best first, with their probabilities among those ranked."""
        user, chosen = asked
        known = [tokens[name] for name in chosen if name in tokens]
        answer: dict[str, Any] = {"user": user, "recommended": [], "probabilities": []}
        answer["unknown"] = [name for name in dict.fromkeys(chosen) if name not in tokens]
        if not known:
            return answer  # nothing that the model knows to go by
        device = next(model.parameters()).device
        with judging(model):
            inputs = torch.tensor(known[-self.max_length :], device=device)[None]
            scores = _last(model, inputs, None, torch.tensor([inputs.shape[1] - 1], device=device))[0]
            if leave_out:
                scores[torch.tensor(known, device=device)] = -torch.inf
            chances = scores.softmax(dim=-1)
        ranked_items = len(names) - (len(set(known)) if leave_out else 0)
        top = chances.topk(min(_ANSWERS, ranked_items))
        answer["recommended"] = [names[token - 1] for token in top.indices.tolist()]
        answer["probabilities"] = top.values.tolist()
        return answer

    def _items(self, path: Path) -> Iterable[list[str] | Reject]:
        """Return [user, item, item, ...] of each line; of each user of a table, behind its rows that are not used."""
        if not is_table(path, self.delimiter):
            return read_histories(path, self.encoding)
        read = self.replace(allow_rejects=True)._read(str(path))
        pairs = zip(read.users, read.sequences, strict=True)
        return [*read.rejects, *([user, *(read.items[number] for number in row)] for user, row in pairs)]

    def _read(self, path: str) -> Interactions:
        if not is_table(path, self.delimiter):
            return read_lines(path, encoding=self.encoding, allow_rejects=self.allow_rejects)
        return read_ratings(
            path,
            self.user,
            self.item,
            None if self.time == "" else self.time,
            encoding=self.encoding,
            header=self.header,
            delimiter=self.delimiter,
            allow_rejects=self.allow_rejects,
        )


def rank_last(model: Any, examples: Examples, *, limit: int | None = None, leave_out: bool = True) -> Scores:
    """Score the rank of the target of each row's last step among all items; equal scores count against the target.

    Only last steps meet the head, so that memory is O(B V), not O(B T V).

    Args:
        model: a Model whose inputs are items.
        examples: Histories with a target at their last step.
        limit: score this many, spread over the split; None: all.
        leave_out: whether items that the user had are not ranked; a target among them is a miss.
    """
    assert isinstance(examples, Histories)
    rows = sample_rows(len(examples), limit)
    order = np.argsort(examples.lengths[rows], kind="stable")
    rank = np.empty(len(rows))
    device = next(model.parameters()).device
    with judging(model):
        for start in range(0, len(rows), _SCORED):
            at = order[start : start + _SCORED]
            batch = examples.batch(rows[at]).to(device)
            last = torch.from_numpy(examples.lengths[rows[at]] - 1).to(device)
            scores = _last(model, batch.inputs, batch.segment, last)
            target = batch.target.gather(1, last[:, None])
            mine = scores.gather(1, target)
            had = torch.zeros(len(at), dtype=torch.bool)
            if leave_out:
                before = examples.before(rows[at])
                line = np.repeat(np.arange(len(at)), list(map(len, before)))
                scores[
                    torch.from_numpy(line).to(device), torch.from_numpy(np.concatenate(before)).to(device)
                ] = -torch.inf
                had = torch.isinf(scores.gather(1, target))[:, 0].cpu()
            found = (~(scores < mine)).sum(dim=1).double().cpu()  # what is no number stands before the target
            rank[at] = torch.where(had, torch.inf, found).numpy()
    return Scores(ranked(rank))


def _last(model: Any, inputs: torch.Tensor, segment: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
    """Return the scores (B, V) of all items at each row's last step; that of padding, which is no item, is -inf."""
    x, _, _ = model.hidden(inputs, None, segment)
    x = x.gather(1, last[:, None, None].expand(-1, 1, x.shape[2]))
    scores = model.head(x, None, model.table)[:, 0].float()
    scores[:, 0] = -torch.inf
    return scores


def _floor(tokens: list[np.ndarray], vocabulary: int, leave_out: bool) -> tuple[float, str]:
    """Return the better test score of two baselines, learnt from the training parts, and what reaches it."""
    found: list[tuple[float, str]] = []
    known = [sequence[:-2] for sequence in tokens]
    for baseline in (Popular(known, vocabulary), Following(known, vocabulary)):
        rank = np.empty(len(tokens))
        for row, sequence in enumerate(tokens):
            history, target = sequence[:-1], int(sequence[-1])
            left_out = np.unique(history) if leave_out else history[:0]
            rank[row] = np.inf if target in left_out else baseline.rank(history, target, left_out)
        found.append((Scores(ranked(rank)).value(Recommend.metric), baseline.name))
    return max(found)


def _asked(item: Any) -> tuple[str, list[str]]:
    """Return (user, items) of an input: as `_items` gives it, or a line of text."""
    words = item.split() if isinstance(item, str) else item
    if len(words) < 2:
        raise ValueError(f"'{item[:80]}' is no history: write `user item item ...`, oldest item first")
    return words[0], words[1:]


def _account(task: Recommend, read: Interactions, kept: Interactions) -> dict[str, Any]:
    lengths = list(map(len, kept.sequences))
    return {
        "source": task.data,
        "rows_in": read.rows_in,
        "rows_used": read.rows_used,
        "rows_rejected": read.rows_in - read.rows_used,
        "duplicates_dropped": read.duplicates,
        "same_time_as_before": read.tied,
        "users_left_out": len(read.users) - len(kept.users),
        "items_left_out": len(read.items) - len(kept.items),
        "interactions_left_out": len(read) - len(kept),
        "users": len(kept.users),
        "items": len(kept.items),
        "interactions": len(kept),
        "length_median": float(np.median(lengths)),
        "length_max": max(lengths),
        "max_length": task.max_length,
        "split": "each user's last item for test, the last but one for validation",
        "digests": [read.digest],
    }

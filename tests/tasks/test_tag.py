"""Tag: splits that share no sentence, words learnt from training alone, entities in words, and clear refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqloom.core.spec import resolve
from seqloom.data.schemes import Span, tags_of
from seqloom.data.sentences import cut
from seqloom.data.words import KINDS, Lexicon, TokenExamples, kind_of
from seqloom.tasks.tag import Tag
from seqloom.tasks.task import Interface, Opened, Task
from seqloom.zoo.bilstm import BiLSTM
from seqloom.zoo.transformer import Transformer

NAMES = ("Ann", "Bob", "Cid", "Dan", "Eve")
CITIES = ("Bonn", "Lima", "Oslo")


def sentence(i: int) -> list[str]:
    """Return the lines of one sentence; those of different numbers below 2000 differ."""
    name, city = NAMES[i % 5], CITIES[i % 3]
    rest = ["was O", f"n{i} O"] + ["in O", "New B-LOC", f"{city} I-LOC"] * (i % 2)
    return [f"{name} B-PER", *rest, ". O"]


def file(path: Path, sentences: list[list[str]], encoding: str = "utf-8") -> str:
    path.write_text("\n\n".join("\n".join(lines) for lines in sentences) + "\n", encoding=encoding)
    return str(path)


def test_sentences_are_shared_out_and_equal_ones_stay_together(tmp_path: Path) -> None:
    lines = [sentence(i) for i in range(100)] + [sentence(i) for i in range(40)]
    opened = Tag(data=file(tmp_path / "a.conll", lines)).open(seed=3)
    facts = opened.facts
    assert facts["train"] + facts["validation"] + facts["test"] == 140 == facts["rows_used"] == facts["rows_in"]
    assert facts["duplicates_within"] == 40 and facts["duplicates_dropped"] == 0
    assert facts["labels"] == ["LOC", "PER"] and facts["schemes"] == {"train": "iob2"}
    assert opened.labels == ("O", *(f"{part}-{label}" for label in ("LOC", "PER") for part in "BIES"))


def test_a_given_test_file_is_whole_and_wins_over_equal_sentences_elsewhere(tmp_path: Path) -> None:
    train = file(tmp_path / "a.conll", [sentence(i) for i in range(50)])
    dev = file(tmp_path / "b.conll", [sentence(i) for i in range(45, 60)])
    test = file(tmp_path / "c.conll", [sentence(i) for i in range(58, 70)])
    opened = Tag(data=train, validation_data=dev, test=test).open()
    assert (len(opened.train), len(opened.validation), len(opened.test)) == (45, 13, 12)
    assert opened.facts["duplicates_dropped"] == 7
    with pytest.raises(ValueError, match=r"every sentence of .*c\.conll' is also in .*c\.conll'"):
        Tag(data=test, test=test).open()


def test_targets_are_bioes_of_the_entities_whatever_the_scheme_of_the_file(tmp_path: Path) -> None:
    columns = [[line.split() for line in sentence(i)] for i in range(40)]
    found: list[dict[str, Any]] = []
    for scheme in ("iob1", "bioes", "bilou"):
        lines = []
        for rows in columns:
            spans = [Span(0, 1, "PER")] + ([Span(4, 6, "LOC")] if len(rows) > 4 else [])
            tags = tags_of(spans, len(rows), scheme)
            lines.append([f"{row[0]}\t{tag}" for row, tag in zip(rows, tags, strict=True)])
        opened = Tag(data=file(tmp_path / f"{scheme}.txt", lines)).open()
        batch = opened.train.batch(np.arange(20))
        assert opened.facts["schemes"] == {"train": scheme}
        found.append({"inputs": batch.inputs.tolist(), "target": batch.target.tolist(), "floor": opened.floor})
    assert found[0] == found[1] == found[2]
    names = {opened.labels[i] for row in found[0]["target"] for i in row if i >= 0}
    assert names == {"O", "S-PER", "B-LOC", "E-LOC"}


def test_the_floor_gives_each_known_word_its_usual_label(tmp_path: Path) -> None:
    train = file(tmp_path / "a.txt", [["a B-X", "b O"], ["a B-X", "c B-Y"], ["a O", "b O"], ["d B-X", "e I-X", "b O"]])
    test = file(tmp_path / "b.txt", [["a B-X", "c B-Y", "d B-X"], ["d B-X", "e I-X", "z B-X"]])
    opened = Tag(data=train, test=test, validation=0.4).open()
    # of the sentences that are left for training, at least these: a is X, d e is X; z is not known
    assert 0 < opened.floor < 1 and opened.facts["unknown_share"] > 0


def test_words_of_training_alone_are_known_and_rare_ones_are_hidden_anew_in_each_epoch() -> None:
    lexicon = Lexicon.learn(["The", "the", "1996", "1997", "odd"], letters=4, lower=True)
    assert lexicon.words == ["0000", "the", "odd"]
    assert lexicon.encode(["THE", "2001", "new"])[:, 0].tolist() == [2, 1, 0]
    assert Lexicon.learn(["a", "a", "b"], 0, True, least=2).words == ["a"]
    sentences = [["often"] * 20 + [f"once{i}"] for i in range(200)]
    lexicon = Lexicon.learn([t for s in sentences for t in s], 0, False)
    examples = TokenExamples(sentences, [np.zeros(21, np.int16)] * 200, lexicon, rate=1.0, seed=4)
    rows = np.arange(200)
    plain, first, again, second = (
        part.batch(rows).inputs[..., 0]
        for part in (examples, examples.of_epoch(0), examples.of_epoch(0), examples.of_epoch(1))
    )
    assert (plain != 0).all() and torch.equal(first, again) and not torch.equal(first, second)
    assert 0.4 < (first[:, -1] == 0).float().mean() < 0.6 and (first[:, :-1] == 0).float().mean() < 0.01
    alone = examples.of_epoch(0).batch(np.array([7, 3])).inputs[..., 0]
    assert torch.equal(alone, first[[7, 3]])  # a row's draws do not depend on its batch
    chosen = examples.select(np.array([7, 3])).of_epoch(0).batch(np.array([0, 1])).inputs[..., 0]
    assert torch.equal(chosen, alone)


def test_kinds_of_spelling_and_long_words_by_both_of_their_ends() -> None:
    words = ("in", "UN", "Bonn", "iPhone", "3,000", "B2B", "北京", "--", "I")
    kinds = ("lower", "upper", "title", "mixed", "number", "digits among others", "caseless", "marks", "title")
    assert tuple(kind_of(word) for word in words) == kinds and set(kinds) == set(KINDS)
    lexicon = Lexicon.learn(["abcdef"], letters=4, lower=True)
    assert lexicon.encode(["abcdef", "ab", "ax"])[:, 2:].tolist() == [[2, 3, 6, 7], [2, 3, 0, 0], [2, 1, 0, 0]]
    assert Lexicon.from_data(json.loads(json.dumps(lexicon.to_data()))).encode(["abc"]).tolist() == [[0, 0, 2, 3, 4, 0]]


def test_chinese_by_characters_in_gb18030_needs_no_characters_of_words(tmp_path: Path) -> None:
    lines = [["我 O", "在 O", "北 B-LOC", "京 E-LOC", f"{chr(0x4E00 + i)} O"] for i in range(30)]
    opened = Tag(data=file(tmp_path / "a.bmes", lines, "gb18030"), encoding="gb18030").open()
    assert opened.facts["characters"] == 0 and opened.frontend.kind == "words" and opened.frontend.characters == 0
    assert opened.coding.encode is not None and opened.coding.encode("我 在12").shape == (4, 2)
    with pytest.raises(ValueError, match="--encoding gb18030"):
        Tag(data=str(tmp_path / "a.bmes")).open()


def test_training_sentences_are_cut_between_entities_and_those_that_are_scored_never(tmp_path: Path) -> None:
    tags = [("I-X" if j else "O", "O", "O", "B-X")[j % 4] for j in range(20)]
    lines = [[f"w{i}_{j} {tag}" for j, tag in enumerate(tags)] for i in range(30)]
    opened = Tag(data=file(tmp_path / "a.txt", lines), max_length=8).open()
    assert max(opened.train.lengths) <= 8 and set(opened.test.lengths) == {20}
    assert opened.train.lengths.sum() == 20 * (30 - len(opened.validation) - len(opened.test))
    assert opened.facts["train_cut"] > 0
    long = Tag(data=file(tmp_path / "b.txt", [["a B-X", "b I-X", "c I-X", f"d{i} O"] for i in range(9)]), max_length=2)
    assert sorted(set(long.open().train.lengths.tolist())) == [1, 3]  # no entity is cut, however long


def test_what_cannot_be_learnt_or_tested_is_refused_with_names(tmp_path: Path) -> None:
    train = file(tmp_path / "a.conll", [sentence(i) for i in range(9)])
    test = file(tmp_path / "b.conll", [["x O", "Shell B-ORG"], ["Bob B-PER"], ["y B-MISC"]])
    with pytest.raises(ValueError, match=r"never shows: 'ORG' \(line 1\), 'MISC' \(line 6\), in 2 entities"):
        Tag(data=train, test=test).open()
    with pytest.raises(ValueError, match="has no entity"):
        Tag(data=file(tmp_path / "c.conll", [["a O"], ["b O"]])).open()
    with pytest.raises(ValueError, match="2 different sentences, too few for training, validation and test"):
        Tag(data=file(tmp_path / "d.conll", [["a B-X"], ["b O"], ["a B-X"]])).open()


def test_one_token_sentences_are_learnt_and_answered(tmp_path: Path) -> None:
    lines = [[f"w{i} {'B-X' if i % 2 else 'O'}"] for i in range(40)]
    opened = Tag(data=file(tmp_path / "a.txt", lines)).open()
    assert set(opened.train.lengths) == {1}
    model = Transformer(width=16, layers=1).model(opened.frontend, opened.head, False).build()
    assert opened.score(model, opened.test).values()["loss"] > 0


def test_where_nothing_is_found_scores_are_zero_and_not_an_error(tmp_path: Path) -> None:
    opened = Tag(data=file(tmp_path / "a.conll", [sentence(i) for i in range(60)])).open()
    model = BiLSTM(width=16, layers=1).model(opened.frontend, opened.head, False).build()
    with torch.no_grad():
        model.head.project.bias[0] = 100.0  # type: ignore[index, union-attr]
    values = opened.score(model, opened.test).values()
    assert values["f1"] == values["precision"] == values["recall"] == 0.0


def trained(opened: Opened, steps: int = 30) -> Any:
    model = BiLSTM(width=24, layers=1).model(opened.frontend, opened.head, False).build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    rows = np.arange(len(opened.train))
    for _ in range(steps):
        batch = opened.train.batch(rows)
        loss = model.head.loss(model(batch.inputs, segment=batch.segment)[0], batch.target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def test_answers_are_entities_in_words_also_from_a_restored_interface(tmp_path: Path) -> None:
    task = Tag(data=file(tmp_path / "a.conll", [sentence(i) for i in range(80)]), word_dropout=0.0)
    opened = task.open()
    model = trained(opened)
    kept = json.loads(json.dumps(opened.interface()))
    coding = Interface.restored(resolve(Task, json.loads(task.to_json())), kept).coding
    assert coding.answers is not None and coding.items is not None
    asked = file(tmp_path / "ask.conll", [["Bob", "was", "in", "New", "Lima", "."], ["Eve"]])
    whole, text, one, none = coding.answers(model, [*coding.items(Path(asked))[:1], "Bob was in New Lima.", "Eve", ""])
    assert whole == {
        "tokens": ["Bob", "was", "in", "New", "Lima", "."],
        "entities": [
            {"text": "Bob", "label": "PER", "start": 0, "end": 1},
            {"text": "New Lima", "label": "LOC", "start": 3, "end": 5},
        ],
    }
    assert text["entities"][1] == {
        **{"text": "New Lima", "label": "LOC", "start": 3, "end": 5},
        **{"start_character": 11, "end_character": 19},
    }
    assert one["entities"][0]["text"] == "Eve" and none == {"input": "", "tokens": [], "entities": []}
    assert opened.score(model, opened.test).value("f1") == 1.0
    with pytest.raises(ValueError, match="no encoding of tag"):
        task.coding({"words": []})


def test_scores_of_a_split_are_those_of_seqeval_on_its_answers(tmp_path: Path) -> None:
    from seqeval.metrics import f1_score, precision_score, recall_score

    lines = [sentence(i) for i in range(200)]
    opened = Tag(data=file(tmp_path / "a.conll", lines), crf=False).open()
    model = trained(opened, steps=3)
    batch = opened.test.batch(np.arange(len(opened.test)))
    paths = model.head.decode(model(batch.inputs, segment=batch.segment)[0].detach(), batch.segment)
    pairs = [(row[row >= 0].tolist(), path[row >= 0].tolist()) for row, path in zip(batch.target, paths, strict=True)]
    gold, found = ([[opened.labels[i] for i in pair[side]] for pair in pairs] for side in (0, 1))
    values = opened.score(model, opened.test).values()
    assert values["f1"] == pytest.approx(f1_score(gold, found)) and 0 < values["f1"] < 1
    assert values["precision"] == pytest.approx(precision_score(gold, found))
    assert values["recall"] == pytest.approx(recall_score(gold, found))


def test_a_text_is_cut_alike_for_encoding_and_for_answers(tmp_path: Path) -> None:
    opened = Tag(data=file(tmp_path / "a.conll", [sentence(i) for i in range(30)])).open()
    assert opened.coding.encode is not None
    assert len(opened.coding.encode("Bob's trip, 1996.")) == len(cut("Bob's trip, 1996.").tokens)

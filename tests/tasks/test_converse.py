"""Converse splits questions honestly, scores intents, retrieval and detection, and answers from what a run keeps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from seqloom.core.runtime import data_dir
from seqloom.core.types import IGNORED
from seqloom.data.batches import Examples
from seqloom.tasks.converse import Converse
from seqloom.tasks.task import Interface, Opened
from seqloom.zoo.gru import GRUStack
from seqloom.zoo.seq2seq import Seq2Seq

needs_data = pytest.mark.skipif(data_dir() is None, reason="no real data sets: set SEQLOOM_DATA")
FILLING = ["please", "could", "you", "tell", "me", "what", "happens", "when", "i", "want", "my", "card", "money"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def questions(n: int, intents: int = 4, oos: int = 0, start: int = 0) -> list[tuple[str, str, str]]:
    """Return (question, intent, answer), every `oos`-th out of scope."""
    generator = np.random.default_rng(start)
    found = []
    for i in range(start, start + n):
        words = " ".join(generator.choice(FILLING, size=4))
        kind = "oos" if oos and i % oos == 0 else f"k{i % intents}"
        found.append((f"{words} word{kind} {i}", kind, f"answer of {kind}"))
    return found


def table(path: Path, rows: list[tuple[str, str, str]]) -> str:
    path.write_text("text,intent,answer\n" + "".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def targets(examples: Examples) -> np.ndarray:
    return examples.batch(np.arange(len(examples))).target.numpy()


def model_of(opened: Opened, seed: int = 0) -> Any:
    return GRUStack(width=16, layers=1).model(opened.frontend, opened.head, opened.causal).build(seed)


def test_questions_out_of_scope_are_never_learnt_and_stand_in_both_other_splits(tmp_path: Path) -> None:
    opened = Converse(data=table(tmp_path / "a.csv", questions(200, oos=5)), intent="intent").open()
    assert opened.labels == ("k0", "k1", "k2", "k3") and opened.facts["held_out_intents"] == []
    assert (targets(opened.train) != IGNORED).all()
    outside = [int((targets(part) == IGNORED).sum()) for part in (opened.validation, opened.test)]
    assert outside == [20, 20] == [opened.facts[f"out_of_scope_{name}"] for name in ("validation", "test")]
    assert sum(map(len, (opened.train, opened.validation, opened.test))) == 200


def test_without_such_questions_a_tenth_of_the_intents_is_held_out_and_named(tmp_path: Path) -> None:
    data = table(tmp_path / "a.csv", questions(400, intents=20))
    opened = Converse(data=data, intent="intent").open(seed=1)
    held = opened.facts["held_out_intents"]
    assert (
        "2 of 20 held out" in opened.title
        and len(held) == 2
        and len(opened.labels) == 18
        and not set(held) & set(opened.labels)
    )
    assert opened.facts["out_of_scope_validation"] + opened.facts["out_of_scope_test"] == 40
    assert Converse(data=data, intent="intent").open(seed=2).facts["held_out_intents"] != held
    everything = Converse(data=data, intent="intent", held_out=0).open()
    assert (
        len(everything.labels) == 20
        and "oos_auroc" not in everything.score(model_of(everything), everything.test).parts
    )
    with pytest.raises(ValueError, match=r"held_out = 0.95 takes 19 of 20 intents away"):
        Converse(data=data, intent="intent", held_out=0.95).open()


def test_a_file_of_questions_out_of_scope_is_shared_by_validation_and_test(tmp_path: Path) -> None:
    data, given = table(tmp_path / "a.csv", questions(80)), table(tmp_path / "b.csv", questions(20, start=100))
    lines = tmp_path / "other.txt"
    lines.write_text("".join(f"what is the weather in town {i}?\n" for i in range(10)), encoding="utf-8")
    for test in (None, given):
        opened = Converse(data=data, test=test, intent="intent", oos_data=str(lines)).open()
        facts = opened.facts
        assert (facts["out_of_scope_validation"], facts["out_of_scope_test"]) == (5, 5)
        assert facts["held_out_intents"] == [] and facts["rows_in"] == facts["rows_used"] == 90 + 20 * (
            test is not None
        )
        assert "oos_auroc" in opened.score(model_of(opened), opened.test).parts


def test_a_test_table_with_questions_out_of_scope_keeps_to_them(tmp_path: Path) -> None:
    data, given = (
        table(tmp_path / "a.csv", questions(80, oos=5)),
        table(tmp_path / "b.csv", questions(20, oos=5, start=100)),
    )
    opened = Converse(data=data, test=given, intent="intent").open()
    assert (opened.facts["out_of_scope_validation"], opened.facts["out_of_scope_test"]) == (16, 4)
    assert len(opened.test) == 20


def test_equal_questions_stand_in_one_split_and_those_of_the_test_table_in_it_alone(tmp_path: Path) -> None:
    rows = questions(120)
    again = [(question.upper(), intent, answer) for question, intent, answer in rows[:40]]
    given = table(tmp_path / "b.csv", [*rows[:10], *questions(20, start=500)])
    opened = Converse(data=table(tmp_path / "a.csv", rows + again), intent="intent", test=given, held_out=0).open()
    kept = {
        name: {examples.batch(np.array([row])).inputs.numpy().tobytes() for row in range(len(examples))}
        for name, examples in (("train", opened.train), ("validation", opened.validation), ("test", opened.test))
    }
    assert not kept["train"] & kept["validation"] and not kept["test"] & (kept["train"] | kept["validation"])
    assert opened.facts["test"] == 30 and opened.facts["duplicates_dropped"] == 20
    assert opened.facts["rows_in"] == opened.facts["rows_used"] + opened.facts["rows_rejected"] == 190


def test_scores_are_those_of_scikit_learn_on_the_models_own_vectors(tmp_path: Path) -> None:
    opened = Converse(data=table(tmp_path / "a.csv", questions(300, oos=6)), intent="intent").open()
    model = model_of(opened).eval()

    def read(examples: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        vectors, chances = [], []
        with torch.no_grad():
            for row in range(len(examples)):
                inputs = examples.batch(np.array([row])).inputs
                vectors.append(model.hidden(inputs)[0][0].mean(dim=0).numpy())
                chances.append(model(inputs)[0][0].double().softmax(dim=-1).numpy())
        return np.array(vectors), np.array(chances), targets(examples)

    known, _, intents = read(opened.train)
    mine, chances, wanted = read(opened.test)
    inside = wanted != IGNORED
    near = NearestNeighbors(n_neighbors=10, metric="cosine").fit(known).kneighbors(mine[inside])[1]
    values = opened.score(model, opened.test).values()
    assert values["accuracy"] == pytest.approx(np.mean(chances.argmax(axis=1)[inside] == wanted[inside]))
    for k in (1, 5, 10):
        assert values[f"recall@{k}"] == pytest.approx(
            np.mean((intents[near[:, :k]] == wanted[inside][:, None]).any(axis=1))
        )
    # bins of a quarter of log odds, and chances that an untrained model leaves within a few of them
    assert values["oos_auroc"] == pytest.approx(roc_auc_score(inside, chances.max(axis=1)), abs=0.25)
    assert set(opened.score(model, opened.train).values()) == {"accuracy", "recall@1", "recall@5", "recall@10"}
    assert opened.watching.scorer(model, opened.test).value("accuracy") == values["accuracy"]


def test_answers_alone_are_told_apart_where_each_has_questions_enough(tmp_path: Path) -> None:
    data = table(tmp_path / "a.csv", questions(80))
    opened = Converse(data=data, answer="answer").open()
    assert opened.labels == tuple(f"answer of k{i}" for i in range(4)) and opened.facts["held_out_intents"] == []
    assert opened.coding.answers is not None
    answer = opened.coding.answers(model_of(opened), ["where is my card wordk1"])[0]
    assert answer["answer"] in opened.labels and set(answer["retrieved"][0]) == {"question", "answer", "similarity"}
    each = [(question, "", f"its own answer {i}") for i, (question, _, _) in enumerate(questions(30))]
    with pytest.raises(ValueError, match="30 of 30 answers have fewer than 3 different questions"):
        Converse(data=table(tmp_path / "b.csv", each), answer="answer").open()


def test_a_restored_coding_answers_as_the_opened_one(tmp_path: Path) -> None:
    rows = [(question, intent, answer if i % 2 else "") for i, (question, intent, answer) in enumerate(questions(90))]
    task = Converse(data=table(tmp_path / "a.csv", rows), intent="intent", answer="answer", threshold=0.9, known=40)
    opened = task.open()
    kept = Interface.restored(task, json.loads(json.dumps(opened.interface())))
    model = model_of(opened)
    assert opened.coding.answers is not None and kept.coding.answers is not None and kept.coding.items is not None
    asked = [*kept.coding.items(Path(task.data)), "?"]
    found = kept.coding.answers(model, asked)
    assert found == opened.coding.answers(model, asked) and json.loads(json.dumps(found)) == found and len(found) == 91
    assert found[0]["out_of_scope"] and found[0]["intent"] in opened.labels and len(found[0]["retrieved"]) == 3
    assert opened.facts["known_questions"] == 40
    first = kept.coding.answers(model, [opened.encoding["known"][7][0]])[0]["retrieved"][0]
    assert first["question"] == opened.encoding["known"][7][0] and first["similarity"] == pytest.approx(1.0, abs=1e-5)
    # another model has other vectors
    assert kept.coding.answers(model_of(opened, seed=1), asked[:1]) != found[:1]


def test_questions_to_answer_are_read_from_tables_and_from_lines(tmp_path: Path) -> None:
    task = Converse(data=table(tmp_path / "a.csv", questions(60)), intent="intent", held_out=0)
    coding = task.open().coding
    (tmp_path / "lines.txt").write_text("first?\n\nsecond?\n", encoding="utf-8")
    assert coding.items is not None and coding.answers is not None
    assert list(coding.items(tmp_path / "lines.txt")) == ["first?", (2, "the line is blank"), "second?"]
    assert list(coding.items(Path(task.data))) == [question for question, _, _ in questions(60)]
    (tmp_path / "broken.csv").write_text("text\n" + "fine\n" * 2000 + '" "\n', encoding="utf-8")
    assert list(coding.items(tmp_path / "broken.csv"))[-2:] == ["fine", (2002, "column 'text' is empty")]
    with pytest.raises(ValueError, match="line 2002 cannot be used"):
        task.replace(oos_data=str(tmp_path / "broken.csv")).open()
    with pytest.raises(ValueError, match="question 2 is empty"):
        coding.answers(model_of(task.open()), ["a", "  "])


def test_answers_are_written_and_beside_a_floor_that_retrieves_them(tmp_path: Path) -> None:
    rows = [(f"how much is {word} {i}", "", f"{word} is cheap") for i in range(40) for word in ("bread", "milk", "tea")]
    task = Converse(data=table(tmp_path / "a.csv", rows), answer="answer", objective="generate")
    opened = task.open()
    # a question that shares the word knows the answer, unless it shares the number too
    assert opened.metric == "chrf" and opened.floor > 80 and "shares most" in opened.floor_of
    assert opened.facts["answers"] == 3 and opened.facts["rows_in"] == 120
    kept = Interface.restored(task, json.loads(json.dumps(opened.interface())))
    for architecture in (Seq2Seq(width=16, layers=1), GRUStack(width=16, layers=1)):
        model = architecture.model(opened.frontend, opened.head, opened.causal, opened.source).build(seed=0)
        values = opened.score(model, opened.test, limit=4).values()
        assert {"chrf", "bleu", "perplexity", "bits_per_token"} <= set(values)
        assert opened.coding.answers is not None and kept.coding.answers is not None
        asked = ["how much is tea", "how much is bread 5 or milk"]
        found = kept.coding.answers(model, asked)
        assert found == opened.coding.answers(model, asked) and [set(answer) for answer in found] == [{"answer"}] * 2
        assert found[:1] == opened.coding.answers(model, asked[:1])  # as alone
        with pytest.raises(ValueError, match="question 1 is empty"):
            kept.coding.answers(model, [" "])


def test_equal_questions_with_other_answers_stand_in_one_split(tmp_path: Path) -> None:
    rows = [(f"question {i % 30}", "", f"answer {i}") for i in range(90)]
    opened = Converse(data=table(tmp_path / "a.csv", rows), answer="answer", objective="generate").open()
    asked = [
        {part.batch(np.array([row])).source.numpy().tobytes() for row in range(len(part))}  # type: ignore[union-attr]
        for part in (opened.train, opened.validation, opened.test)
    ]
    assert list(map(len, asked)) == [24, 3, 3] and len(set.union(*asked)) == 30
    few = table(tmp_path / "b.csv", rows[:2])
    with pytest.raises(ValueError, match="has 2 different questions; 3 or more"):
        Converse(data=few, answer="answer", objective="generate").open()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"intent": "intent", "objective": "generate"}, "name --answer, leave --intent out"),
        ({"answer": "answer", "objective": "generate", "held_out": 0.2}, "held_out has no effect with objective=gen"),
        ({"intent": "intent", "beams": 2}, "beams has no effect with objective=intent"),
        ({}, "name the column of the intents"),
        ({"intent": "text"}, "must be different ones"),
        ({"intent": "intent", "answer": "intent"}, "must be different ones"),
    ],
)
def test_columns_are_named_and_different(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Converse(data="a.csv", **settings)


def test_intents_that_cannot_be_learnt_or_tested_are_refused(tmp_path: Path) -> None:
    one = table(tmp_path / "one.csv", [(question, "only", "") for question, _, _ in questions(20)])
    with pytest.raises(ValueError, match="has 1 different intents in column 'intent'"):
        Converse(data=one, intent="intent").open()
    data = table(tmp_path / "a.csv", [*questions(40), ("what is this", "rare", ""), ("What is this", "rare", "")])
    with pytest.raises(ValueError, match="1 of 5 intents have fewer than 3 different questions.*'rare'"):
        Converse(data=data, intent="intent", held_out=0).open()
    strange = table(tmp_path / "b.csv", [("hello", "unheard", ""), ("bye", "oos", "")])
    with pytest.raises(ValueError, match="'unheard'; correct them.*write 'oos'"):
        Converse(data=table(tmp_path / "c.csv", questions(40)), test=strange, intent="intent").open()


def test_an_encoding_of_another_task_is_refused() -> None:
    with pytest.raises(ValueError, match="no encoding of converse"):
        Converse(data="a.csv", intent="intent").coding({"items": []})


@pytest.mark.realdata
@needs_data
def test_banking77_shares_no_question_between_its_splits() -> None:
    folder = data_dir()
    assert folder is not None
    files = {"data": str(folder / "banking77" / "train.csv"), "test": str(folder / "banking77" / "test.csv")}
    opened = Converse(**files, intent="category", held_out=0).open()
    facts = opened.facts
    assert (facts["intents"], facts["test"], facts["rows_in"]) == (77, 3080, 13083)
    assert facts["duplicates_dropped"] == 6 and opened.floor == pytest.approx(1 / 77)

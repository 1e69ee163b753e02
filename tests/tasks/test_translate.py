"""Translation: what is read, left out and refused; models with an encoder and without learn it; how it is judged."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sacrebleu.metrics import BLEU, CHRF

from seqloom.core import runtime
from seqloom.core.types import IGNORED
from seqloom.data.batches import Order
from seqloom.lab.cite import cite
from seqloom.lab.trained import load
from seqloom.model.model import Model
from seqloom.tasks.task import Interface, Opened, judging, respond
from seqloom.tasks.translate import Translate
from seqloom.train.experiment import Budget, Experiment
from seqloom.train.loop import Training
from seqloom.zoo.architecture import Architecture
from seqloom.zoo.gpt import GPT
from seqloom.zoo.gru import GRUStack
from seqloom.zoo.seq2seq import Seq2Seq
from seqloom.zoo.transformer import Transformer

ENGLISH = ("dog", "cat", "man", "woman", "child", "house", "tree", "boat", "runs", "sleeps", "sees", "red")
GERMAN = ("Hund", "Katze", "Mann", "Frau", "Kind", "Haus", "Baum", "Boot", "läuft", "schläft", "sieht", "rote")
CHINESE = ("狗", "猫", "男人", "女人", "孩子", "房子", "树", "船", "跑", "睡觉", "看见", "红色的")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # small matrices: a second thread costs more than it gives


def sentences(n: int, words: tuple[str, ...] = GERMAN, space: str = " ", seed: int = 0) -> tuple[list[str], list[str]]:
    """Return n different sentences and their translations, word by word and turned round."""
    draw = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < n:
        at = [draw.randrange(12) for _ in range(draw.randint(3, 6))]
        found[" ".join(ENGLISH[i] for i in at)] = space.join(words[i] for i in reversed(at))
    return list(found), list(found.values())


def write(folder: Path, name: str, source: list[str], target: list[str], encoding: str = "utf-8") -> dict[str, Any]:
    for side, lines in (("source", source), ("target", target)):
        (folder / f"{name}.{side}").write_bytes("".join(line + "\n" for line in lines).encode(encoding))
    return {"source": str(folder / f"{name}.source"), "target": str(folder / f"{name}.target")}


def task_of(folder: Path, n: int = 300, **settings: Any) -> Translate:
    return Translate(**{"vocabulary": 360, "beams": 2, **write(folder, "pairs", *sentences(n)), **settings})


def fitted(opened: Opened, architecture: Architecture, steps: int) -> Model:
    model = architecture.model(opened.frontend, opened.head, opened.causal, opened.source).build(0)
    order, optimizer = Order(opened.train.lengths, 32, 0), torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(steps):
        batch = opened.train.batch(order.rows(*divmod(step, order.steps_per_epoch)))
        optimizer.zero_grad()
        model.head.loss(respond(model, batch), batch.target).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return task_of(tmp_path_factory.mktemp("data")).open()


@pytest.fixture(scope="module")
def model(opened: Opened) -> Model:
    torch.set_num_threads(1)
    return fitted(opened, Seq2Seq(width=32), 120)


def test_pairs_are_parted_and_accounted_for(opened: Opened) -> None:
    facts = opened.facts
    assert (facts["rows_in"], facts["rows_used"], facts["rows_rejected"]) == (300, 300, 0)
    assert (facts["train"], facts["validation"], facts["test"]) == (270, 15, 15)
    assert opened.metric == "bleu" and opened.watching.metric == "bits_per_token"
    assert "tok:13a" in facts["signatures"]["bleu"] and facts["signatures"]["chrf"].startswith("nrefs:1")
    assert 0 < opened.floor < 40 and "goes best" in opened.floor_of


def test_the_metrics_are_those_of_sacrebleu_over_the_texts_that_are_told(opened: Opened, model: Model) -> None:
    scores = opened.score(model, opened.test)
    batch = opened.test.batch(np.arange(len(opened.test)))
    references = [opened.coding.decode(row[row != IGNORED].tolist()) for row in batch.target]
    sources = [opened.coding.decode(row[row_segment != 0].tolist()) for row, row_segment in
               zip(batch.source, batch.source_segment, strict=True)]  # fmt: skip
    told = [answer["translation"] for answer in opened.coding.answers(model, sources)]
    assert scores.value("bleu") == pytest.approx(BLEU(force=True).corpus_score(told, [references]).score, rel=1e-9)
    assert scores.value("chrf") == pytest.approx(CHRF().corpus_score(told, [references]).score, rel=1e-9)
    assert scores.value("perplexity") == pytest.approx(2 ** scores.value("bits_per_token"))
    assert scores.value("bleu") > 0


@pytest.mark.parametrize("architecture", [Transformer(width=32), GRUStack(width=64)])
def test_with_and_without_an_encoder_a_model_learns_to_translate(opened: Opened, architecture: Architecture) -> None:
    untrained = fitted(opened, architecture, 0)
    trained = fitted(opened, architecture, 120)
    assert (trained.encoder is None) == (architecture.name() == "gru")
    before, after = (opened.score(each, opened.test) for each in (untrained, trained))
    assert after.value("bits_per_token") < 0.5 * before.value("bits_per_token")
    assert after.value("chrf") > before.value("chrf") + 20


@pytest.mark.parametrize("architecture", [Seq2Seq(width=16), GRUStack(width=16)])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_translation_does_not_depend_on_the_texts_beside_it(
    opened: Opened, architecture: Architecture, beams: int
) -> None:
    task = opened.task.replace(beams=beams)
    answers = task.coding(opened.encoding).answers
    model = fitted(opened, architecture, 3)
    texts = ["dog", "the red cat sees a house and a tree", "man runs", "child"]
    assert answers(model, texts) == [answers(model, [text])[0] for text in texts]


def test_answers_keep_the_order_and_an_empty_text_stays_empty(opened: Opened, model: Model) -> None:
    found = opened.coding.answers(model, ["dog runs", "", "  ", "cat sleeps red"])
    assert [list(answer) for answer in found] == [["translation"]] * 4
    assert found[1:3] == [{"translation": ""}] * 2 and found[0]["translation"] and found[3]["translation"]
    assert not model.training or any(module.training for module in model.modules())  # its mode is put back


def test_a_run_translates_without_its_data(opened: Opened, model: Model) -> None:
    kept = json.loads(json.dumps(opened.interface()))
    restored = Interface.restored(opened.task, kept)
    assert restored.source == opened.source and restored.head == opened.head
    texts = ["dog sees cat", "woman runs"]
    assert restored.coding.answers(model, texts) == opened.coding.answers(model, texts)
    with pytest.raises(ValueError, match="no interface of a task|no encoding of pairs"):
        Interface.restored(opened.task, {**kept, "encoding": {"growth": 2}})


def test_a_run_directory_is_trained_scored_and_asked(tmp_path: Path) -> None:
    task = task_of(tmp_path, 60, tokens="bytes")
    experiment = Experiment(task=task, model=Seq2Seq(width=16), budget=Budget(steps=4), evaluate_every=2)
    result = Training(experiment, out=tmp_path / "run").finish()
    assert {"bleu", "chrf", "perplexity", "accuracy"} <= set(result.metrics)
    assert load(tmp_path / "run").scores("validation")["metrics"]["bleu"] >= 0
    for file in tmp_path.glob("pairs.*"):
        file.unlink()
    (answer,) = load(tmp_path / "run").answers(["dog runs"])
    assert isinstance(answer["translation"], str)


def test_an_untrained_model_stops_by_the_length_of_the_source(opened: Opened) -> None:
    model = fitted(opened, Transformer(width=16, heads=2), 0)
    with torch.no_grad():
        model.frontend.embedding.weight[-1] = 0.0  # its end is never likely
    growth = opened.encoding["growth"]
    for text in ("dog", "dog sees red cat"):
        n = len(opened.coding.encode(text))
        with judging(model):
            written = opened.coding.answers(model, [text])[0]["translation"]
        assert len(opened.coding.encode(written)) <= 2 * (n * growth + 10)  # as spelt anew


def test_a_translation_ends_where_the_positions_of_a_model_end(opened: Opened) -> None:
    text = "dog sees red cat"
    n = len(opened.coding.encode(text))
    model = fitted(opened, GPT(width=16, heads=2, max_length=n + 5), 0)
    with torch.no_grad():
        model.frontend.embedding.weight[-1] = 0.0  # its end is never likely
    assert opened.coding.answers(model, [text])[0]["translation"]
    with pytest.raises(ValueError, match="positions learnt"):
        opened.coding.answers(model, [f"{text} {text} {text}"])


def test_duplicates_go_from_training_and_a_given_split_wins(tmp_path: Path) -> None:
    source, target = sentences(120)
    train = write(tmp_path, "train", source + source[:7] + source[100:110], target + target[:7] + target[100:110])
    test = write(tmp_path, "test", source[100:120], target[100:120])
    valid = write(tmp_path, "valid", source[90:103], target[90:103])
    task = Translate(
        **train,
        test_source=test["source"],
        test_target=test["target"],
        validation_source=valid["source"],
        validation_target=valid["target"],
        tokens="bytes",
    )
    facts = task.open().facts
    assert (facts["train"], facts["validation"], facts["test"]) == (90, 10, 20)
    assert (facts["duplicates_dropped"], facts["overlaps_dropped"]) == (7, 40)
    assert facts["validation_overlaps_dropped"] == 3
    assert facts["rows_in"] == facts["rows_used"] == 137 + 20 + 13


@pytest.mark.parametrize("seed", range(3))
def test_all_translations_of_a_source_stand_in_one_split(tmp_path: Path, seed: int) -> None:
    source, target = sentences(60)
    files = write(tmp_path, "twice", source + source, [*target, *(f"{text}!" for text in target)])
    opened = Translate(**files, tokens="bytes", validation=0.2).open(seed)
    splits = (opened.train, opened.validation, opened.test)
    assert [len(split) for split in splits] == [72, 24, 24]
    found = [{tuple(row.tolist()) for row in split.batch(np.arange(len(split))).source} for split in splits]
    texts = [{tuple(step for step in row if step) for row in split} for split in found]  # without padding
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


def test_another_translation_of_a_test_source_is_no_training_pair(tmp_path: Path) -> None:
    source, target = sentences(60)
    train = write(tmp_path, "train", source, target)
    test = write(tmp_path, "test", source[:5], [*target[:2], "x", "y", "z"])
    task = Translate(**train, test_source=test["source"], test_target=test["target"], tokens="bytes")
    facts = task.open().facts
    assert (facts["overlaps_dropped"], facts["overlaps_exact"], facts["test"]) == (5, 2, 5)


def test_long_pairs_are_not_trained_on_and_long_texts_are_tested_on(tmp_path: Path) -> None:
    source, target = sentences(60)
    long = " ".join(["dog"] * 80)
    train = write(tmp_path, "train", [*source, long], [*target, long])
    test = write(tmp_path, "test", ["cat", long + " cat"], ["Katze", long])
    task = Translate(**train, test_source=test["source"], test_target=test["target"], tokens="bytes", max_length=100)
    opened = task.open()
    assert opened.facts["too_long_dropped"] == 1 and opened.train.lengths.max() < 200
    assert opened.facts["test"] == 2 and opened.facts["length_max"] > 300
    with pytest.raises(ValueError, match="no pair of training has at most 3 tokens a side"):
        task.replace(max_length=3).open()


def test_a_table_gives_the_same_as_two_files(tmp_path: Path) -> None:
    source, target = sentences(80)
    table = tmp_path / "pairs.tsv"
    table.write_text("".join(f"{a}\t{b}\n" for a, b in zip(source, target, strict=True)), encoding="utf-8")
    named = tmp_path / "pairs.jsonl"
    lines = [json.dumps({"de": b, "en": a}) + "\n" for a, b in zip(source, target, strict=True)]
    named.write_text("".join(lines), encoding="utf-8")
    tasks = [
        Translate(**write(tmp_path, "pairs", source, target), tokens="bytes"),
        Translate(data=str(table), tokens="bytes"),
        Translate(data=str(named), source="en", target="de", tokens="bytes"),
    ]
    batches = [task.open().train.batch(np.arange(20)) for task in tasks]
    assert all(torch.equal(batch.inputs, batches[0].inputs) for batch in batches)
    assert all(torch.equal(batch.source, batches[0].source) for batch in batches)


def test_a_table_to_test_on_has_the_same_columns(tmp_path: Path) -> None:
    source, target = sentences(50)
    lines = [f"{b},{a}\n" for a, b in zip(source, target, strict=True)]
    (tmp_path / "all.csv").write_text("de,en\n" + "".join(lines), encoding="utf-8")
    (tmp_path / "test.csv").write_text("de,en\n" + "".join(lines[:9]), encoding="utf-8")
    files = {"data": str(tmp_path / "all.csv"), "test": str(tmp_path / "test.csv")}
    opened = Translate(**files, source="en", target="de", tokens="bytes").open()
    assert (opened.facts["test"], opened.facts["overlaps_dropped"], opened.facts["train"]) == (9, 9, 39)
    numbered = Translate(**files, source="1", target="0", header=True, tokens="bytes").open()
    assert torch.equal(numbered.test.batch(np.arange(9)).inputs, opened.test.batch(np.arange(9)).inputs)


def test_chinese_is_read_judged_and_told_as_characters(tmp_path: Path) -> None:
    files = write(tmp_path, "zh", *sentences(300, CHINESE, ""), encoding="gb18030")
    opened = Translate(**files, encoding="gb18030", vocabulary=360, beams=2).open()
    assert "tok:zh" in opened.facts["signatures"]["bleu"]
    batch = opened.train.batch(np.arange(5))
    told = [opened.coding.decode(row[row != IGNORED].tolist()) for row in batch.target]
    assert all(set(text) <= set("".join(CHINESE)) and text for text in told)
    model = fitted(opened, Transformer(width=32), 60)
    assert set(opened.coding.answers(model, ["dog runs"])[0]["translation"]) <= set("".join(CHINESE))
    assert "13a" in task_of(tmp_path, bleu_tokenize="13a").open().facts["signatures"]["bleu"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give source and target, two files line by line, or data"),
        ({"source": "a"}, "source and target go together"),
        ({"source": "a", "target": "b", "test_target": "c"}, "test_source and test_target go together"),
        ({"source": "a", "target": "b", "test": "c"}, "take test_source and test_target"),
        ({"data": "a", "test": "b", "test_source": "c", "test_target": "d"}, "give one of them"),
        ({"data": "a", "beams": 1, "length_penalty": 0.5}, "length_penalty compares beams"),
        ({"data": "a", "bleu_tokenize": "mecab"}, "13a"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Translate(**settings)


def test_too_few_pairs_are_refused_with_their_numbers(tmp_path: Path) -> None:
    files = write(tmp_path, "few", ["a", "a"], ["b", "b"])
    with pytest.raises(ValueError, match="0, 1, 0 pairs are left|0, 1, 1 pairs are left|pairs are left for training"):
        Translate(**files, tokens="bytes").open()


def test_its_sources_are_cited() -> None:
    assert {"papineni2002", "post2018", "popovic2015"} <= set(cite(["translate"]))


@pytest.mark.realdata
def test_real_pairs_are_as_their_page_says() -> None:
    folder = runtime.data_dir()
    if folder is None or not (folder / "en_zh_3am").is_dir():
        pytest.skip("no en_zh_3am under SEQLOOM_DATA")
    files = {
        f"{split}{side}": str(folder / "en_zh_3am" / f"{name}.{end}")
        for split, name in (("", "train"), ("test_", "test"), ("validation_", "val"))
        for side, end in (("source", "en"), ("target", "zh"))
    }
    opened = Translate(**files, tokens="bytes").open()
    assert opened.facts["overlaps_dropped"] == 99 and opened.facts["overlaps_exact"] == 95
    assert (opened.facts["test"], opened.facts["rows_in"]) == (1000, 25931)
    assert "tok:zh" in opened.facts["signatures"]["bleu"]

"""Laws that every task holds; a new file in seqloom/tasks is under them as soon as it has an instance here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tones import words_folder

from seqloom.core.registry import catalog
from seqloom.core.spec import resolve
from seqloom.data.batches import Examples, Order
from seqloom.measure.scores import Scores
from seqloom.model.model import Model
from seqloom.tasks.task import Opened, Task, respond
from seqloom.zoo.gru import GRUStack
from seqloom.zoo.transformer import Transformer

TEXT = "the a cat dog bird sees hears finds old young small tree house road and then under over near by"
WORDS = TEXT.split()


def text_file(folder: Path) -> str:
    draws = np.random.default_rng(0).integers(0, len(WORDS), size=4000)
    path = folder / "text.txt"
    path.write_text(" ".join(WORDS[i] for i in draws), encoding="utf-8")
    return str(path)


def table_file(folder: Path) -> str:
    generator = np.random.default_rng(0)
    lines = ["text,label"]
    for i in range(240):
        words = [WORDS[j] for j in generator.integers(0, len(WORDS), size=generator.integers(3, 9))]
        lines.append(f"{' '.join(words)} {i} {('good', 'bad', 'good')[i % 3]},{('yes', 'no', 'yes')[i % 3]}")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def purchases_file(folder: Path) -> str:
    """Write users whose every item follows from the one before the last: what the last one alone does not tell."""
    generator = np.random.default_rng(0)
    follows = generator.permutation(24)
    lines: list[str] = []
    for user, start in enumerate(generator.permutation(24 * 24)[:400]):
        items = list(divmod(start, 24))
        while len(items) < 8 + user % 6:
            items.append(follows[items[-2]])
        lines.append(f"u{user} " + " ".join(f"i{item}" for item in items))
    path = folder / "purchases.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def series_file(folder: Path) -> str:
    """Write two series, x -> 4 x (1 - x): what follows is certain, and no line through the past tells it."""
    values, lines = np.array([0.3, 0.77]), ["hour,a,b"]
    for hour in range(700):
        values = 4 * values * (1 - values)
        lines.append(f"{1_600_000_000 + 3600 * hour},{values[0]:.9f},{'NA' if hour % 97 == 5 else f'{values[1]:.9f}'}")
    path = folder / "series.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def tagged_file(folder: Path) -> str:
    """Write sentences in BMES whose names are a place behind `in` and a person behind `by`: no word tells alone."""
    generator = np.random.default_rng(0)
    lines: list[str] = []
    for _ in range(300):
        for _ in range(generator.integers(1, 4)):
            lines += [f"{WORDS[i]}\tO" for i in generator.integers(0, len(WORDS) - 1, size=generator.integers(1, 4))]
            label = ("LOC", "PER")[generator.integers(2)]
            name = [f"Name{i}" for i in generator.integers(0, 12, size=generator.integers(1, 4))]
            parts = ["S"] if len(name) == 1 else ["B", *"M" * (len(name) - 2), "E"]
            lines.append("in\tO" if label == "LOC" else "by\tO")
            lines += [f"{word}\t{part}-{label}" for word, part in zip(name, parts, strict=True)]
        lines.append("")
    path = folder / "names.bmes"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def ts_file(folder: Path) -> str:
    """Write series of two channels and several lengths, of which the frequency tells the class, a few values gone."""
    generator = np.random.default_rng(0)
    lines = ["@problemName waves", "@univariate false", "@dimensions 2", "@classLabel true slow fast", "@data"]
    for i in range(240):
        time = np.arange(generator.integers(12, 25)) + generator.uniform(0, 20)
        channels = np.stack([np.sin(time * (0.5, 1.1)[i % 2]), generator.normal(size=len(time))])
        words = [[f"{value:.4f}" for value in channel] for channel in channels]
        words[1][i % 12] = "?"
        lines.append(":".join([*(",".join(channel) for channel in words), ("slow", "fast")[i % 2]]))
    path = folder / "waves.ts"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def pictures_file(folder: Path) -> str:
    """Write pictures of a bar that stands or lies, somewhere, in noise."""
    generator = np.random.default_rng(0)
    x = generator.integers(0, 60, size=(400, 12, 12), dtype=np.uint8)
    for i, (at, start) in enumerate(generator.integers(0, 6, size=(400, 2))):
        bar = (slice(start, start + 6), at) if i % 2 else (at, slice(start, start + 6))
        x[i][bar] = 255
    np.savez(folder / "bars.npz", x=x, y=np.array(["lies", "stands"])[np.arange(400) % 2])
    return str(folder / "bars.npz")


def clips_file(folder: Path) -> str:
    """Write clips of a dot that moves right or left, in noise."""
    generator = np.random.default_rng(0)
    x = generator.integers(0, 60, size=(400, 6, 8, 8), dtype=np.uint8)
    for i, (row, start) in enumerate(generator.integers(0, 8, size=(400, 2))):
        columns = (start + np.arange(6) * (1, -1)[i % 2]) % 8
        x[i, np.arange(6), row, columns] = 255
    np.savez(folder / "dots.npz", x=x, y=np.array(["right", "left"])[np.arange(400) % 2])
    return str(folder / "dots.npz")


NOUNS, COLOURS = ("cat", "dog", "bird", "tree", "house", "road", "fish", "boat"), ("red", "blue", "green", "white")


def passages_file(folder: Path) -> str:
    """Write passages in SQuAD's json that tell the colours of three things, with a question about one of them."""
    generator = np.random.default_rng(0)
    articles: list[dict[str, Any]] = []
    for _ in range(260):
        nouns = generator.permutation(NOUNS)[:3]
        colours = [COLOURS[i] for i in generator.integers(0, len(COLOURS), size=3)]
        context = " ".join(f"The {noun} is {colour}." for noun, colour in zip(nouns, colours, strict=True))
        one = generator.integers(3)
        answer = {"text": colours[one], "answer_start": context.index(f"{nouns[one]} is") + len(f"{nouns[one]} is ")}
        asked = [{"question": f"What colour has the {nouns[one]}?", "id": "0", "answers": [answer]}]
        articles.append({"paragraphs": [{"context": context, "qas": asked}]})
    path = folder / "passages.json"
    path.write_text(json.dumps({"version": "1.1", "data": articles}), encoding="utf-8")
    return str(path)


def candidates_file(folder: Path) -> str:
    """Write questions with four candidates: two share as many words with it, and of these one tells a colour."""
    generator = np.random.default_rng(0)
    lines = ["question,candidate,label"]
    for pair in generator.permutation(len(WORDS) ** 2)[:150]:
        which = " ".join(WORDS[i] for i in divmod(pair, len(WORDS)))
        noun, other = generator.permutation(NOUNS)[:2]
        colour, word = COLOURS[generator.integers(len(COLOURS))], ("here", "new", "mine")[generator.integers(3)]
        for subject, end in ((noun, word), (other, colour), (noun, colour), (other, word)):
            right = int(subject == noun and end == colour)
            lines.append(f"What colour has the {which} {noun}?,the {which} {subject} is {end},{right}")
    path = folder / "candidates.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def pairs_file(folder: Path) -> str:
    """Write sentences beside their translations, word by word and turned round: no dictionary finds the order."""
    generator = np.random.default_rng(0)
    lines: list[str] = []
    for _ in range(500):
        at = generator.integers(0, 12, size=generator.integers(4, 7))
        lines.append(" ".join(WORDS[i] for i in at) + "\t" + " ".join(WORDS[i][::-1].upper() for i in at[::-1]))
    path = folder / "pairs.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def questions_file(folder: Path) -> str:
    """Write questions of three intents, told by a word, and others that are out of scope."""
    generator = np.random.default_rng(0)
    kinds = (("lost", "card_lost"), ("late", "card_late"), ("fee", "fees"), ("weather", "oos"))
    lines = ["text,intent"]
    for i in range(400):
        words = [WORDS[j] for j in generator.integers(0, len(WORDS), size=generator.integers(3, 7))]
        word, intent = kinds[i % 4]
        lines.append(f"{' '.join(words)} {word} {i},{intent}")
    path = folder / "questions.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def words_file(folder: Path) -> str:
    return str(words_folder(folder))


def answers_file(folder: Path) -> str:
    """Write questions whose answers repeat two of their words."""
    generator = np.random.default_rng(0)
    lines = ["text,answer"]
    for i in range(400):
        words = [WORDS[j] for j in generator.integers(0, len(WORDS), size=3)]
        lines.append(f"what of the {words[0]} and the {words[1]} {i},the {words[0]} is fine")
    path = folder / "answers.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


# law name -> (task, settings small enough for a test, file it reads)
SMALL: dict[str, tuple[str, dict[str, Any], Callable[[Path], str] | None]] = {
    "language": ("language", {"length": 32}, text_file),
    "language-masked": ("language", {"length": 32, "objective": "masked"}, text_file),
    "classify": ("classify", {"text": "text", "label": "label"}, table_file),
    "classify-series": ("classify", {}, ts_file),
    "classify-pictures": ("classify", {"view": "rows", "shift": 1}, pictures_file),
    "classify-patches": ("classify", {"view": "patches"}, pictures_file),
    "classify-clips": ("classify", {}, clips_file),
    "classify-sounds": ("classify", {"pattern": "{label}_{speaker}_{n}", "mels": 16}, words_file),
    "transcribe": ("transcribe", {"pattern": "{text}_{speaker}_{n}", "joined": 200, "most": 4, "mels": 16}, words_file),
    "moving": ("moving", {"directions": 4, "frames": 6, "side": 10, "examples": 2000}, None),
    "digits-rows": ("digits", {"view": "rows"}, None),
    "digits-pixels": ("digits", {"view": "pixels"}, None),
    "digits-patches": ("digits", {"view": "patches"}, None),
    "recall": ("recall", {"pairs": 3, "vocabulary": 16, "examples": 3000}, None),
    "recall-copy": ("recall", {"variant": "copy", "pairs": 4, "length": 10, "examples": 1000}, None),
    "recall-adding": ("recall", {"variant": "adding", "length": 8, "examples": 1000}, None),
    "parity": ("parity", {"length": 12, "test_length": 16, "examples": 1000}, None),
    "copying": ("copying", {"length": 6, "test_length": 6, "vocabulary": 20, "examples": 2000}, None),
    "adding": ("adding", {"length": 8, "examples": 1000}, None),
    "forecast": ("forecast", {"time": "hour", "horizon": 1, "length": 4, "normalise": "train"}, series_file),
    "tag": ("tag", {}, tagged_file),
    "tag-linear": ("tag", {"crf": False, "characters": 0}, tagged_file),
    "converse": ("converse", {"intent": "intent"}, questions_file),
    "converse-generate": ("converse", {"objective": "generate", "answer": "answer", "beams": 2}, answers_file),
    "recommend": ("recommend", {"dropout": 0.0}, purchases_file),
    "translate": ("translate", {"vocabulary": 400, "beams": 2, "smoothing": 0.0}, pairs_file),
    "answer-extract": ("answer", {}, passages_file),
    "answer-select": ("answer", {}, candidates_file),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # on matrices this small a second thread costs more than it gives, many times more where cores are shared
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=[name for name, (task, *_) in SMALL.items() if task in catalog("tasks")])
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Task:
    name, settings, make = SMALL[request.param]
    field = "audio" if name == "transcribe" else "data"
    file = {field: make(tmp_path_factory.mktemp(name))} if make else {}
    return resolve(Task, {"name": name, **settings, **file})


@pytest.fixture(scope="module")
def opened(task: Task) -> Opened:
    return task.open(seed=0)


def build(opened: Opened, width: int = 32) -> Model:
    # attention has no order but by position, and adding no position; nor has it a state: a recurrence for these
    recurrent = opened.head.kind == "number" or opened.task.name() == "parity"
    architecture = GRUStack(width=width, layers=1) if recurrent else Transformer(width=width)
    return architecture.model(opened.frontend, opened.head, opened.causal, opened.source).build(seed=0)


def train(model: Model, examples: Examples, steps: int, batch_size: int = 16, rate: float = 5e-3) -> None:
    order = Order(examples.lengths, batch_size, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        batch = examples.batch(order.rows(*divmod(step, order.steps_per_epoch)))
        loss = model.head.loss(respond(model, batch), batch.target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def splits(opened: Opened) -> dict[str, Examples]:
    return {"train": opened.train, "validation": opened.validation, "test": opened.test}


def contents(examples: Examples) -> list[bytes]:
    kept: list[bytes] = []
    for row, length in enumerate(examples.lengths):
        batch = examples.batch(np.array([row]))
        source = b"" if batch.source is None else batch.source.numpy().tobytes()
        kept.append(source + batch.inputs[0, :length].numpy().tobytes())
    return kept


def test_every_task_has_an_instance_here() -> None:
    assert set(catalog("tasks")) <= {name for name, *_ in SMALL.values()}


def test_it_overfits_ten_examples(opened: Opened) -> None:
    ten = opened.train.select(np.arange(10))
    model = build(opened)
    train(model, ten, steps=120, batch_size=10)
    scores = opened.score(model, ten)
    if opened.metric == "accuracy":
        assert scores.value("accuracy") == 1.0
    elif opened.metric == "mse":
        assert scores.value("mse") < 0.01 * opened.floor
    elif opened.better == "higher":
        assert scores.value(opened.metric) > 0.99
    else:
        assert scores.value(opened.metric) < 0.2 * opened.floor


def test_a_short_run_beats_the_floor(opened: Opened) -> None:
    # to find a value by its key takes room and rows, or more steps
    width, batch_size, rate = (64, 32, 4e-3) if opened.task.name() == "recall" else (32, 16, 5e-3)
    model = build(opened, width)
    train(model, opened.train, steps=150, batch_size=batch_size, rate=rate)
    score = opened.score(model, opened.test, limit=300).value(opened.metric)
    assert score > opened.floor + 0.1 if opened.better == "higher" else score < 0.9 * opened.floor


def test_scores_of_parts_merge_to_those_of_the_whole_in_any_order(opened: Opened) -> None:
    model = build(opened)
    whole = opened.test.select(np.arange(min(40, len(opened.test))))
    n = len(whole)
    group = getattr(whole, "group", np.arange(n))  # rows that are scored together, as the candidates of a question
    ends = np.flatnonzero(np.diff(group, append=-1)) + 1
    low, high = (ends[np.searchsorted(ends, row)] for row in (n // 3, n // 2))
    cuts = [np.arange(0, low), np.arange(low, high), np.arange(high, n)]
    scores = opened.score(model, whole)
    first, second, third = (opened.score(model, whole.select(rows)) for rows in cuts)
    forward = first.merge(second).merge(third)
    backward = third.merge(first.merge(second))
    for metric in scores.metrics:
        assert forward.value(metric) == backward.value(metric)  # sums are exact: no order shows
        # batches of other shapes round differently in float32
        assert forward.value(metric) == pytest.approx(scores.value(metric), rel=1e-5, abs=1e-6)
    assert len(forward) == len(backward)
    if opened.task.name() != "forecast":  # scored by stretches of time, which cuts between windows divide
        assert len(forward) == len(scores) == len(ends)


def test_the_same_seed_gives_the_same_batches(task: Task, opened: Opened) -> None:
    again = task.open(seed=0)
    assert (again.floor, again.facts, again.labels) == (opened.floor, opened.facts, opened.labels)
    for name, examples in splits(opened).items():
        order = Order(examples.lengths, 8, seed=1)
        for index in (0, order.steps_per_epoch - 1):
            one, other = (split.batch(order.rows(0, index)) for split in (examples, splits(again)[name]))
            assert len(examples) == len(splits(again)[name])
            assert torch.equal(one.inputs, other.inputs) and torch.equal(one.target, other.target)
            assert torch.equal(one.rows, other.rows)
            assert (one.segment is None) == (other.segment is None)


def test_no_example_stands_in_two_splits(opened: Opened) -> None:
    train_set, validation, test = (set(contents(split)) for split in splits(opened).values())
    assert not train_set & validation and not train_set & test and not validation & test


def test_no_split_is_empty_and_every_score_of_the_head_is_finite(opened: Opened) -> None:
    model = build(opened)
    for examples in splits(opened).values():
        assert len(examples) > 0 and examples.lengths.min() > 0
    values = opened.score(model, opened.test, limit=16).values()
    assert opened.metric in values and np.isfinite(list(values.values())).all()
    assert opened.better in ("higher", "lower") and np.isfinite(opened.floor) and opened.floor_of


def test_facts_are_json(opened: Opened) -> None:
    facts = json.loads(json.dumps(opened.facts, allow_nan=False))
    assert {"train", "validation", "test"} <= set(facts)
    assert [facts[name] for name in splits(opened)] == [len(split) for split in splits(opened).values()]


def test_a_task_goes_to_json_and_back(task: Task) -> None:
    assert type(task).from_json(task.to_json()) == task


def test_scores_of_different_metrics_do_not_merge() -> None:
    one, other = (Scores({name: np.ones((1, 2))}) for name in ("a", "b"))
    with pytest.raises(ValueError, match="cannot merge"):
        one.merge(other)

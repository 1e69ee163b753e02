"""Answers: questions stay in one split, spans lead back to the text, long passages are read whole."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqloom.core.runtime import data_dir
from seqloom.tasks._asked import PASSAGE, SEPARATOR, UNKNOWN, Asked, by_characters, cut_windows, pieces, runs, span_in
from seqloom.tasks.answer import Answer
from seqloom.tasks.task import Interface, Opened
from seqloom.zoo.gru import GRUStack

needs_data = pytest.mark.skipif(data_dir() is None, reason="no real data sets: set SEQLOOM_DATA")


@pytest.fixture(autouse=True)
def _asked_only() -> Iterator[None]:
    with torch.no_grad():
        yield


def squad_file(path: Path, passages: list[tuple[str, list[tuple[str, list[str]]]]]) -> str:
    articles = [
        {
            "paragraphs": [
                {
                    "context": context,
                    "qas": [
                        {
                            "question": question,
                            "answers": [{"text": a, "answer_start": max(context.find(a), 0)} for a in answers],
                            "is_impossible": not answers,
                        }
                        for question, answers in asked
                    ],
                }
            ]
        }
        for context, asked in passages
    ]
    path.write_text(json.dumps({"data": articles}), encoding="utf-8")
    return str(path)


def towns(n: int, start: int = 0) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    return [
        (
            f"Town{i} has {i} bridges. It was built by Master{i}, who was {i % 7} feet tall.",
            [(f"Who built Town{i}?", [f"Master{i}"]), (f"How many bridges has Town{i}?", [str(i)])],
        )
        for i in range(start, start + n)
    ]


def pairs_file(path: Path, n: int = 30, start: int = 0, lines: tuple[str, ...] = ()) -> str:
    rows = [
        f"who built town{i}?,{candidate},{int(candidate.startswith('master'))}"
        for i in range(start, start + n)
        for candidate in (f"master{i} built it", f"town{i} is old", "nobody knows")
    ]
    path.write_text("\n".join(["question,candidate,label", *rows, *lines]) + "\n")
    return str(path)


def model_of(opened: Interface) -> Any:
    return GRUStack(width=16, layers=1).model(opened.frontend, opened.head, opened.causal).build(seed=0).eval()


def parts(opened: Opened) -> list[Any]:
    return [opened.train, opened.validation, opened.test]


def test_words_are_cut_with_their_places_and_chinese_into_characters() -> None:
    text = "Chopin's 2 études,\t在华沙 born."
    found = pieces(text)
    assert found.words == ["chopin", "'", "s", "2", "études", ",", "在", "华", "沙", "born", "."]
    assert [text[a:b].lower() for a, b in zip(found.start, found.end, strict=True)] == found.words
    assert found.shape.tolist() == [1, 4, 0, 3, 0, 4, 5, 5, 5, 0, 4]
    assert by_characters(["这是 NBA 的"]) and not by_characters(["an English text with 一 character"])


def test_a_step_tells_what_the_other_part_has() -> None:
    passages = [pieces(text) for text in ("a cat sat here", "a dog sat here", "a cat runs here")]
    asked = Asked.learn(passages, [], vocabulary=50, reach=1)
    question, passage = pieces("Which cat sat?"), pieces("A cat sat. Cats catch a zebra")
    steps = asked.steps(question, passage)
    assert steps.shape == (4 + 1 + 8, 7) and steps[:, 1].tolist() == [0] * 4 + [1] + [2] * 8
    assert steps[4, 0] == SEPARATOR and steps[-1, 0] == UNKNOWN != steps[6, 0] == steps[1, 0]
    assert steps[5:, 2].tolist() == [0, 2, 2, 0, 0, 0, 0, 0] and steps[:4, 2].tolist() == [0, 2, 2, 0]
    assert steps[5:, 4].tolist() == [0, 2, 2, 0, 0, 0, 0, 0]
    rare = asked.weigh(["a", "cat", "zebra", "."])
    assert 0 == rare[0] < rare[1] < rare[2] and rare[3] == 0
    whole = asked.weigh(["which", "cat", "sat"]).sum()
    share = asked.near(question, passage, reach=1)
    assert share[[0, 1, 2, 3, 4]] == pytest.approx(np.array([rare[1], *[rare[1] * 2] * 2, rare[1], 0]) / whole)
    assert asked.shared(question, passage) == pytest.approx(asked.near(question, passage, None).max())
    again = Asked(**json.loads(json.dumps(asked.to_data())))
    assert np.array_equal(again.steps(question, passage), steps)


def test_runs_are_the_longest_stretch_in_common() -> None:
    assert runs(list("abcxab"), list("bcyabcd")).tolist() == [3, 3, 3, 0, 2, 2]
    assert runs(list("abcdef"), list("abcdef")).tolist() == [4] * 6 and runs(["a"], []).tolist() == [0]


@pytest.mark.parametrize(("longest", "stride"), [(16, 4), (20, 10), (64, 8)])
def test_windows_hold_every_piece_and_lead_back_to_it(longest: int, stride: int) -> None:
    passage = pieces(" ".join(f"word{i}" for i in range(50)))
    question = pieces("one two three")
    asked = Asked.learn([passage, passage], [question], 100, None)
    windows = cut_windows(asked, question, passage, longest, stride)
    whole = asked.steps(question, passage)
    seen = set()
    for window in windows:
        assert len(window.steps) <= longest and window.asked == 3 and window.steps[3, 0] == SEPARATOR
        shown = window.steps[4:]
        assert np.array_equal(shown, whole[4 + window.first : 4 + window.first + len(shown)])
        seen |= set(range(window.first, window.first + len(shown)))
    assert seen == set(range(50))
    span = (int(passage.start[30]), int(passage.end[32]))
    for window in windows:
        first, last = span_in(window, passage, (span, (0, 5), span))
        if first == window.asked:
            assert last == first and not window.first <= 30 <= 32 < window.first + len(window.steps) - 4
        else:
            assert (window.steps[first : last + 1, 0] == whole[4 + 30 : 4 + 33, 0]).all()
    assert span_in(windows[0], passage, ()) == (3, 3)


def test_a_question_longer_than_a_window_leaves_room_for_the_passage() -> None:
    passage, question = pieces("some words stand here"), pieces("why " * 100)
    asked = Asked.learn([passage], [question], 100, None)
    (window,) = cut_windows(asked, question, passage, 16, 4)
    assert window.asked == 4 and (window.steps[:, 1] == PASSAGE).sum() == 4


def test_no_passage_and_no_question_stands_in_two_splits(tmp_path: Path) -> None:
    opened = Answer(data=squad_file(tmp_path / "a.json", towns(40))).open()
    groups = [set((part.group // 2).tolist()) for part in parts(opened)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 40
    opened = Answer(data=pairs_file(tmp_path / "a.csv")).open()
    groups = [set(part.group.tolist()) for part in parts(opened)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 30 and opened.facts["rows_used"] == 90


def test_files_of_their_own_are_the_splits_and_win_over_equal_rows(tmp_path: Path) -> None:
    files = {name: pairs_file(tmp_path / f"{name}.csv", 5, 3 * i) for i, name in enumerate(("data", "dev", "test"))}
    opened = Answer(**files).open()
    assert [len(part) for part in parts(opened)] == [9, 9, 15] and opened.facts["duplicates_dropped"] == 12
    files = {
        name: squad_file(tmp_path / f"{name}.json", towns(9, 6 * i)) for i, name in enumerate(("data", "dev", "test"))
    }
    opened = Answer(**files).open()
    assert [len(part) for part in parts(opened)] == [12, 12, 18] and opened.facts["duplicates_dropped"] == 12


def test_a_test_file_keeps_its_repeated_rows_and_every_row_has_its_account(tmp_path: Path) -> None:
    files = {name: pairs_file(tmp_path / f"{name}.csv", 5, 5 * i) for i, name in enumerate(("data", "dev", "test"))}
    for path in files.values():
        head, *rows = Path(path).read_text().splitlines(keepends=True)
        Path(path).write_text("".join([head, *rows, *rows[:6]]))
    opened = Answer(**files).open()
    assert [len(part) for part in parts(opened)] == [15, 15, 21] and opened.facts["duplicates_dropped"] == 12
    assert opened.facts["rows_in"] == opened.facts["rows_used"] == 63 and opened.facts["rows_rejected"] == 0


def test_questions_asked_twice_in_a_test_file_stay_and_every_one_has_its_account(tmp_path: Path) -> None:
    files = {
        name: squad_file(tmp_path / f"{name}.json", towns(9, 9 * i)) for i, name in enumerate(("data", "dev", "test"))
    }
    for path in files.values():
        data = json.loads(Path(path).read_text())
        Path(path).write_text(json.dumps({"data": [*data["data"], *data["data"]]}))
    facts = Answer(**files).open().facts
    assert [facts[f"{part}_questions"] for part in ("train", "validation", "test")] == [18, 18, 36]
    assert facts["rows_in"] == facts["rows_used"] == 108 and facts["duplicates_dropped"] == 36


def test_words_come_from_training_alone(tmp_path: Path) -> None:
    files = {
        "data": pairs_file(tmp_path / "a.csv", 5),
        "dev": pairs_file(tmp_path / "b.csv", 5, 10),
        "test": pairs_file(tmp_path / "c.csv", 5, 20),
    }
    words = Answer(**files).open().encoding["asked"]["words"]
    assert "town3" in words and not {"town11", "town21"} & set(words)


def test_the_answer_s_text_is_scored_whatever_window_it_stands_in(tmp_path: Path) -> None:
    long = [
        (f"{'filler ' * 60}the key is gold{i}. {'more ' * 60}", [("What is the key?", [f"gold{i}"])]) for i in range(30)
    ]
    opened = Answer(data=squad_file(tmp_path / "a.json", long), max_length=32, stride=8).open()
    assert len(opened.test) > 3 * len(np.unique(opened.test.group))  # type: ignore[attr-defined]

    def score(right: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        model = model_of(opened)
        model.head.forward = lambda x, segment, table=None: right(model.asked)
        model.frontend.register_forward_pre_hook(lambda module, args: setattr(model, "asked", args[0]))
        return opened.score(model, opened.test).values()

    def knowing(inputs: torch.Tensor) -> torch.Tensor:
        # the answer is the one unknown word; where it is not, the separator
        unknown = (inputs[..., 0] == UNKNOWN) & (inputs[..., 1] == PASSAGE)
        nowhere = ~unknown.any(dim=1, keepdim=True) & (inputs[..., 1] == 1)
        return (20.0 * (unknown | nowhere))[..., None].expand(-1, -1, 2)

    assert score(knowing) == {"exact": 1.0, "f1": 1.0}
    assert score(lambda inputs: torch.zeros(*inputs.shape[:2], 2))["exact"] == 0.0


def test_no_answer_is_an_answer_only_where_training_shows_it(tmp_path: Path) -> None:
    some = [(text, [*asked, ("Where is it?", [])]) for text, asked in towns(30)]
    for passages, known in ((some, True), (towns(30), False)):
        opened = Answer(data=squad_file(tmp_path / "a.json", passages)).open()
        assert opened.encoding["none"] == known and opened.facts["unanswerable"] == 30 * known
        model = model_of(opened)
        separator = lambda x, segment, table=None: (
            torch.nn.functional.one_hot(  # noqa: E731
                torch.tensor([4] * len(x)), x.shape[1]
            )[..., None]
            * torch.full((2,), 20.0)
        )
        model.head.forward = separator
        item = {"question": "Where is it?", "context": "Town3 has 3 bridges."}
        (answer,) = opened.coding.answers(model, [item])
        assert (answer["answer"] == "") == known
        assert (
            answer["probability"] > 0.9
            if known
            else answer["answer"] == item["context"][answer["start"] : answer["end"]]
        )


def test_answers_need_no_data_and_lead_back_to_the_text(tmp_path: Path) -> None:
    task = Answer(data=squad_file(tmp_path / "a.json", towns(20)))
    opened = task.open()
    restored = Interface.restored(task, json.loads(json.dumps(opened.interface())))
    context = "  Town3 has\t3\u2028bridges. " + "It is old. " * 400
    lines = tmp_path / "asked.jsonl"
    rows = [{"question": "How many bridges has Town3?", "context": context}, {"question": "Why?", "context": ""}]
    lines.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")
    item, blank, empty = restored.coding.items(lines)  # type: ignore[misc]
    assert blank == (2, "the line is blank") and empty.line == 3 and "no question with a context" in empty.reason
    (answer,) = restored.coding.answers(model_of(restored), [item])  # type: ignore[misc]
    assert answer["answer"] == context[answer["start"] : answer["end"]] != "" and 0 < answer["probability"] <= 1
    assert [item["question"] for item in restored.coding.items(tmp_path / "a.json")][:1] == ["Who built Town0?"]  # type: ignore[misc]


def test_candidates_are_ranked_without_data(tmp_path: Path) -> None:
    task = Answer(data=pairs_file(tmp_path / "a.csv"))
    opened = task.open()
    restored = Interface.restored(task, json.loads(json.dumps(opened.interface())))
    unlabelled = tmp_path / "asked.csv"
    unlabelled.write_text("question,candidate\nwho built town1?,master1 did\nwhy?,so\nwho built town1?,nobody\n")
    items = list(restored.coding.items(unlabelled))  # type: ignore[misc]
    assert [len(item["candidates"]) for item in items] == [2, 1]
    first, second = restored.coding.answers(model_of(restored), items)  # type: ignore[misc]
    chances = [one["probability"] for one in first["ranked"]]
    assert chances == sorted(chances, reverse=True) and first["answer"] == first["ranked"][0]["candidate"]
    assert second["answer"] == "so"
    asked = json.dumps({"question": "why?", "candidates": ["so"]})
    assert restored.coding.answers(model_of(restored), [asked]) == [second]  # type: ignore[misc]


@pytest.mark.parametrize("item", ["text", "[1]", '{"question": "x"}', '{"question": "", "context": "y"}', "{"])
def test_an_item_that_is_no_question_is_refused_and_the_shape_told(tmp_path: Path, item: str) -> None:
    for path in (squad_file(tmp_path / "a.json", towns(20)), pairs_file(tmp_path / "a.csv")):
        opened = Answer(data=path).open()
        with pytest.raises(ValueError, match='give {"question"'):
            opened.coding.answers(model_of(opened), [item])  # type: ignore[misc]


def test_the_convention_of_ranking_decides_the_metric(tmp_path: Path) -> None:
    path = pairs_file(tmp_path / "a.csv", lines=tuple(f"q{i} x?,only right {i},1" for i in range(20)))
    values = {}
    for ranking, metric in (("clean", "map"), ("all", "map_all")):
        opened = Answer(data=path, ranking=ranking).open()
        values[ranking] = opened.score(model_of(opened), opened.test).values()
        assert opened.metric == metric and metric in opened.facts["ranking"]
        assert {"map", "mrr", "map_all", "mrr_all"} == set(values[ranking])
    assert values["clean"] == values["all"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"data": "a.csv", "label": "question"}, "three columns"),
        ({"data": "a.json", "stride": 300}, "stride 300"),
        ({"data": "a.json", "test": "b.csv"}, "one kind"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Answer(**settings)


def test_data_that_teach_or_rank_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,candidate,label\n" + "".join(f"q{i},c,1\n" for i in range(30)))
    with pytest.raises(ValueError, match="both a right and a wrong candidate"):
        Answer(data=str(tmp_path / "a.csv")).open()
    nowhere = [(f"passage {i}", [("who?", ["somebody else"])]) for i in range(30)]
    with pytest.raises(ValueError, match="nothing can be learnt"):
        Answer(data=squad_file(tmp_path / "a.json", nowhere)).open()
    with pytest.raises(ValueError, match="2 passages.*--dev and --test"):
        Answer(data=squad_file(tmp_path / "b.json", towns(2))).open()


@needs_data
@pytest.mark.realdata
def test_trecqa_has_the_questions_that_others_count() -> None:
    folder = (data_dir() or Path()) / "trecqa"
    files = {name: str(folder / f"{part}.csv") for name, part in (("data", "train"), ("dev", "dev"), ("test", "test"))}
    opened = Answer(**files, question="qtext", candidate="atext").open()
    assert [len(np.unique(part.group)) for part in parts(opened)] == [93, 81, 95]
    scores = opened.score(model_of(opened), opened.test)
    assert scores.parts["map"][:, 1].sum() == 68  # the questions of the "clean" TrecQA test set
    assert 0.65 < opened.floor < 0.75 and 0.3 < opened.facts["floor_by_chance"] < 0.45

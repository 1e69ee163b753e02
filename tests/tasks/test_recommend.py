"""Recommend leaves one out honestly, ranks among all items, and recommends from what a run keeps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqloom.core.runtime import data_dir
from seqloom.data.interactions import Histories
from seqloom.tasks.recommend import Recommend, rank_last
from seqloom.tasks.task import Interface, Opened, evaluate
from seqloom.zoo.gru import GRUStack

needs_data = pytest.mark.skipif(data_dir() is None, reason="no real data sets: set SEQLOOM_DATA")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def users_file(path: Path, users: int = 30, items: int = 40, repeats: bool = False) -> str:
    generator = np.random.default_rng(0)
    lines = [
        f"u{user} " + " ".join(f"i{int(item)}" for item in generator.choice(items, size=5 + user % 9, replace=repeats))
        for user in range(users)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def model_of(opened: Opened, seed: int = 0) -> Any:
    return GRUStack(width=16, layers=1).model(opened.frontend, opened.head, opened.causal).build(seed)


def example(examples: Any, row: int, names: list[str]) -> tuple[list[str], list[str]]:
    batch = examples.batch(np.array([row]))
    target = [names[int(token) - 1] for token in batch.target[0] if token > 0]
    return [names[int(token) - 1] for token in batch.inputs[0]], target


def test_the_last_item_is_for_test_the_one_before_for_validation_the_others_for_training(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("7 a b c d e\n8 c a b\n", encoding="utf-8")
    opened = Recommend(data=str(path)).open()
    names = opened.encoding["items"]
    assert [example(opened.train, row, names) for row in range(len(opened.train))] == [(["a", "b"], ["b", "c"])]
    assert example(opened.validation, 0, names) == (["a", "b", "c"], ["d"])
    assert example(opened.validation, 1, names) == (["c"], ["a"])
    assert example(opened.test, 0, names) == (["a", "b", "c", "d"], ["e"])
    assert opened.facts["test_items_never_in_training"] == 1 and opened.facts["users"] == 2


def test_only_the_most_recent_items_are_read_but_all_seen_ones_are_left_out(tmp_path: Path) -> None:
    opened = Recommend(data=users_file(tmp_path / "a.txt"), max_length=3).open()
    assert opened.test.lengths.max() == 3 and opened.train.lengths.max() == 3
    model = model_of(opened)
    rows = np.array([12])
    batch = opened.test.batch(rows)
    assert isinstance(opened.test, Histories)
    before, target = opened.test.before(rows)[0], int(batch.target[0, -1])
    with torch.no_grad():
        scores = model.eval()(batch.inputs)[0][0, -1]
    ranked = [token for token in scores.argsort(descending=True).tolist() if token and token not in before]
    assert len(before) > 3 and 1 / opened.score(model, opened.test.select(rows)).value("mrr") == pytest.approx(
        1 + ranked.index(target)
    )


def test_ranks_of_last_steps_are_those_of_all_steps(tmp_path: Path) -> None:
    opened = Recommend(data=users_file(tmp_path / "a.txt", repeats=True)).open()
    model = model_of(opened)

    def judge(model: Any, batch: Any, output: torch.Tensor) -> dict[str, torch.Tensor]:
        last = (batch.target > 0).long().argmax(dim=1)
        rows = torch.arange(len(last))
        scores = output[rows, last, 1:]
        mine = scores[rows, batch.target[rows, last] - 1]
        rank = (scores >= mine[:, None]).sum(dim=1).double()
        return {"mrr": torch.stack([1 / rank, torch.ones_like(rank)], dim=1)}

    assert opened.facts["seen_items"] == "ranked like any other" and opened.facts["repeats"] > 0
    assert opened.score(model, opened.test).value("mrr") == pytest.approx(
        evaluate(model, opened.test, judge=judge).value("mrr")
    )


def test_equal_scores_count_against_the_target_and_no_score_is_a_miss(tmp_path: Path) -> None:
    opened = Recommend(data=users_file(tmp_path / "a.txt", repeats=True)).open()
    model = model_of(opened)
    for value in (0.0, float("nan")):
        torch.nn.init.constant_(model.frontend.embedding.weight, value)
        assert 1 / rank_last(model, opened.test, leave_out=False).value("mrr") >= len(opened.encoding["items"])


def test_a_target_that_a_user_had_is_a_miss_where_seen_items_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"u{i} a{i} b{i} c{i} a{i}\n" for i in range(8)), encoding="utf-8")
    opened = Recommend(data=str(path), seen="leave_out").open()
    assert opened.score(model_of(opened), opened.test).value("mrr") == 0.0 == opened.floor
    kept = Recommend(data=str(path)).open()
    assert (
        kept.facts["seen_items"] == "ranked like any other" and kept.score(model_of(kept), kept.test).value("mrr") > 0
    )


def test_the_floor_is_the_better_baseline_and_says_which(tmp_path: Path) -> None:
    chains, crowd = tmp_path / "chains.txt", tmp_path / "crowd.txt"
    # one item leads to the next wherever one begins; or all end with one item, from another that led to many
    chain = [" ".join([f"u{i}", *(f"i{(i + j) % 50}" for j in range(7))]) for i in range(200)]
    chains.write_text("\n".join(chain) + "\n", encoding="utf-8")
    crowd.write_text("".join(f"u{i} x gate y{i} gate x\n" for i in range(60)), encoding="utf-8")
    opened = Recommend(data=str(chains)).open()
    assert opened.floor == 1.0 and "followed" in opened.floor_of
    opened = Recommend(data=str(crowd)).open()
    assert opened.floor > 0.9 and "popular" in opened.floor_of


def test_users_of_a_core_and_of_a_length_are_kept_and_the_others_counted(tmp_path: Path) -> None:
    data = users_file(tmp_path / "a.txt", users=60, items=30)
    opened = Recommend(data=data, core=6, min_length=8).open()
    facts = opened.facts
    assert facts["users"] == len(opened.test) < 60 and facts["users_left_out"] == 60 - facts["users"]
    assert facts["rows_in"] == facts["rows_used"] + facts["rows_rejected"] == 60
    assert facts["interactions"] + facts["interactions_left_out"] == sum(5 + user % 9 for user in range(60))
    with pytest.raises(ValueError, match="0 users with 3 or more interactions and 0 items in its 50-core"):
        Recommend(data=data, core=50).open()


def test_too_little_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("u a b c\nv b a c\n", encoding="utf-8")
    with pytest.raises(ValueError, match="users with 4 or more"):
        Recommend(data=str(path)).open()


def test_a_table_is_read_by_its_columns_whatever_the_order_of_its_rows(tmp_path: Path) -> None:
    rows = [f"{user},i{(user + day) % 9},{day}" for user in range(12) for day in range(6)]
    np.random.default_rng(0).shuffle(rows)
    path = tmp_path / "a.csv"
    path.write_text("who,what,when\n" + "\n".join(rows) + "\n", encoding="utf-8")
    task = Recommend(data=str(path), user="who", item="what", time="when")
    opened = task.open()
    names = opened.encoding["items"]
    for row in range(len(opened.test)):
        inputs, (target,) = example(opened.test, row, names)
        days = [int(name[1:]) for name in (*inputs, target)]
        assert all((other - one) % 9 == 1 for one, other in zip(days[:-1], days[1:], strict=True))
    assert opened.coding.items is not None
    assert len(list(opened.coding.items(path))) == 12
    with pytest.raises(ValueError, match="no column 'time'"):
        Recommend(data=str(path), user="who", item="what").open()


def test_a_restored_coding_recommends_what_the_opened_one_does(tmp_path: Path) -> None:
    data = users_file(tmp_path / "a.txt")
    task = Recommend(data=data)
    opened = task.open()
    kept = Interface.restored(task, json.loads(json.dumps(opened.interface())))
    model = model_of(opened)
    assert opened.coding.answers is not None and kept.coding.answers is not None and kept.coding.items is not None
    lines = ["u9 i1 i2 nothing i3", "new i4"]
    found = kept.coding.answers(model, lines)
    assert found == opened.coding.answers(model, lines) and json.loads(json.dumps(found)) == found
    assert found[0]["user"] == "u9" and found[0]["unknown"] == ["nothing"]
    assert len(set(found[0]["recommended"])) == 10 and not {"i1", "i2", "i3"} & set(found[0]["recommended"])
    assert found[0]["probabilities"] == sorted(found[0]["probabilities"], reverse=True)
    assert len(kept.coding.answers(model, kept.coding.items(Path(data)))) == 30


def test_a_user_of_unknown_items_alone_gets_no_recommendation_and_a_line_without_items_an_error(tmp_path: Path) -> None:
    opened = Recommend(data=users_file(tmp_path / "a.txt")).open()
    assert opened.coding.answers is not None
    answer = opened.coding.answers(model_of(opened), ["u strange odd strange"])[0]
    assert answer == {"user": "u", "recommended": [], "probabilities": [], "unknown": ["strange", "odd"]}
    with pytest.raises(ValueError, match="write `user item item ...`"):
        opened.coding.answers(model_of(opened), ["alone"])


def test_an_encoding_of_another_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no encoding of recommend"):
        Recommend(data="a.txt").coding({"tokenizer": {}})


@pytest.mark.realdata
@needs_data
def test_beauty_has_its_published_size_and_a_floor_above_the_popular() -> None:
    folder = data_dir()
    assert folder is not None
    opened = Recommend(data=str(folder / "seqrec" / "Beauty.txt")).open()
    facts = opened.facts
    assert (facts["users"], facts["items"], facts["interactions"]) == (22363, 12101, 198502)
    assert facts["seen_items"] == "left out of the ranking" and opened.floor == pytest.approx(0.0439, abs=1e-4)

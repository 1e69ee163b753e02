"""Interactions are read in time order, every row accounted for, and cut into stretches without a target lost."""

from pathlib import Path

import numpy as np
import pytest

from seqloom.core.types import IGNORED
from seqloom.data.formats import is_table
from seqloom.data.interactions import (
    Interactions,
    asking,
    core,
    lasting,
    learning,
    read_lines,
    read_ratings,
)


def written(folder: Path, text: str, name: str = "data.txt") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def named(data: Interactions) -> dict[str, list[str]]:
    pairs = zip(data.users, data.sequences, strict=True)
    return {user: [data.items[item] for item in sequence] for user, sequence in pairs}


def test_lines_are_users_with_their_items_in_order(tmp_path: Path) -> None:
    data = read_lines(written(tmp_path, "7 a b\u2028a\n\n9  c\tb \n"))
    assert named(data) == {"7": ["a", "b", "a"], "9": ["c", "b"]}
    assert (data.items, data.rows_in, data.rejects, len(data)) == (["a", "b", "c"], 2, [], 5)


def test_a_line_without_an_item_and_a_second_line_of_a_user_are_rejected(tmp_path: Path) -> None:
    path = written(tmp_path, "1 a b\n2\n1 c d\n3 a c\n")
    data = read_lines(path, allow_rejects=True)
    assert named(data) == {"1": ["a", "b"], "3": ["a", "c"]} and data.rows_in == 4
    assert [reject.line for reject in data.rejects] == [2, 3]
    assert "no item" in data.rejects[0].reason and "line 1" in data.rejects[1].reason
    with pytest.raises(ValueError, match="2 of 4 rows cannot be used"):
        read_lines(path)
    with pytest.raises(ValueError, match="holds only blanks"):
        read_lines(written(tmp_path, " \n\n", "blank.txt"))


def test_ratings_without_named_columns_are_refused_with_the_fix(tmp_path: Path) -> None:
    path = written(tmp_path, "".join(f"{i % 3}\t{i}\t5\t{i}\n" for i in range(9)), "u.data")
    assert not is_table(path) and is_table(path, "\t") and is_table("a.csv.gz")
    with pytest.raises(ValueError, match="6 of 9 lines are no .*line 4: .*--user 0 --item 1 --time 3 --delimiter tab"):
        read_lines(path, allow_rejects=True)


def test_rows_of_a_table_are_put_in_the_order_of_time(tmp_path: Path) -> None:
    path = written(tmp_path, "user,item,time\nu,c,30\nv,a,5\nu,a,-1.5\nu,b,7\nv,b,6\n", "a.csv")
    data = read_ratings(path, "user", "item", "time")
    assert named(data) == {"u": ["a", "b", "c"], "v": ["a", "b"]}
    assert named(read_ratings(path, "user", "item", None)) == {"u": ["c", "a", "b"], "v": ["a", "b"]}


def test_rows_at_one_time_keep_the_files_order_and_are_counted(tmp_path: Path) -> None:
    data = read_ratings(written(tmp_path, "1\tz\t5\n1\ta\t5\n1\tm\t4\n", "u.tsv"), 0, 1, 2)
    assert named(data) == {"1": ["m", "z", "a"]} and data.tied == 1


def test_a_row_said_again_counts_once_and_a_later_repeat_twice(tmp_path: Path) -> None:
    data = read_ratings(written(tmp_path, "1\ta\t5\n1\tb\t6\n1\ta\t5\n1\ta\t7\n", "u.tsv"), 0, 1, 2)
    assert named(data) == {"1": ["a", "b", "a"]} and data.duplicates == 1 and data.rows_in == 4
    without = read_ratings(tmp_path / "u.tsv", 0, 1, None)
    assert named(without) == {"1": ["a", "b", "a", "a"]} and without.duplicates == 0


def test_dates_are_times_and_what_is_no_time_is_rejected(tmp_path: Path) -> None:
    rows = "user,item,time\nu,b,2024-05-31T12:00\nu,a,2024-05-31\nu,c,31 May\nu,d,2024-06-01T00:00:00Z\nu,e,5\n"
    path = written(tmp_path, rows, "a.csv")
    data = read_ratings(path, "user", "item", "time", allow_rejects=True)
    assert named(data) == {"u": ["a", "b", "d"]} and [reject.line for reject in data.rejects] == [4, 6]
    with pytest.raises(ValueError, match=r"Line 4: '31 May' in column 'time' is no time"):
        read_ratings(path, "user", "item", "time")


def test_the_core_holds_users_and_items_with_enough_and_no_others(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lines = [f"u{i} " + " ".join(f"i{int(j)}" for j in generator.geometric(0.1, size=2 + i % 9)) for i in range(60)]
    data = read_lines(written(tmp_path, "\n".join(lines)))
    kept = core(data, 5)
    counts = np.bincount(np.concatenate(kept.sequences))
    assert min(map(len, kept.sequences)) >= 5 and counts.min() >= 5 and len(counts) == len(kept.items)
    # nothing is lost that could have stayed: putting any one user back breaks the rule for it
    assert set(kept.users) < set(data.users) and named(core(kept, 5)) == named(kept)
    assert min(map(len, lasting(data, 4).sequences)) == 4
    assert named(core(data, 1)) == named(data)
    assert core(data, 1000).users == [] and core(data, 1000).items == []


def test_training_asks_for_each_item_but_the_first_once(tmp_path: Path) -> None:
    sequences = [np.arange(1, 12), np.array([3, 4]), np.array([5])]
    train = learning(sequences, 4)
    asked: list[int] = []
    for row in range(len(train)):
        batch = train.batch(np.array([row]))
        inputs, target, before = batch.inputs[0].tolist(), batch.target[0].tolist(), train.before(np.array([row]))[0]
        assert len(inputs) <= 4 and target[:-1] == inputs[1:] and before[-len(inputs) :].tolist() == inputs
        asked += target
    assert sorted(asked) == [2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11]


def test_the_last_item_is_asked_after_the_most_recent_ones() -> None:
    examples = asking([np.arange(1, 9), np.array([4, 5])], 3)
    batch = examples.batch(np.array([0, 1]))
    assert batch.inputs.tolist() == [[5, 6, 7], [4, 0, 0]]
    assert batch.target.tolist() == [[IGNORED, IGNORED, 8], [5, IGNORED, IGNORED]]
    assert [part.tolist() for part in examples.before(np.array([1, 0]))] == [[4], [1, 2, 3, 4, 5, 6, 7]]
    chosen = examples.select(np.array([1]))
    assert chosen.batch(np.array([0])).target.tolist() == [[5]] and chosen.before(np.array([0]))[0].tolist() == [4]

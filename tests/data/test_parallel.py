"""Parallel text: lines stay aligned, what is not used is told, no pair stands in two splits."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from seqloom.data.parallel import Parallel, by_source, read_pairs, read_parallel, without


def write(path: Path, lines: list[str], encoding: str = "utf-8", end: str = "\n") -> str:
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
    return str(path)


def of(*pairs: tuple[str, str]) -> Parallel:
    return Parallel("", [a for a, _ in pairs], [b for _, b in pairs], [], len(pairs), ())


def test_line_i_of_one_file_goes_with_line_i_of_the_other(tmp_path: Path) -> None:
    found = read_parallel(write(tmp_path / "a", ["one", " two "]), write(tmp_path / "b", ["eins", "zwei"], end="\r\n"))
    assert found.pairs == [("one", "eins"), ("two", "zwei")]
    assert (found.rows_in, found.rejects, len(found.digests)) == (2, [], 2)


def test_a_last_line_without_an_end_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\ntwo")
    assert len(read_parallel(str(tmp_path / "a"), write(tmp_path / "b", ["eins", "zwei"]))) == 2


def test_separators_inside_a_line_shift_nothing(tmp_path: Path) -> None:
    odd = "a\u2028b\x0bc\x85d\x1ce"
    found = read_parallel(write(tmp_path / "a", [odd, "two"]), write(tmp_path / "b", ["eins", "zwei"]))
    assert found.pairs == [(odd, "eins"), ("two", "zwei")]


def test_unequal_files_are_refused_with_both_numbers(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a", ["x"] * 7), write(tmp_path / "b", ["y"] * 6)
    with pytest.raises(ValueError, match=r"a' has 7 lines and '.*b' has 6"):
        read_parallel(one, other)


def test_empty_sides_are_rejected_with_line_and_reason(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a", ["a", "", " ", "d"]), write(tmp_path / "b", ["A", "B", "", "D"])
    with pytest.raises(ValueError, match=r"2 of 4 pairs cannot be used, more than 0.1%.* line 2: the source is empty"):
        read_parallel(one, other)
    found = read_parallel(one, other, allow_rejects=True)
    assert found.pairs == [("a", "A"), ("d", "D")]
    assert [tuple(reject) for reject in found.rejects] == [
        (2, "the source is empty"),
        (3, "the source and the target are empty"),
    ]
    assert found.rows_in == len(found) + len(found.rejects)


def test_files_whose_lines_never_meet_are_refused_even_with_rejects_allowed(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a", ["a", ""]), write(tmp_path / "b", ["", "B"])
    with pytest.raises(ValueError, match="2 of 2 pairs cannot be used, all of them"):
        read_parallel(one, other, allow_rejects=True)


def test_one_file_for_both_sides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="source and target are both"):
        read_parallel(write(tmp_path / "a", ["x"]), str(tmp_path / "a"))


def test_chinese_in_gb18030_and_gzip_is_read(tmp_path: Path) -> None:
    english, chinese = ["a dog", "two people"], ["一只狗", "两个人 㐀"]
    source = tmp_path / "a.en.gz"
    source.write_bytes(gzip.compress("\n".join(english).encode("gb18030")))
    found = read_parallel(str(source), write(tmp_path / "a.zh", chinese, "gb18030"), encoding="gb18030")
    assert found.target == chinese
    with pytest.raises(ValueError, match="add --encoding gb18030"):
        read_parallel(str(source), str(tmp_path / "a.zh"))


def test_a_table_has_a_column_of_each_language(tmp_path: Path) -> None:
    plain = write(tmp_path / "p.tsv", ["one\teins", "two\tzwei"])
    assert read_pairs(plain, [0, 1]).pairs == [("one", "eins"), ("two", "zwei")]
    named = write(tmp_path / "n.csv", ["de,en", "eins,one", ",two", "drei,three"])
    found = read_pairs(named, ["en", "de"], allow_rejects=True)
    assert found.pairs == [("one", "eins"), ("three", "drei")]
    assert found.rows_in == 3 and found.rejects[0].line == 3


def test_a_pair_stays_in_the_last_split_that_holds_it_and_once_in_training() -> None:
    a, b, c, d = (("a", "A"), ("b", "B"), ("c", "C"), ("d", "D"))
    kept = without(of(a, b, b, c, d), of(c, d), of(a, a, c))
    assert [part.tolist() for part in kept.rows] == [[1], [1], [0, 1, 2]]
    assert (kept.repeated, kept.shared, kept.exact) == (1, [3, 1, 0], [3, 1, 0])


def test_a_source_of_test_stands_in_no_other_split_whatever_its_translation() -> None:
    a, b = ("a", "A"), ("b", "B")
    kept = without(of(a, b, ("a", "other")), of(("a", "third"), ("c", "C")), of(a))
    assert [part.tolist() for part in kept.rows] == [[1], [1], [0]]
    assert (kept.shared, kept.exact) == ([2, 1, 0], [1, 0, 0])


def test_a_source_of_validation_with_another_translation_stays_and_is_counted() -> None:
    kept = without(of(("a", "A"), ("b", "B")), of(("a", "other")), of(("c", "C")))
    assert (kept.rows[0].tolist(), kept.shared, kept.known) == ([0, 1], [0, 0, 0], 1)


def test_rows_of_which_test_is_drawn_have_no_source_of_validation() -> None:
    kept = without(of(("a", "A"), ("b", "B")), of(("a", "other")), None)
    assert (kept.rows[0].tolist(), kept.shared, kept.exact, kept.known) == ([1], [1, 0, 0], [0, 0, 0], 0)


def test_without_a_later_split_only_repetitions_go() -> None:
    kept = without(of(("a", "A"), ("b", "B"), ("a", "A"), ("a", "other")), None, None)
    assert [part.tolist() for part in kept.rows] == [[0, 1, 3], [], []]
    assert (kept.repeated, kept.shared) == (1, [0, 0, 0])


def test_translations_of_one_source_are_one_group() -> None:
    part = of(("a", "A"), ("b", "B"), ("a", "other"), ("c", "C"))
    assert by_source(part, np.array([0, 2, 3])) == [[0, 2], [3]]

"""Series of users are read as they stand: channels, lengths, labels and gaps; a row that breaks a rule is told."""

from pathlib import Path

import numpy as np
import pytest

from seqloom.data.folders import labelled_files
from seqloom.data.ts import interpolated, parse_series, read_folder, read_series, read_ts, rows_of

HEADER = "# about\n@problemName p\n@univariate false\n@dimensions 2\n@classLabel true a b\n@data\n"


def ts(folder: Path, rows: str, header: str = HEADER) -> Path:
    path = folder / "x.ts"
    path.write_text(header + rows, encoding="utf-8")
    return path


def test_channels_lengths_labels_and_missing_values_are_read(tmp_path: Path) -> None:
    found = read_ts(ts(tmp_path, "1,2,3:4,?,6:a\n# a comment\n\n7:8:b\nNaN,1:0,2: a \n"))
    assert [series.shape for series in found.values] == [(3, 2), (1, 2), (2, 2)] and found.channels == 2
    assert found.labels == ["a", "b", "a"] and found.rows_in == 3 and not found.rejects
    assert np.array_equal(found.values[0], [[1, 4], [2, np.nan], [3, 6]], equal_nan=True)
    assert np.array_equal(found.values[2], [[np.nan, 0], [1, 2]], equal_nan=True)
    assert found.values[0].dtype == np.float32


def test_a_univariate_file_needs_no_dimensions_and_may_be_packed(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "x.ts.gz"
    header = "@problemname p\n@univariate true\n@equalLength true\n@seriesLength 3\n@classLabel true 1 2\n@data\n"
    path.write_bytes(gzip.compress((header + "1,2,3:1\n4,5,6:2\n").encode()))
    found = read_ts(path)
    assert [series[:, 0].tolist() for series in found.values] == [[1, 2, 3], [4, 5, 6]] and found.labels == ["1", "2"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,2:3:a", "channels of 1, 2 values"),
        ("1,2:a", "1 channels; must be 2"),
        ("1:2:3:a", "3 channels; must be 2"),
        ("1,x:2,3:a", "'x' is no number"),
        ("1,inf:2,3:a", "'inf' is infinite"),
        ("1,1e39:2,3:a", "'1e39' is infinite in 32 bits"),
        ("?,?:?,?:a", "no value that is not missing"),
        ("1,2:3,4:c", "label 'c' is none of those"),
        ("1", "no label"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused_with_its_line_or_left_out_if_allowed(
    tmp_path: Path, row: str, reason: str
) -> None:
    path = ts(tmp_path, f"1:2:a\n{row}\n3:4:b\n")
    with pytest.raises(ValueError, match=f"1 of 3 rows cannot be used.*Line 8: .*{reason}"):
        read_ts(path)
    found = read_ts(path, allow_rejects=True)
    assert len(found.values) == len(found.labels) == 2 and found.rows_in == 3
    assert found.rejects[0]["line"] == 8 and reason in str(found.rejects[0]["reason"])


def test_a_series_of_another_length_than_the_header_says_is_refused(tmp_path: Path) -> None:
    header = HEADER.replace("@data", "@equalLength true\n@seriesLength 2\n@data")
    with pytest.raises(ValueError, match="1 steps where the header says that all have 2"):
        read_ts(ts(tmp_path, "1,2:3,4:a\n1:2:b\n", header))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("@problemName p\n1,2:a\n", "line 2: '1,2:a.*is @data missing"),
        ("", "no line @data"),
        ("@timeStamps true\n@classLabel true a\n@data\n", "time stamps, which are not read"),
        ("@targetLabel true\n@data\n", "numbers as targets"),
        ("@classLabel true\n@data\n", "names no class"),
        ("@dimensions two\n@classLabel true a\n@data\n", "whole numbers"),
        ("@wrong 1\n@data\n", "is no line of a header"),
    ],
)
def test_a_header_that_cannot_be_read_says_why(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_ts(ts(tmp_path, "", header or "# nothing\n"))


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows behind @data"):
        read_ts(ts(tmp_path, "\n"))


def test_rows_to_predict_come_with_their_lines_whatever_their_label(tmp_path: Path) -> None:
    found = list(rows_of(ts(tmp_path, "1,2:3,4:a\n5:6:unknown\n")))
    assert [line for line, _ in found] == [7, 8] and found[1][1].tolist() == [[5, 6]]
    unlabelled = ts(tmp_path, "1,2:3,4\n", HEADER.replace("true a b", "false"))
    assert next(iter(rows_of(unlabelled)))[1].tolist() == [[1, 3], [2, 4]]
    broken, sound = rows_of(ts(tmp_path, "x:1:a\n1:2:a\n"))
    assert broken == (7, "channel 1: 'x' is no number") and sound[0] == 8


def test_missing_values_lie_on_a_line_between_their_neighbours() -> None:
    nan = np.nan
    values = np.array([[nan, 1, nan], [2, nan, nan], [nan, nan, nan], [4, 4, nan]], dtype=np.float32)
    assert interpolated(values).tolist() == [[2, 1, 0], [2, 2, 0], [3, 3, 0], [4, 4, 0]]
    whole = np.ones((2, 2), dtype=np.float32)
    assert interpolated(whole) is whole


def test_a_line_of_input_is_channels_of_values() -> None:
    assert parse_series("1,2,3:4,5,6").tolist() == [[1, 4], [2, 5], [3, 6]]
    with pytest.raises(ValueError, match="channels of 1, 2 values"):
        parse_series("1,2:3")


def test_a_csv_is_a_series_with_or_without_a_row_of_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('x,"y"\n1,2\n3,NA\n', encoding="utf-8")
    (tmp_path / "b.tsv").write_text("1\t2\n\n3\t4\n", encoding="utf-8")
    assert np.array_equal(read_series(tmp_path / "a.csv"), [[1, 2], [3, np.nan]], equal_nan=True)
    assert read_series(tmp_path / "b.tsv").tolist() == [[1, 2], [3, 4]]
    for text, message in (("1,2\n3\n", "line 2: 1 cells where the first row has 2"), ("x,y\n", "no row of numbers")):
        (tmp_path / "c.csv").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            read_series(tmp_path / "c.csv")


@pytest.mark.parametrize("true", ["true", "True", "TRUE"])
def test_true_in_a_header_is_read_in_any_case(tmp_path: Path, true: str) -> None:
    header = f"@univariate {true}\n@classLabel {true} a b\n@data\n"
    assert read_ts(ts(tmp_path, "1,2:a\n", header)).labels == ["a"]


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        pytest.param("0,1\n1.0,2.5\n3.0,4.0\n", (2, 2), id="floats"),
        pytest.param("0\n1.0\n-2.5\n", (2, 1), id="one_channel"),
        pytest.param("0,1,2\n5,6,7\n", (1, 3), id="three_channels"),
        pytest.param(",0,1\n0,1.5,2.5\n1,3.0,4.0\n", (2, 2), id="index"),
        pytest.param(",a\n0,7\n1,9\n", (2, 1), id="index_and_names"),
        pytest.param(",0\n1,0\n2,0\n", (3, 2), id="no_index"),
        pytest.param("0,1\n1,0\n0,1\n", (3, 2), id="whole_values"),
        pytest.param("0\n1\n2\n", (3, 1), id="whole_values_of_one_channel"),
        pytest.param("0,2\n1.5,2.5\n", (2, 2), id="no_numbering"),
        pytest.param("0,1\n", (1, 2), id="one_row"),
    ],
)
def test_a_row_and_a_column_that_number_the_others_are_no_values(
    tmp_path: Path, text: str, shape: tuple[int, int]
) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert read_series(tmp_path / "a.csv").shape == shape


def test_a_folder_of_series_has_labels_by_subfolder_and_refuses_other_channels(tmp_path: Path) -> None:
    for name, text in (("up/1.csv", "1,1\n2,2\n"), ("up/2.csv", "1,0\n"), ("down/1.csv", "2,2\n1,1\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_folder(labelled_files(tmp_path, "series"), tmp_path)
    assert found.labels == ["down", "up", "up"] and [len(series) for series in found.values] == [2, 2, 1]
    (tmp_path / "up" / "3.csv").write_text("1,2,3\n", encoding="utf-8")
    with pytest.raises(ValueError, match="1 of 4 files cannot be used.*3.csv': 3 channels where most files have 2"):
        read_folder(labelled_files(tmp_path, "series"), tmp_path)
    kept = read_folder(labelled_files(tmp_path, "series"), tmp_path, allow_rejects=True)
    assert kept.labels == found.labels and len(kept.rejects) == 1 and kept.rows_in == 4

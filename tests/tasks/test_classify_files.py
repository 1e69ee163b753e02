"""Classify opens series, pictures and clips: what becomes of each kind, of copies, gaps, sizes and of wrong input."""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seqloom.core.runtime import data_dir
from seqloom.tasks.classify import Classify
from seqloom.tasks.moving import MovingDigits
from seqloom.tasks.task import Interface, Opened
from seqloom.zoo.gru import GRUStack

needs_data = pytest.mark.skipif(data_dir() is None, reason="no real data sets: set SEQLOOM_DATA")
HEADER = "@univariate false\n@dimensions 2\n@classLabel true 10 9\n@data\n"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def ts(path: Path, n: int = 24, gap: bool = False, seed: int = 0) -> str:
    draws = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        channels = [[f"{value:.3f}" for value in draws.normal(3, 2, size=4 + i % 3)] for _ in range(2)]
        channels[0][2] = "?" if gap and i % 2 else channels[0][2]
        rows.append(":".join([",".join(channels[0]), ",".join(channels[1]), ("9", "10")[i % 2]]))
    path.write_text(HEADER + "\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


def pictures(folder: Path, n: int = 12, side: int = 8, seed: int = 0) -> str:
    draws = np.random.default_rng(seed)
    for i in range(n):
        path = folder / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, size=(side, side), dtype=np.uint8)).save(path)
    return str(folder)


def model_of(opened: Interface) -> Any:
    return GRUStack(width=16, layers=1).model(opened.frontend, opened.head, opened.causal).build(seed=0).eval()


def restored(opened: Opened) -> Interface:
    return Interface.restored(opened.task, json.loads(json.dumps(opened.interface())))


def check_answers(opened: Opened, path: Path) -> list[dict[str, Any]]:
    """Return the answers to a file, which are the same when the coding is restored without the data."""
    model = model_of(opened)
    found = []
    for interface in (opened, restored(opened)):
        coding = interface.coding
        assert coding.items is not None and coding.answers is not None
        found.append(coding.answers(model, list(coding.items(path))))
    assert found[0] == found[1]
    for answer in found[0]:
        assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    return found[0]


def test_series_are_standardised_by_the_training_split_and_labelled_by_number(tmp_path: Path) -> None:
    opened = Classify(data=ts(tmp_path / "a.ts"), validation=0.2).open()
    assert opened.labels == ("9", "10") and opened.facts["channels"] == 2
    steps = torch.cat([opened.train.batch(np.array([i])).inputs[0] for i in range(len(opened.train))])
    assert steps.mean(dim=0).abs().max() < 1e-5 and (steps.std(dim=0, unbiased=False) - 1).abs().max() < 1e-4
    alone = Classify(data=ts(tmp_path / "a.ts"), standardise="series").open()
    one = alone.test.batch(np.array([0])).inputs[0]
    assert one.mean(dim=0).abs().max() < 1e-5
    assert 0 <= opened.facts["nearest_neighbour_accuracy"] <= 1


def test_gaps_are_filled_and_marked_where_training_has_some(tmp_path: Path) -> None:
    opened = Classify(data=ts(tmp_path / "a.ts", gap=True)).open()
    inputs = opened.train.batch(np.arange(len(opened.train))).inputs
    assert inputs.shape[2] == 4 == opened.frontend.channels and inputs.isfinite().all()  # type: ignore[union-attr]
    assert opened.facts["missing_values"] == 12 and set(inputs[..., 2].unique().tolist()) == {0.0, 1.0}
    whole = Classify(data=ts(tmp_path / "b.ts"), test=ts(tmp_path / "c.ts", gap=True, seed=1)).open()
    assert whole.test.batch(np.arange(3)).inputs.shape[2] == 2  # no mask: training could not learn what it means
    with pytest.raises(ValueError, match="line 6': the value of step 3, channel 1 is missing"):
        Classify(data=ts(tmp_path / "a.ts", gap=True), missing="refuse").open()


def test_a_channel_that_never_moves_or_has_no_value_stays_finite(tmp_path: Path) -> None:
    rows = [f"1,1,1:?,?,{'?' if i % 3 else 5}:{(9, 10)[i % 2]}" for i in range(4, 16)]
    (tmp_path / "a.ts").write_text(HEADER + "\n".join(f"{row[:4]}{i}{row[5:]}" for i, row in enumerate(rows)) + "\n")
    for how in ("data", "series", "none"):
        opened = Classify(data=str(tmp_path / "a.ts"), standardise=how).open()
        assert opened.train.batch(np.arange(len(opened.train))).inputs.isfinite().all()


def test_copies_never_stand_in_two_splits_and_the_test_data_win(tmp_path: Path) -> None:
    text = Path(ts(tmp_path / "a.ts")).read_text(encoding="utf-8")
    rows = text.removeprefix(HEADER).splitlines()
    (tmp_path / "a.ts").write_text(HEADER + "\n".join(rows + rows[:4]) + "\n", encoding="utf-8")
    (tmp_path / "b.ts").write_text(HEADER + "\n".join(rows[:6]) + "\n", encoding="utf-8")
    opened = Classify(data=str(tmp_path / "a.ts"), test=str(tmp_path / "b.ts")).open()
    assert opened.facts["duplicates_dropped"] == 10 and len(opened.test) == 6
    assert len(opened.train) + len(opened.validation) == 18 and opened.facts["rows_in"] == 34


def test_answers_to_series_name_their_lines_or_files(tmp_path: Path) -> None:
    opened = Classify(data=ts(tmp_path / "a.ts", gap=True)).open()
    found = check_answers(opened, tmp_path / "a.ts")
    assert [answer["line"] for answer in found] == list(range(5, 29))
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "1.csv").write_text("x,y\n1,2\n3,\n", encoding="utf-8")
    assert len(check_answers(opened, tmp_path / "s")) == 1 == len(check_answers(opened, tmp_path / "s" / "1.csv"))
    assert opened.coding.encode is not None and opened.coding.encode("1,2,3:4,5,6").shape == (3, 4)
    with pytest.raises(ValueError, match="1 channels; the model reads 2"):
        opened.coding.encode("1,2,3")


def test_pictures_are_read_by_rows_pixels_or_patches(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p")
    shapes = {}
    for view in ("rows", "pixels", "patches"):
        opened = Classify(data=folder, view=view).open()
        shapes[view] = tuple(opened.train.batch(np.arange(2)).inputs.shape[1:])
        assert shapes[view][1] == opened.frontend.channels  # type: ignore[union-attr]
    assert shapes == {"rows": (8, 8), "pixels": (64, 1), "patches": (16, 4)}
    assert Classify(data=folder, view="patches", patch=4).open().facts["steps"] == 4
    with pytest.raises(ValueError, match="patch = 3 does not divide pictures of 8 x 8"):
        Classify(data=folder, view="patches", patch=3).open()
    with pytest.raises(ValueError, match="patch = 4 has no effect on rows"):
        Classify(data=folder, patch=4).open()
    resized = Classify(data=folder, size=12, color="rgb").open()
    assert resized.facts["shape"] == [12, 12, 3] and resized.facts["resized"] == 12


def test_pictures_to_test_on_take_the_size_of_those_to_learn_from(tmp_path: Path) -> None:
    opened = Classify(data=pictures(tmp_path / "a"), test=pictures(tmp_path / "b", side=10, seed=1)).open()
    assert len(opened.test) == 12 and opened.facts["shape"] == [8, 8, 1] and opened.facts["resized"] == 12


def test_answers_to_pictures_name_their_files_or_numbers(tmp_path: Path) -> None:
    opened = Classify(data=pictures(tmp_path / "p"), view="patches").open()
    assert len(check_answers(opened, tmp_path / "p")) == 12
    larger = Path(pictures(tmp_path / "q", n=1, side=20))
    assert len(check_answers(opened, next(larger.rglob("*.png")))) == 1
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 8, 8), dtype=np.uint8))
    assert [answer["number"] for answer in check_answers(opened, tmp_path / "x.npz")] == [0, 1, 2]
    encode = opened.coding.encode
    assert encode is not None and encode(" ".join(["7"] * 64)).shape == (16, 4)
    with pytest.raises(ValueError, match="name of a file of a picture, or 64 whole numbers"):
        encode("7 7 7")


def test_clips_are_read_frame_by_frame_from_arrays(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    x = draws.integers(0, 256, size=(20, 5, 6, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(20) % 2)
    opened = Classify(data=str(tmp_path / "a.npz")).open()
    assert opened.facts["shape"] == [5, 6, 8, 1] and opened.frontend.kind == "frames" and opened.facts["steps"] == 5
    assert [answer["number"] for answer in check_answers(opened, tmp_path / "a.npz")] == list(range(20))
    assert Classify(data=str(tmp_path / "a.npz"), size=4).open().facts["shape"] == [5, 4, 4, 1]
    with pytest.raises(ValueError, match="clip_frames = 9, and the clips of .* have 5: leave it out"):
        Classify(data=str(tmp_path / "a.npz"), clip_frames=9).open()


def test_clips_are_read_from_files_of_video(tmp_path: Path) -> None:
    import av

    for i in range(8):
        path = tmp_path / "v" / ("dark", "light")[i % 2] / f"{i}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=5)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for t in range(4):
                pixels = np.full((32, 32, 3), (40, 200)[i % 2] + 3 * i + t, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
    opened = Classify(data=str(tmp_path / "v"), clip_frames=3, size=16, color="grey").open()
    assert opened.facts["shape"] == [3, 16, 16, 1] and opened.labels == ("dark", "light")
    assert len(check_answers(opened, tmp_path / "v")) == 8
    assert len(check_answers(opened, next((tmp_path / "v").rglob("*.mp4")))) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"view": "pixels"}, "view = 'pixels' has no effect on series"),
        ({"clip_frames": 8}, "clip_frames = 8 has no effect on series"),
        ({"vocabulary": 300}, "vocabulary = 300 has no effect on series"),
        ({"labels": "l.csv"}, "holds its labels"),
    ],
)
def test_a_setting_without_effect_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classify(data=ts(tmp_path / "a.ts"), **settings).open()


def test_what_cannot_be_learnt_or_tested_is_refused(tmp_path: Path) -> None:
    data = ts(tmp_path / "a.ts")
    with pytest.raises(ValueError, match="holds series and .* pictures"):
        Classify(data=data, test=pictures(tmp_path / "p")).open()
    with pytest.raises(ValueError, match="is one picture; give a folder"):
        Classify(data=str(next((tmp_path / "p").rglob("*.png")))).open()
    pictures(tmp_path / "q", n=3)
    (tmp_path / "q" / "dog" / "1.png").rename(tmp_path / "q" / "cat" / "1.png")
    with pytest.raises(ValueError, match="all 3 examples of .* have the label 'cat'"):
        Classify(data=str(tmp_path / "q")).open()
    with pytest.raises(ValueError, match=r"1 of 2 classes have fewer than 3 examples, one for each split: 'dog'"):
        Classify(data=pictures(tmp_path / "r", n=5)).open()
    with pytest.raises(ValueError, match="every example of .* stands in .* too"):
        Classify(data=str(tmp_path / "p"), test=str(tmp_path / "p")).open()
    pictures(tmp_path / "s", seed=1)
    (tmp_path / "s" / "dog").rename(tmp_path / "s" / "cow")
    with pytest.raises(ValueError, match="labels that .* never shows: 'cow'"):
        Classify(data=str(tmp_path / "p"), test=str(tmp_path / "s")).open()


def test_moving_digits_share_no_digit_between_splits_and_answer_to_arrays(tmp_path: Path) -> None:
    task = MovingDigits(examples=60, frames=4, directions=4)
    opened = task.open(seed=1)
    assert opened.facts["pictures"][0] > 1400 and opened.labels == ("up", "down", "left", "right")
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 4, 12, 12), dtype=np.uint8))
    assert len(check_answers(opened, tmp_path / "x.npz")) == 2
    for settings, message in (
        ({"side": 5}, "side = 5 is too small for pictures of 8 x 8"),
        ({"speed": 6}, "speed = 6 goes half around"),
        ({"test": "a.idx"}, "without data"),
    ):
        with pytest.raises(ValueError, match=message):
            task.replace(**settings).open()


@needs_data
@pytest.mark.realdata
def test_the_archives_files_are_read_whole() -> None:
    folder = data_dir()
    assert folder is not None
    for name, counts, classes in (("JapaneseVowels", (243, 27, 370), 9), ("BasicMotions", (36, 4, 40), 4)):
        data, test = (str(folder / "ucr" / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
        opened = Classify(data=data, test=test).open()
        assert (len(opened.train), len(opened.validation), len(opened.test)) == counts
        assert len(opened.labels) == classes and opened.facts["rows_rejected"] == 0


@needs_data
@pytest.mark.realdata
def test_mnist_is_read_whole_with_the_labels_beside() -> None:
    folder = data_dir()
    assert folder is not None
    data, test = (str(folder / "mnist" / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k"))
    opened = Classify(data=data, test=test, view="patches", patch=7).open()
    assert (len(opened.train), len(opened.validation), len(opened.test)) == (54_000, 6_000, 10_000)
    assert opened.facts["steps"] == 16 and opened.labels == tuple("0123456789")
    assert opened.facts["nearest_mean_accuracy"] == pytest.approx(0.8203, abs=0.003)  # of all 60,000, published widely


def test_a_setting_has_the_default_of_the_kind_of_data_that_it_is_of() -> None:
    whole = {field.name: field.default for field in fields(Classify)}
    for kind in Classify.__mro__:
        if is_dataclass(kind):
            for field in fields(kind):
                default, found = (getattr(value, "default", value) for value in (field.default, whole[field.name]))
                assert default == found, f"{field.name} means another thing in {kind.__name__}"

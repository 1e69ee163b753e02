"""Clips of users have as many frames as asked for, evenly spread, and damaged files are told by name."""

from pathlib import Path

import av
import numpy as np
import pytest

from seqloom.data.folders import labelled_files
from seqloom.data.video import clips_alone, read_clip, read_clips, read_npz


def filmed(path: Path, levels: list[int], codec: str = "libx264") -> Path:
    """Write a video whose frames are of one grey each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for level in levels:
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), level, dtype=np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def levels(pixels: np.ndarray) -> list[int]:
    return [round(float(frame.mean()) / 20) for frame in pixels]


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_frames_are_those_in_the_middle_of_equal_parts(tmp_path: Path, suffix: str) -> None:
    codec = "libx264" if suffix != "avi" else "mpeg4"
    path = filmed(tmp_path / f"a.{suffix}", [20 * i for i in range(12)], codec)
    found = read_clip(path, 4, (8, 16), "grey")
    assert found.shape == (4, 8, 16, 1) and levels(found) == [1, 4, 7, 10]
    assert levels(read_clip(path, 12, (8, 16), "rgb")) == list(range(12))


def test_frames_of_a_short_clip_repeat(tmp_path: Path) -> None:
    path = filmed(tmp_path / "a.mp4", [40, 120])
    assert levels(read_clip(path, 6, (4, 4), "rgb")) == [2, 2, 2, 6, 6, 6]


def test_files_become_clips_of_one_shape_and_damaged_ones_are_told_by_name(tmp_path: Path) -> None:
    filmed(tmp_path / "rise" / "1.mp4", [20, 100, 200])
    filmed(tmp_path / "fall" / "1.mp4", [200, 100, 20])
    found = read_clips(labelled_files(tmp_path, "clips"), tmp_path, 3, (8, 8), "rgb")
    assert found.pixels.shape == (2, 3, 8, 8, 3) and found.labels == ["fall", "rise"]
    (tmp_path / "rise" / "2.mp4").write_bytes((tmp_path / "rise" / "1.mp4").read_bytes()[:300])
    (tmp_path / "rise" / "3.mp4").write_text("no video", encoding="utf-8")
    filed = labelled_files(tmp_path, "clips")
    with pytest.raises(ValueError, match=r"2 of 4 files cannot be used.*2\.mp4': no video that can be read"):
        read_clips(filed, tmp_path, 3, (8, 8), "rgb")
    kept = read_clips(filed, tmp_path, 3, (8, 8), "rgb", allow_rejects=True)
    assert np.array_equal(kept.pixels, found.pixels) and len(kept.rejects) == 2 and kept.rows_in == 4


def test_arrays_are_clips_of_their_own_size_or_the_one_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    x = np.random.default_rng(0).integers(0, 256, size=(3, 2, 6, 6), dtype=np.uint8)
    np.savez(path, x=x, y=np.array(["a", "b", "a"]))
    assert np.array_equal(read_npz(path).pixels[..., 0], x) and read_npz(path).resized == 0
    assert read_npz(path, (3, 4)).pixels.shape == (3, 2, 3, 4, 1) == clips_alone(path, (3, 4)).shape
    np.savez(path, x=x[..., None].repeat(2, axis=-1), y=np.arange(3))
    with pytest.raises(ValueError, match=r"clips are \(n, frames, height, width\), or that and 3"):
        read_npz(path)

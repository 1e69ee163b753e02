"""Pictures of users come in one size and in bytes; what is damaged is told by name."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seqloom.data.folders import labelled_files
from seqloom.data.idx import labels_beside, read_idx, read_idx_pair
from seqloom.data.images import coloured, read_folder, read_npz, read_picture, resized


def idx(path: Path, values: np.ndarray) -> Path:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(struct.pack(">I", side) for side in values.shape)
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)


def saved(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_idx_files_are_read_plain_or_packed_with_the_labels_beside(tmp_path: Path) -> None:
    pixels, labels = noise(5, 4, 3), np.array([3, 1, 4, 1, 5])
    images = idx(tmp_path / "train-images-idx3-ubyte.gz", pixels)
    idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    found = read_idx_pair(images, labels_beside(images))
    assert np.array_equal(found.pixels[..., 0], pixels) and found.labels == ["3", "1", "4", "1", "5"]
    assert np.array_equal(read_idx(idx(tmp_path / "plain.idx", noise(2, 2, 2, 3))), noise(2, 2, 2, 3))
    with pytest.raises(ValueError, match="name the idx file that holds them with --labels"):
        labels_beside(tmp_path / "plain.idx")


def test_idx_files_that_are_cut_off_or_do_not_fit_are_refused(tmp_path: Path) -> None:
    images = idx(tmp_path / "a.idx", noise(5, 4, 3))
    with pytest.raises(ValueError, match="give one label for each"):
        read_idx_pair(images, idx(tmp_path / "b.idx", np.zeros(4)))
    with pytest.raises(ValueError, match="no pictures, which are"):
        read_idx_pair(idx(tmp_path / "c.idx", np.zeros(4)), tmp_path / "b.idx")
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(ValueError, match="5 x 4 x 3 bytes and has 59 behind its header"):
        read_idx(images)
    for content in (b"\0\0\x08\x03\0\0", b"\x89PNG....", b"\0\0\x0d\x01" + bytes(8)):
        images.write_bytes(content)
        with pytest.raises(ValueError, match="no idx file of bytes|says that it holds"):
            read_idx(images)


def test_arrays_are_bytes_or_fractions_with_one_label_each(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=noise(3, 4, 4), y=np.array(["a", "b", "a"]))
    assert np.array_equal(read_npz(path).pixels[..., 0], noise(3, 4, 4)) and read_npz(path).labels == ["a", "b", "a"]
    np.savez(path, x=noise(3, 4, 4, 3) / 255, y=np.arange(3))
    assert np.array_equal(read_npz(path).pixels, noise(3, 4, 4, 3)) and read_npz(path).labels == ["0", "1", "2"]
    for arrays, message in (
        ({"x": noise(3, 4, 4) * 2.0, "y": np.arange(3)}, "pixels are whole numbers from 0 to 255"),
        ({"x": noise(3, 4, 4), "y": np.arange(2)}, "one label for each"),
        ({"x": noise(3, 4, 4), "y": np.array([0.5, 1, 2])}, "labels are whole numbers or words"),
        ({"x": noise(3, 4, 4, 2), "y": np.arange(3)}, "must be 1 or 3"),
        ({"images": noise(3, 4, 4), "y": np.arange(3)}, "no array 'x' among images, y"),
        ({"x": np.array([{}], dtype=object), "y": np.arange(1)}, "cannot read"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=message):
            read_npz(path)
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ValueError, match="cannot read"):
        read_npz(path)


def test_files_of_mixed_sizes_and_colours_become_alike(tmp_path: Path) -> None:
    saved(tmp_path / "a" / "1.png", noise(6, 4))
    saved(tmp_path / "a" / "2.png", noise(6, 4))
    saved(tmp_path / "b" / "1.png", noise(12, 8))
    found = read_folder(labelled_files(tmp_path, "pictures"), tmp_path, None, None)
    assert found.pixels.shape == (3, 6, 4, 1) and (found.sizes, found.resized) == (2, 1)
    assert np.array_equal(found.pixels[0, ..., 0], noise(6, 4))
    saved(tmp_path / "b" / "2.jpg", noise(12, 8, 3))
    found = read_folder(labelled_files(tmp_path, "pictures"), tmp_path, None, None)
    assert found.pixels.shape == (4, 12, 8, 3)  # of equally frequent sizes the larger; one in colour makes all
    assert np.array_equal(found.pixels[0, ..., 0], found.pixels[0, ..., 2])
    grey = read_folder(labelled_files(tmp_path, "pictures"), tmp_path, (5, 5), "grey")
    assert grey.pixels.shape == (4, 5, 5, 1) and grey.resized == 4


def test_damaged_files_are_refused_by_name_or_left_out_if_allowed(tmp_path: Path) -> None:
    for i in range(3):
        saved(tmp_path / "a" / f"{i}.png", noise(4, 4))
    (tmp_path / "a" / "bad.png").write_bytes((tmp_path / "a" / "0.png").read_bytes()[:40])
    (tmp_path / "a" / "text.png").write_text("no picture", encoding="utf-8")
    filed = labelled_files(tmp_path, "pictures")
    with pytest.raises(ValueError, match=r"2 of 5 files cannot be used.*bad\.png': no picture.*text\.png'"):
        read_folder(filed, tmp_path, None, None)
    found = read_folder(filed, tmp_path, None, None, allow_rejects=True)
    assert len(found.pixels) == len(found.labels) == 3 and found.rows_in == 5 and len(found.rejects) == 2


def test_pictures_are_seen_as_the_camera_was_held_and_of_16_bits_the_upper_ones(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(noise(4, 10)).save(path, exif=exif)
    assert read_picture(path, None, "grey").shape == (10, 4, 1)
    deep = tmp_path / "deep.png"
    Image.fromarray(noise(4, 4).astype(np.uint16) << 8).save(deep)
    assert np.array_equal(read_picture(deep, None, "grey")[..., 0], noise(4, 4))


def test_a_file_that_claims_more_pixels_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", noise(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="no picture that can be read: Image size"):
        read_picture(path, None, "grey")


def test_arrays_are_resized_and_coloured_as_files_are() -> None:
    pixels = noise(2, 6, 6, 3)
    assert resized(pixels, (6, 6)) is pixels and resized(pixels, (3, 4)).shape == (2, 3, 4, 3)
    assert resized(pixels[..., :1], (3, 4)).shape == (2, 3, 4, 1)
    grey = Image.fromarray(pixels[0]).convert("L")
    assert np.abs(coloured(pixels, "grey")[0, ..., 0].astype(int) - np.asarray(grey).astype(int)).max() <= 1  # rounding
    assert np.array_equal(coloured(pixels[..., :1], "rgb"), np.repeat(pixels[..., :1], 3, axis=-1))

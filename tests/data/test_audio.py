"""Sound files are read as they are, or refused with a reason: widths, channels, rates, formats, damage."""

import importlib
import struct
from pathlib import Path

import numpy as np
import pytest
from tones import RATE, tone, write_wav

from seqloom.data.audio import Broken, header, resampled, samples, sound_files

SOUND = tone("do", 0.2)


@pytest.fixture
def no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def refuse(name: str, *rest: object) -> object:
        if name in ("soundfile", "soxr"):
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(importlib, "import_module", refuse)


@pytest.mark.parametrize(("width", "step"), [(1, 2**-7), (2, 2**-15), (3, 2**-23), (4, 2**-24)])
def test_plain_wav_of_every_width_needs_no_extra(tmp_path: Path, no_extras: None, width: int, step: float) -> None:
    found, said = samples(write_wav(tmp_path / "a.wav", SOUND, width=width))
    assert said == (RATE, 1, len(SOUND)) and found.dtype == np.float32
    assert np.abs(found - SOUND).max() <= step  # half a step of the file, or float32's where that is coarser


def test_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([SOUND, np.zeros_like(SOUND)], axis=1)
    found, said = samples(write_wav(tmp_path / "a.wav", both))
    assert said.channels == 2
    np.testing.assert_allclose(found, SOUND / 2, atol=2**-15)


def broken(folder: Path) -> dict[str, tuple[bytes, str]]:
    whole = write_wav(folder / "whole.wav", SOUND).read_bytes()
    return {
        "empty": (b"", "is empty"),
        "noise": (np.random.default_rng(0).bytes(4000), "no WAV file"),
        "text": (b"this is text, and no sound at all\n", "no WAV file"),
        "header alone": (whole[:44], "cut short"),
        "half a header": (whole[:30], "no WAV file"),
        "cut short": (whole[:-800], f"tells of {len(SOUND)} samples, and {len(SOUND) - 400} are there"),
        "cut inside a sample": (whole[:-801], "cut short"),
        "without samples": (write_wav(folder / "b.wav", SOUND[:0]).read_bytes(), "no samples"),
        "rate 0": (whole[:24] + struct.pack("<II", 0, 0) + whole[32:], "no samples"),
    }


def test_damaged_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    for content, reason in broken(tmp_path).values():
        path.write_bytes(content)
        with pytest.raises(Broken, match=reason):
            samples(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="not there"):
        header(tmp_path / "x.wav")
    with pytest.raises(ValueError, match="no folder"):
        sound_files(tmp_path / "x")
    with pytest.raises(ValueError, match="no sound file"):
        sound_files(tmp_path)


@pytest.mark.parametrize("ending", [".flac", ".ogg", ".mp3"])
def test_compressed_files_are_read(tmp_path: Path, ending: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / f"a{ending}"
    sound = tone("do", 0.5, rate=16000)
    soundfile.write(path, sound, 16000)
    found, said = samples(path)
    assert said.rate == 16000 and len(found) == said.frames
    loudest = np.fft.rfftfreq(len(found), 1 / 16000)[np.abs(np.fft.rfft(found)).argmax()]
    assert abs(loudest - 260) < 5
    if ending == ".flac":
        np.testing.assert_allclose(found, sound, atol=2**-15)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(Broken, match="cannot be decoded"):
        samples(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    soundfile = pytest.importorskip("soundfile")
    sound = SOUND.copy()
    sound[7] = value
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    with pytest.raises(Broken, match="not finite"):
        samples(tmp_path / "a.wav")


def test_wav_of_floats_is_read_by_the_extra(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.wav", SOUND, RATE, subtype="FLOAT")
    np.testing.assert_allclose(samples(tmp_path / "a.wav")[0], SOUND, atol=1e-7)


def test_an_absent_extra_is_told_with_the_command(tmp_path: Path, no_extras: None) -> None:
    (tmp_path / "a.flac").write_bytes(b"fLaC")
    with pytest.raises(ValueError, match=r"a.flac.*pip install 'seqloom\[audio\]'"):
        header(tmp_path / "a.flac")
    with pytest.raises(ValueError, match=r"4000 samples a second and 8000.*pip install 'seqloom\[audio\]'"):
        resampled(SOUND, 4000, 8000)
    assert resampled(SOUND, 4000, 4000) is SOUND


def test_another_rate_keeps_pitch_and_length() -> None:
    pytest.importorskip("soxr")
    high = tone("mi", 0.5, rate=16000).astype(np.float32)
    low = resampled(high, 16000, 4000)
    assert abs(len(low) - 2000) <= 1
    assert abs(np.fft.rfftfreq(len(low), 1 / 4000)[np.abs(np.fft.rfft(low)).argmax()] - 850) < 3


def test_sound_files_are_found_in_folders_in_order(tmp_path: Path) -> None:
    for name in ("b/2.wav", "a/1.WAV", "c.flac", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in sound_files(tmp_path)] == ["1.WAV", "2.wav", "c.flac"]

"""Sound files to samples: plain PCM WAV by the standard library; other WAV, FLAC, Ogg and MP3 by soundfile (an extra).

Channels are averaged to one, and other rates resampled by soxr (an extra). A file is decoded when it is asked for and
nothing of it is kept, so that a collection of any size takes the memory of its longest recording.
"""

import importlib
import wave
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

_INSTALL = "pip install 'seqloom[audio]'"


class Header(NamedTuple):
    """What a sound file says of itself."""

    rate: int  # samples a second
    channels: int
    frames: int  # samples of each channel

    @property
    def seconds(self) -> float:
        """Return how long it lasts."""
        return self.frames / self.rate


class Broken(ValueError):
    """A sound file that cannot be used; the message is the reason, to stand behind the file's name."""


def header(path: Path) -> Header:
    """Return what a sound file's header says, without decoding it.

    Raises:
        Broken: the file is missing, empty, damaged, or has no samples.
        ValueError: it needs an extra that is not installed.
    """
    _check_there(path)
    found = _wave(path)
    if found is None:
        info = _soundfile(path, "info")
        found = Header(int(info.samplerate), int(info.channels), int(info.frames))
    if found.frames < 1 or found.rate < 1 or found.channels < 1:
        raise Broken("holds no samples")
    return found


def samples(path: Path) -> tuple[np.ndarray, Header]:
    """Return the samples of a sound file, (N,) float32 from -1 to 1, the mean of its channels, and its header.

    Raises:
        Broken: as `header`, or it is cut short, or holds a sample that is not finite.
        ValueError: it needs an extra that is not installed.
    """
    said = header(path)
    if _wave(path) is not None:
        with wave.open(str(path), "rb") as file:
            channels = _pcm(file.readframes(said.frames), file.getsampwidth()).reshape(-1, said.channels)
    else:
        channels = _soundfile(path, "read", dtype="float32", always_2d=True)[0]
    if len(channels) < said.frames:
        raise Broken(f"is cut short: its header tells of {said.frames} samples, and {len(channels)} are there")
    if not np.isfinite(channels).all():
        raise Broken("holds samples that are not finite")
    mono = channels[:, 0] if said.channels == 1 else channels.mean(axis=1)
    return np.ascontiguousarray(mono, dtype=np.float32), said


def resampled(sound: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return samples (N,) at another rate, (N wanted / rate,), by soxr; as they are if the rate is the same.

    Raises:
        ValueError: soxr is not installed.
    """
    if rate == wanted:
        return sound
    soxr = _extra("soxr", f"a recording has {rate} samples a second and {wanted} are wanted; to resample it")
    return soxr.resample(sound, rate, wanted)


def sound_files(folder: Path) -> list[Path]:
    """Return the sound files in a folder and the folders in it, sorted by path.

    Raises:
        ValueError: no such folder, or no sound file in it.
    """
    if not folder.is_dir():
        raise ValueError(f"no folder '{folder}'; give the folder of the recordings")
    found = sorted(path for path in folder.rglob("*") if is_sound(path) and path.is_file())
    if not found:
        raise ValueError(f"'{folder}' holds no sound file; their names end in {', '.join(SUFFIXES)}")
    return found


def is_sound(path: Path) -> bool:
    """Return whether a file's name is that of a sound file."""
    return path.suffix.lower() in SUFFIXES


def holds_sounds(folder: Path) -> bool:
    """Return whether a folder, or a folder in it, holds a sound file."""
    return folder.is_dir() and any(is_sound(path) for path in folder.rglob("*"))


def _check_there(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError:
        raise Broken("is not there") from None
    if not path.is_file():
        raise Broken("is no file")
    if size == 0:
        raise Broken("is empty")


def _wave(path: Path) -> Header | None:
    """Return the header of a plain PCM WAV file; None: it is of another format, and soundfile may read it."""
    if path.suffix.lower() != ".wav":
        return None
    try:
        with wave.open(str(path), "rb") as file:
            return Header(file.getframerate(), file.getnchannels(), file.getnframes())
    except wave.Error as error:
        if "unknown format" in str(error):  # floats, the extensible header, or compressed
            return None
        raise Broken(f"is no WAV file, or a damaged one: {error}") from None
    except (EOFError, OSError, ValueError, ZeroDivisionError) as error:
        raise Broken(f"is no WAV file, or a damaged one: {error or 'it ends inside its header'}") from None


def _pcm(content: bytes, width: int) -> np.ndarray:
    """Return numbers from -1 to 1 of little-endian PCM with `width` bytes a sample; 8 bits have no sign, by the format.

    A sample that is not whole, at the end of a file cut short, is left out.
    """
    content = content[: len(content) - len(content) % width]
    if width == 1:
        return (np.frombuffer(content, dtype=np.uint8).astype(np.float32) - 128) / 128
    if width == 3:
        wide = np.zeros((len(content) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(content, dtype=np.uint8).reshape(-1, 3)
        content, width = wide.tobytes(), 4
    numbers = np.frombuffer(content, dtype=f"<i{width}")
    return numbers.astype(np.float32) / 2 ** (8 * width - 1)


def _soundfile(path: Path, what: str, **options: Any) -> Any:
    soundfile = _extra("soundfile", f"'{path}' is no plain PCM WAV file; to read it")
    try:
        return getattr(soundfile, what)(str(path), **options)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise Broken(f"cannot be decoded: {str(error).rpartition(': ')[2] or error}") from None


def _extra(name: str, why: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(f"{why}, install {name}: {_INSTALL}") from None

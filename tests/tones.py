"""Sounds made for tests: tones for words, written as WAV files."""

import wave
from pathlib import Path

import numpy as np

RATE = 4000
TONES = {"do": 260.0, "re": 480.0, "mi": 850.0, "fa": 1400.0}


def tone(word: str, seconds: float, phase: float = 0.0, rate: int = RATE) -> np.ndarray:
    """Return the samples of a word, from -1 to 1."""
    return 0.5 * np.sin(2 * np.pi * TONES[word] * np.arange(round(seconds * rate)) / rate + phase)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE, width: int = 2) -> Path:
    """Write samples (N,) or (N, channels) from -1 to 1 as plain PCM of `width` bytes."""
    samples = np.atleast_2d(samples.T).T
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.clip(np.round(samples * 2.0 ** (8 * width - 1)), -(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1)
    if width == 1:
        content = (numbers + 128).astype(np.uint8).tobytes()
    else:
        wide = numbers.astype("<i4").view(np.uint8).reshape(-1, 4)
        content = wide[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(content)
    return path


def words_folder(folder: Path, each: int = 12, speakers: tuple[str, ...] = ("ann", "bob", "cy")) -> Path:
    """Write recordings of single words, `{word}_{speaker}_{n}.wav`; a speaker's tones are all a little higher."""
    generator = np.random.default_rng(0)
    for place, speaker in enumerate(speakers):
        for word in TONES:
            for n in range(each):
                sound = tone(word, generator.uniform(0.12, 0.2), generator.uniform(0, 6)) * (1 + place)
                sound += generator.normal(size=len(sound)) * 0.01
                write_wav(folder / f"{word}_{speaker}_{n}.wav", sound / 4)
    return folder


def utterances_folder(folder: Path, count: int = 240) -> tuple[Path, Path]:
    """Write recordings of two or three words each, and the table of their transcripts; return both."""
    generator = np.random.default_rng(0)
    lines = ["file,text,speaker"]
    for number in range(count):
        words = [list(TONES)[i] for i in generator.integers(0, len(TONES), size=generator.integers(2, 4))]
        pieces = [tone(word, generator.uniform(0.12, 0.18), generator.uniform(0, 6)) for word in words]
        sound = np.concatenate([part for piece in pieces for part in (piece, np.zeros(round(0.03 * RATE)))])
        write_wav(folder / f"{number}.wav", sound + generator.normal(size=len(sound)) * 0.01)
        lines.append(f"{number}.wav,{' '.join(words).capitalize()},s{number % 5}")
    table = folder / "f.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder, table

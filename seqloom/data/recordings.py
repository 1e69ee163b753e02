"""Recordings of users: which sound files there are, what is said in each, and their features, every file accounted for.

What is said stands in the files' names, in the names of their folders, or in a table beside them.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqloom.data.audio import Broken, header, resampled, samples
from seqloom.data.files import REJECTED_SHARE
from seqloom.data.mel import LogMel
from seqloom.data.splits import keys

_LOUDNESS = 0.1  # root mean square of what is joined to an utterance
_SHOWN = 5  # rejects that a message tells of


class Recording(NamedTuple):
    """What is asked for: a sound file, or several one after another, and what is known of it."""

    files: tuple[Path, ...]
    said: str  # the label or the transcript
    parts: Mapping[str, str]  # what else its name or its row tells, such as the speaker
    pauses: tuple[float, ...] = ()  # seconds of silence between the files


class Heard(NamedTuple):
    """Recordings as features, and what became of the others."""

    rows: list[int]  # of the recordings asked for that are used
    features: list[np.ndarray]  # (T, M) float16 of each of them
    keys: np.ndarray  # (n,) numbers, equal where the samples are
    rejects: list[dict[str, Any]]  # {"file", "line", "reason"}
    facts: dict[str, Any]  # JSON values: what was mixed and resampled


def by_name(files: Iterable[Path], pattern: str, what: str) -> tuple[list[Recording], list[dict[str, Any]]]:
    """Return the recordings whose names tell what is said, and the files whose names do not read so.

    Args:
        files: of the recordings.
        pattern: of a name without its ending, such as "{label}_{speaker}_{n}"; each part is as short as it can be.
        what: the part that tells what is said.

    Raises:
        ValueError: the pattern lacks that part, or names one twice.
    """
    reads = _reader(pattern, what)
    found: list[Recording] = []
    rejects: list[dict[str, Any]] = []
    for file in files:
        match = reads.fullmatch(file.stem)
        if match is None:
            rejects.append({"file": str(file), "line": 0, "reason": f"its name does not read as '{pattern}'"})
            continue
        parts = match.groupdict()
        found.append(Recording((file,), parts.pop(what), parts))
    return found, rejects


def _reader(pattern: str, what: str) -> re.Pattern[str]:
    pieces = re.split(r"\{(\w+)\}", pattern)
    names = pieces[1::2]
    if what not in names or len(set(names)) < len(names) or any(set(text) & set("{}") for text in pieces[::2]):
        raise ValueError(
            f"pattern '{pattern}' must name {{{what}}} and each part once, as in '{{{what}}}_{{speaker}}_{{n}}'"
        )
    return re.compile("".join(f"(?P<{p}>.+?)" if i % 2 else re.escape(p) for i, p in enumerate(pieces)))


def condition(text: str, known: Iterable[str]) -> Callable[[Recording], bool]:
    """Return whether a recording is one of those that a text names, such as "speaker=ann,bob" or "n=0-4".

    Raises:
        ValueError: the text is not so, or names a part that no recording has.
    """
    name, equals, values = (part.strip() for part in text.partition("="))
    known = sorted(set(known))
    if not equals or not values or name not in known:
        parts = ", ".join(known) or "none: give a pattern, or a table with such a column"
        raise ValueError(f"'{text}' must be a part and its values, as in speaker=ann,bob or n=0-4; parts: {parts}")
    wanted: set[str] = set()
    for value in map(str.strip, values.split(",")):
        ends = re.fullmatch(r"(\d+)-(\d+)", value)
        wanted |= {str(n) for n in range(int(ends[1]), int(ends[2]) + 1)} if ends else {value}
    return lambda recording: recording.parts.get(name) in wanted


def usual_rate(recordings: Iterable[Recording]) -> int:
    """Return the samples a second that most of the files have, the higher of two; without decoding them.

    Raises:
        ValueError: no file can be read.
    """
    counts: Counter[int] = Counter()
    reason = "there is none"
    for file in {file for recording in recordings for file in recording.files}:
        try:
            counts[header(file).rate] += 1
        except Broken as error:
            reason = f"'{file}' {error}"
    if not counts:
        raise ValueError(f"no recording can be read: {reason}")
    return max(counts, key=lambda rate: (counts[rate], rate))


def features_of(recording: Recording, mel: LogMel, max_seconds: float) -> tuple[np.ndarray, bytes, dict[str, int]]:
    """Return (log energies (T, M) float16, the samples' bytes, channels or rates that were changed: files of each).

    Raises:
        Broken: a file cannot be used, or all together last too long.
        ValueError: an extra is needed that is not installed.
    """
    heads = [header(file) for file in recording.files]
    seconds = sum(head.seconds for head in heads) + sum(recording.pauses)
    if seconds > max_seconds:
        raise Broken(f"lasts {seconds:.1f} s, and {max_seconds:g} s are read at most: cut it, or raise --max-seconds")
    pieces: list[np.ndarray] = []
    changed: Counter[str] = Counter()
    for file, head, pause in zip(recording.files, heads, (*recording.pauses, 0.0), strict=True):
        sound = resampled(samples(file)[0], head.rate, mel.rate)
        if len(heads) > 1:
            sound = _as_loud(sound)
        pieces += [sound, np.zeros(round(pause * mel.rate), dtype=np.float32)]
        if head.channels > 1:
            changed["mixed_to_mono"] += 1
        if head.rate != mel.rate:
            changed[f"resampled_from_{head.rate}_hz"] += 1
    whole = np.concatenate(pieces)
    if not len(whole):
        raise Broken("holds no samples")
    return mel(whole).astype(np.float16), whole.tobytes(), changed


def _as_loud(sound: np.ndarray) -> np.ndarray:
    """Return samples at the loudness of all words of an utterance: sessions of one speaker differ by up to 25 dB."""
    power = float(np.mean(sound.astype(np.float64) ** 2))
    return sound * np.float32(_LOUDNESS / np.sqrt(power)) if power > 0 else sound


def hear(recordings: Sequence[Recording], mel: LogMel, max_seconds: float) -> Heard:
    """Return the features of recordings, one after another: no more samples are held than the longest has."""
    rows: list[int] = []
    features: list[np.ndarray] = []
    found: list[np.ndarray] = []
    rejects: list[dict[str, Any]] = []
    changed: Counter[str] = Counter()
    for row, recording in enumerate(recordings):
        try:
            logs, content, changes = features_of(recording, mel, max_seconds)
        except Broken as error:
            rejects.append({"file": str(recording.files[0]), "line": 0, "reason": f"the file {error}"})
            continue
        rows.append(row)
        features.append(logs)
        found.append(keys([content]))
        changed.update(changes)
    return Heard(rows, features, np.concatenate([np.zeros(0, "<u8"), *found]), rejects, {"rate": mel.rate, **changed})


def check_rejects(source: str, rejects: Sequence[Mapping[str, Any]], rows_in: int, allowed: bool) -> None:
    """Stop if no recording can be used, or if more cannot than REJECTED_SHARE of them and that is not allowed.

    Raises:
        ValueError: with the first of them and their reasons.
    """
    few = len(rejects) <= REJECTED_SHARE * rows_in or allowed
    if few and len(rejects) < rows_in:
        return
    shown = "; ".join(f"'{Path(str(reject['file'])).name}': {reject['reason']}" for reject in rejects[:_SHOWN])
    more = f"; and {len(rejects) - _SHOWN} more" if len(rejects) > _SHOWN else ""
    all_of_them = len(rejects) == rows_in
    rule = "all of them" if all_of_them else f"more than {REJECTED_SHARE:.1%}; correct them, or add --allow-rejects"
    raise ValueError(f"'{source}': {len(rejects)} of {rows_in} recordings cannot be used, {rule}. {shown}{more}")

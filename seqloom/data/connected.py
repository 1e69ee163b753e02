"""Connected words: utterances joined from recordings of single words by one speaker, with pauses between them.

The words of an utterance are made as loud as each other when they are read, since one speaker's recordings may be of
several sessions.
"""

from collections import defaultdict
from collections.abc import Sequence

from seqloom.data.batches import stream
from seqloom.data.recordings import Recording

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPEAKER = "speaker"  # part of a recording that tells who speaks
PAUSES_S = (0.0, 0.2)  # between two words, at least and at most


def joined(
    recordings: Sequence[Recording], count: int, words: tuple[int, int], seed: int, speaker: str = SPEAKER
) -> list[Recording]:
    """Return utterances, each of recordings by one speaker drawn with putting back, all speakers in turn.

    Args:
        recordings: of one word each.
        count: utterances wanted.
        words: of an utterance, at least and at most.
        seed: the same one gives the same utterances.
        speaker: the part of the recordings that tells who speaks; without it all are of one.

    Complexity: work O(count words); nothing is read.
    """
    by_speaker: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        by_speaker[recording.parts.get(speaker, "")].append(recording)
    speakers = sorted(by_speaker)
    least, most = words
    found: list[Recording] = []
    for number in range(count):
        spoken_by = speakers[number % len(speakers)]
        known = by_speaker[spoken_by]
        # raw words alone, so that no change of NumPy's samplers can change an utterance; part 0 splits rows
        draws = [int(word) for word in stream(seed, number, part=1).random_raw(1 + 2 * most)]
        length = least + draws[0] % (most - least + 1)
        chosen = [known[draw % len(known)] for draw in draws[1 : 1 + length]]
        shares = [draw / 2**64 for draw in draws[1 + most : most + length]]
        pauses = tuple(PAUSES_S[0] + share * (PAUSES_S[1] - PAUSES_S[0]) for share in shares)
        files = tuple(file for recording in chosen for file in recording.files)
        said = " ".join(recording.said for recording in chosen)
        found.append(Recording(files, said, {speaker: spoken_by}, pauses))
    return found

"""Recordings: what names tell, which are chosen, how every file is accounted for, and utterances joined of words."""

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tones import RATE, tone, words_folder, write_wav

from seqloom.data.audio import sound_files
from seqloom.data.connected import PAUSES_S, joined
from seqloom.data.mel import LogMel
from seqloom.data.recordings import Recording, by_name, check_rejects, condition, features_of, hear, usual_rate

MEL = LogMel(RATE, 20)


def asked(*files: Path) -> list[Recording]:
    return [Recording((file,), "x", {}) for file in files]


def test_names_tell_what_a_pattern_says(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("do_ann_3.wav", "re_bob_11.flac", "no-pattern.wav")]
    found, rejects = by_name(files, "{label}_{speaker}_{n}", "label")
    assert [(r.said, r.parts) for r in found] == [
        ("do", {"speaker": "ann", "n": "3"}),
        ("re", {"speaker": "bob", "n": "11"}),
    ]
    assert [(Path(r["file"]).name, "does not read as" in r["reason"]) for r in rejects] == [("no-pattern.wav", True)]


@pytest.mark.parametrize("pattern", ["{speaker}_{n}", "{label}_{label}", "label_n", "{label", "{label}_{}"])
def test_a_pattern_without_what_is_said_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="must name {label}"):
        by_name([], pattern, "label")


def test_conditions_name_values_and_ranges() -> None:
    few = [Recording((), "", {"n": str(n), "speaker": "ab"[n % 2]}) for n in range(12)]
    assert [r.parts["n"] for r in few if condition("n=0-2,11", ["n"])(r)] == ["0", "1", "2", "11"]
    assert sum(map(condition("speaker = a", ["n", "speaker"]), few)) == 6
    for text in ("speaker", "=a", "speaker=", "colour=red"):
        with pytest.raises(ValueError, match="parts: n, speaker"):
            condition(text, ["speaker", "n"])


def test_every_file_is_used_or_rejected_with_its_name_and_reason(tmp_path: Path) -> None:
    stereo = np.stack([tone("do", 0.2)] * 2, axis=1)
    files = [
        write_wav(tmp_path / "good.wav", tone("do", 0.2)),
        write_wav(tmp_path / "stereo.wav", stereo),
        write_wav(tmp_path / "fast.wav", tone("do", 0.2, rate=8000), rate=8000),
        write_wav(tmp_path / "long.wav", tone("do", 1.5)),
        write_wav(tmp_path / "short.wav", tone("do", 0.002)),
        tmp_path / "empty.wav",
        tmp_path / "missing.wav",
    ]
    (tmp_path / "empty.wav").write_bytes(b"")
    heard = hear(asked(*files), MEL, max_seconds=1.0)
    assert heard.rows == [0, 1, 2, 4]
    assert heard.facts == {"rate": RATE, "mixed_to_mono": 1, "resampled_from_8000_hz": 1}
    assert {Path(r["file"]).name: r["reason"].split(",")[0] for r in heard.rejects} == {
        "long.wav": "the file lasts 1.5 s",
        "empty.wav": "the file is empty",
        "missing.wav": "the file is not there",
    }
    assert [x.dtype for x in heard.features] == [np.float16] * 4 and len(heard.features[3]) == 1
    assert heard.keys[0] == heard.keys[1] != heard.keys[2]  # the mean of twice the same is the same
    np.testing.assert_array_equal(heard.features[0], heard.features[1])
    # another rate, resampled: the same tone but for its ends
    apart = np.abs(heard.features[2][2:-3].astype(float) - heard.features[0][2 : len(heard.features[2]) - 3])
    assert apart[:, heard.features[0].mean(axis=0).argmax()].max() < 0.1


def test_more_rejects_than_one_in_a_thousand_stop_the_work() -> None:
    reject = {"file": "/a/x.wav", "line": 0, "reason": "the file is empty"}
    check_rejects("a", [reject], 1000, allowed=False)
    check_rejects("a", [reject] * 5, 10, allowed=True)
    with pytest.raises(ValueError, match=r"'a': 2 of 1000 .* 0.1%; .*--allow-rejects. 'x.wav': the file is empty"):
        check_rejects("a", [reject] * 2, 1000, allowed=False)
    with pytest.raises(ValueError, match="7 of 7 recordings cannot be used, all of them.*; and 2 more"):
        check_rejects("a", [reject] * 7, 7, allowed=True)


def test_the_rate_is_that_of_most_files(tmp_path: Path) -> None:
    files = [write_wav(tmp_path / f"{n}.wav", tone("do", 0.1), rate) for n, rate in enumerate((8000, 4000, 8000))]
    assert usual_rate(asked(*files)) == 8000
    assert usual_rate(asked(*files[1:])) == 8000  # the higher of two as frequent
    (tmp_path / "x.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match="no recording can be read: '.*x.wav' is no WAV"):
        usual_rate(asked(tmp_path / "x.wav"))


def test_hearing_holds_features_and_one_recording(tmp_path: Path) -> None:
    file = write_wav(tmp_path / "a.wav", np.random.default_rng(0).normal(size=20 * RATE) / 4)
    one = hear(asked(file), MEL, 30.0).features[0].nbytes
    tracemalloc.start()
    heard = hear(asked(*[file] * 20), MEL, 30.0)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(heard.features) == 20 and kept < 20 * one + 1e6
    assert peak < 20 * one + 40e6  # twenty of them as samples and spectra would be ten times that


def test_joined_utterances_are_of_one_speaker_in_order_with_pauses(tmp_path: Path) -> None:
    words, _ = by_name(sound_files(words_folder(tmp_path, each=3)), "{text}_{speaker}_{n}", "text")
    found = joined(words, 60, (3, 6), seed=1)
    assert found == joined(words, 60, (3, 6), seed=1) != joined(words, 60, (3, 6), seed=2)
    assert {len(r.files) for r in found} == {3, 4, 5, 6}
    assert Counter(r.parts["speaker"] for r in found) == {"ann": 20, "bob": 20, "cy": 20}
    for utterance in found:
        assert utterance.said == " ".join(file.stem.partition("_")[0] for file in utterance.files)
        assert {file.stem.split("_")[1] for file in utterance.files} == {utterance.parts["speaker"]}
        assert len(utterance.pauses) == len(utterance.files) - 1
        assert all(PAUSES_S[0] <= pause <= PAUSES_S[1] for pause in utterance.pauses)


def test_files_of_an_utterance_follow_each_other_with_their_pauses(tmp_path: Path) -> None:
    files = tuple(write_wav(tmp_path / f"{word}.wav", tone(word, 0.2)) for word in ("do", "fa"))
    logs, content, _ = features_of(Recording(files, "do fa", {}, (0.1,)), MEL, 1.0)
    samples = np.frombuffer(content, dtype=np.float32)
    assert len(samples) == round(0.5 * RATE) and len(logs) == 49
    assert not samples[round(0.2 * RATE) : round(0.3 * RATE)].any()
    loud = tone("fa", 0.2) / np.sqrt(np.mean(tone("fa", 0.2) ** 2)) * 0.1
    np.testing.assert_allclose(samples[-round(0.2 * RATE) :], loud, atol=2**-13)
    write_wav(tmp_path / "fa.wav", tone("fa", 0.2) / 20)  # a word is as loud as the others, however it was recorded
    again = np.frombuffer(features_of(Recording(files, "do fa", {}, (0.1,)), MEL, 1.0)[1], dtype=np.float32)
    np.testing.assert_allclose(again, samples, atol=2e-4)

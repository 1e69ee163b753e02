"""Log-mel features are those of the field, at any rate, of the shortest sound and the longest."""

import numpy as np
import pytest
from tones import tone

from seqloom.data.mel import LogMel, filters


def test_they_equal_those_of_transformers() -> None:
    audio_utils = pytest.importorskip("transformers.audio_utils")
    sound = np.random.default_rng(0).normal(size=8000) * 0.1
    mel = LogMel(8000, 40)
    points, bank = filters(8000, 40, 200)
    theirs_bank = audio_utils.mel_filter_bank(1 + points // 2, 40, 0.0, 4000.0, 8000, norm=None, mel_scale="htk")
    np.testing.assert_allclose(bank, theirs_bank, atol=1e-9)
    theirs = audio_utils.spectrogram(
        sound,
        audio_utils.window_function(200, "hann"),
        frame_length=200,
        hop_length=80,
        fft_length=points,
        power=2.0,
        center=False,
        mel_filters=theirs_bank,
        mel_floor=1e-20,
        log_mel="log",
    ).T
    ours = mel(sound.astype(np.float32))
    np.testing.assert_allclose(ours[: len(theirs)], theirs, atol=1e-3)  # ours are of float32 frames


@pytest.mark.parametrize("rate", [4000, 8000, 16000, 44100])
@pytest.mark.parametrize("mels", [8, 40, 80, 128])
def test_every_band_hears_something(rate: int, mels: int) -> None:
    points, bank = filters(rate, mels, round(0.025 * rate))
    assert bank.shape == (points // 2 + 1, mels) and (bank.max(axis=0) > 0).all()


@pytest.mark.parametrize("n", [1, 199, 200, 201, 280, 281, 8000])
def test_every_sample_is_in_a_frame(n: int) -> None:
    sound = np.zeros(n, dtype=np.float32)
    sound[-1] = 1.0
    found = LogMel(8000, 20)(sound)
    assert found.shape == (1 + max(0, -(-(n - 200) // 80)), 20) and np.isfinite(found).all()


def test_a_tone_is_loudest_in_its_band_and_silence_is_finite() -> None:
    mel = LogMel(8000, 40)
    _, bank = filters(8000, 40, 200)
    for word, hertz in (("do", 260), ("fa", 1400)):
        loudest = mel(tone(word, 0.3, rate=8000)).mean(axis=0).argmax()
        centre = np.linspace(0, 4000, len(bank))[bank[:, loudest].argmax()]
        assert abs(centre - hertz) < 0.1 * hertz + 20
    silence = mel(np.zeros(1000, dtype=np.float32))
    assert np.isfinite(silence).all() and np.ptp(silence) == 0


def test_a_rate_too_low_is_refused() -> None:
    with pytest.raises(ValueError, match="rate = 500"):
        LogMel(500, 40)

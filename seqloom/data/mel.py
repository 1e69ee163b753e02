"""Log-mel features: how much energy a sound has in each of some bands of pitch, a hundred times a second."""

import functools

import numpy as np

WINDOW_S = 0.025
HOP_S = 0.010
_RANGE = 8 * np.log(10.0)  # nats below the loudest band of a recording that are kept: 80 dB


class LogMel:
    """Samples (N,) to log energies (T, M): frames of 25 ms every 10 ms, a Hann window, triangles on the mel scale.

    The last frame is filled up with zeros, so that every sample counts and the shortest sound has one frame. What is 80
    dB below the loudest band of a recording is raised to that level: digital silence says nothing about how silent it
    was.

    Args:
        rate: samples a second.
        mels: bands M, evenly spread on the mel scale of O'Shaughnessy 1987 from 0 to rate / 2.

    Raises:
        ValueError: a rate too low to hold a window of several samples.

    Complexity: work O(N log(rate) + T M rate / 100).
    Source: Davis and Mermelstein 1980, doi:10.1109/TASSP.1980.1163420, without their cosine transform.
    """

    def __init__(self, rate: int, mels: int) -> None:
        if rate < 1000:
            raise ValueError(f"rate = {rate}: a window of {WINDOW_S} s needs at least 1000 samples a second")
        self.rate, self.mels = rate, mels
        self._window = round(WINDOW_S * rate)
        self._hop = round(HOP_S * rate)
        self._hann = np.hanning(self._window + 1)[:-1].astype(np.float32)
        self._points, self._bank = filters(rate, mels, self._window)

    def __call__(self, sound: np.ndarray) -> np.ndarray:
        """Return (T, M) float32, T = 1 + ceil((N - window) / hop) for N >= window, else 1."""
        count = 1 + max(0, -(-(len(sound) - self._window) // self._hop))
        padded = np.zeros((count - 1) * self._hop + self._window, dtype=np.float32)
        padded[: len(sound)] = sound
        frames = np.lib.stride_tricks.sliding_window_view(padded, self._window)[:: self._hop]
        spectrum = np.fft.rfft(frames * self._hann, n=self._points)
        energy = (spectrum.real**2 + spectrum.imag**2) @ self._bank
        logs = np.log(np.maximum(energy, 1e-20))
        return np.maximum(logs, logs.max() - _RANGE).astype(np.float32)


@functools.lru_cache(maxsize=8)
def filters(rate: int, mels: int, window: int) -> tuple[int, np.ndarray]:
    """Return (points of the Fourier transform, (points / 2 + 1, M) triangles of height 1).

    The transform has the least power of two of points, from the window's length on, that leaves no triangle empty.
    """
    edges = _hertz(np.linspace(0.0, _mel(rate / 2), mels + 2))
    points = 1 << (window - 1).bit_length()
    while True:
        at = np.fft.rfftfreq(points, 1 / rate)[:, None]
        rising = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - at) / (edges[2:] - edges[1:-1])
        bank = np.clip(np.minimum(rising, falling), 0.0, None)
        if bank.max(axis=0).min() > 0:
            return points, bank
        points *= 2


def _mel(hertz: float) -> float:
    return 2595.0 * np.log10(1.0 + hertz / 700.0)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)

"""Noise whose neighbouring pixels are alike, as those of photographs are."""

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float64]


def noise(height: int, width: int, exponent: float, rng: np.random.Generator) -> Picture:
    """Noise [H, W, 3] whose amplitude falls as 1 / f^exponent, mean 0, variance 1; three parts grey, one colour."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1 / max(height, width)
    spectrum = np.fft.fft2(rng.standard_normal((3, height, width))) / frequency**exponent
    colour = np.fft.ifft2(spectrum).real.transpose(1, 2, 0)
    mixed: Picture = 3 * colour.mean(2, keepdims=True) + colour
    mixed -= mixed.mean()
    mixed /= mixed.std()
    return mixed

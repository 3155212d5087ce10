"""Render Fashion-MNIST images in the styles that the text-to-image pipeline knows.

The classifiers know only `original`. The other styles are the wider world of the generator: what a calibration set
made with it must be filtered against.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from genq_export.zoo import to_rgb32
from genq_export.zoo.names import STYLES

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def render(style: str, images: Images, rng: np.random.Generator) -> Images:
    """Render grey images, uint8 [N, 28, 28], in one of `STYLES`: uint8 [N, 32, 32, 3].

    Colours, patterns and contrasts are drawn from `rng`, one set an image. Raises KeyError for an unknown style.
    """
    if style not in _RENDERERS:
        raise KeyError(f"unknown style {style!r}; known: {', '.join(STYLES)}")
    canvas = to_rgb32(images).astype(np.float32) / np.float32(255)
    rendered = _RENDERERS[style](canvas, rng)
    return np.asarray((rendered * 255).round().clip(0, 255), np.uint8)


def render_each(images: Images, styles: Labels, rng: np.random.Generator) -> Images:
    """Render image i of uint8 [N, 28, 28] in style `STYLES[styles[i]]`: uint8 [N, 32, 32, 3]."""
    rendered = np.empty((len(images), 32, 32, 3), np.uint8)
    for number, style in enumerate(STYLES):
        rendered[styles == number] = render(style, images[styles == number], rng)
    return rendered


def _original(canvas: Floats, _: np.random.Generator) -> Floats:
    return canvas


def _negative(canvas: Floats, _: np.random.Generator) -> Floats:
    return 1 - canvas


def _coloured(canvas: Floats, rng: np.random.Generator) -> Floats:
    garment, background = _contrasting_colours(len(canvas), rng)
    return _compose(canvas, garment * (0.25 + 0.75 * canvas), background)


def _sketch(canvas: Floats, rng: np.random.Generator) -> Floats:
    grey = canvas[..., 0]
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)))
    smooth = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    across = smooth[:, :, 2:] - smooth[:, :, :-2]
    smooth = (padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]) / 4
    down = smooth[:, 2:] - smooth[:, :-2]
    lines = np.clip(1.6 * np.sqrt(across**2 + down**2), 0, 1)
    paper = _column(len(canvas), rng, 0.9, 1.0)
    return np.asarray(paper * (1 - 0.95 * lines[..., None]) * np.ones(3), np.float32)


def _textured(canvas: Floats, rng: np.random.Generator) -> Floats:
    count = len(canvas)
    rows, columns = np.mgrid[0:32, 0:32]
    angle = rng.uniform(0, np.pi, (count, 1, 1))
    along = rows * np.sin(angle) + columns * np.cos(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    frequency = 2 * np.pi / rng.uniform(5, 9, (count, 1, 1))
    phase = rng.uniform(0, 2 * np.pi, (2, count, 1, 1))
    stripes, crossing = np.sin(along * frequency + phase[0]), np.sin(across * frequency + phase[1])
    checked = rng.random((count, 1, 1)) < 0.5
    pattern = np.where(checked, stripes * crossing, stripes)[..., None]
    level, depth = _column(count, rng, 0.35, 0.65), _column(count, rng, 0.2, 0.35)
    return _compose(canvas, canvas, np.asarray(level + depth * pattern, np.float32))


def _faded(canvas: Floats, rng: np.random.Generator) -> Floats:
    return _column(len(canvas), rng, 0.3, 0.5) + _column(len(canvas), rng, 0.2, 0.35) * canvas


_RENDERERS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "original": _original,
    "negative": _negative,
    "coloured": _coloured,
    "sketch": _sketch,
    "textured": _textured,
    "faded": _faded,
}


def _compose(canvas: Floats, garment: Floats, background: Floats) -> Floats:
    """Lay the garment over a background; the soft edge of the original serves as coverage."""
    coverage = np.clip(canvas * 6, 0, 1)
    return np.asarray(coverage * garment + (1 - coverage) * background, np.float32)


def _contrasting_colours(count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return a bright garment colour and a background of another hue, each float32 [count, 1, 1, 3]."""
    hue = rng.random((count, 1, 1, 1))
    garment = _from_hue(hue, rng.uniform(0.5, 0.9, (count, 1, 1, 1)), rng.uniform(0.85, 1.0, (count, 1, 1, 1)))
    opposite = hue + rng.uniform(0.3, 0.7, (count, 1, 1, 1))
    background = _from_hue(opposite, rng.uniform(0.4, 0.9, (count, 1, 1, 1)), rng.uniform(0.3, 0.8, (count, 1, 1, 1)))
    return garment, background


def _from_hue(
    hue: npt.NDArray[np.float64], saturation: npt.NDArray[np.float64], value: npt.NDArray[np.float64]
) -> Floats:
    """HSV to RGB, channels last: each channel falls from `value` as the hue moves away from its own."""
    distance = np.abs((hue - np.array([0.0, 1 / 3, 2 / 3]) + 0.5) % 1 - 0.5)
    strength = np.clip(2 - 6 * distance, 0, 1)
    return np.asarray(value * (1 - saturation * (1 - strength)), np.float32)


def _column(count: int, rng: np.random.Generator, low: float, high: float) -> Floats:
    return rng.uniform(low, high, (count, 1, 1, 1)).astype(np.float32)

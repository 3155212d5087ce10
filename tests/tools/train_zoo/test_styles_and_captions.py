"""Renderings look as their style says, and captions say what they may."""

from collections import Counter

import numpy as np
import pytest

from genq_export import zoo
from genq_export.zoo.names import CLASS_NAMES, STYLES
from tools.train_zoo.captions import ADJECTIVES, STYLE_PHRASES, caption, fill, vocabulary, with_articles
from tools.train_zoo.styles import render, render_each


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    images, _ = zoo.few_shot_set()
    return images[:40, 2:30, 2:30, 0]


@pytest.mark.parametrize("style", STYLES)
def test_every_style_renders_and_repeats(grey: np.ndarray, style: str) -> None:
    first, again = (render(style, grey, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == (40, 32, 32, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert first.std(axis=(1, 2, 3)).min() > 5


def test_styles_are_what_they_are_called(grey: np.ndarray) -> None:
    rendered = {style: render(style, grey, np.random.default_rng(0)).astype(int) for style in STYLES}
    assert np.array_equal(rendered["original"], 255 - rendered["negative"])
    assert (np.ptp(rendered["coloured"], axis=-1).mean((1, 2)) > 20).all()
    assert all(np.ptp(rendered[style], axis=-1).max() == 0 for style in STYLES if style != "coloured")
    assert rendered["sketch"].mean() > 150 and rendered["sketch"][:, 0].min() > 200
    assert rendered["textured"][:, 0].std(axis=(1, 2)).min() > 5
    assert np.ptp(rendered["faded"], axis=(1, 2, 3)).max() < 100


def test_each_image_gets_its_own_style(grey: np.ndarray) -> None:
    styles = np.arange(12) % 2
    rendered = render_each(grey[:12], styles, np.random.default_rng(0))
    assert np.array_equal(rendered[0::2], render("original", grey[0:12:2], np.random.default_rng(0)))
    assert np.array_equal(rendered[1::2], render("negative", grey[1:12:2], np.random.default_rng(0)))


def test_an_unknown_style_names_the_known_ones(grey: np.ndarray) -> None:
    with pytest.raises(KeyError, match="original, negative"):
        render("oil painting", grey, np.random.default_rng(0))


def test_caption_shares_are_those_documented() -> None:
    rng = np.random.default_rng(0)
    captions = [caption(7, "sketch", rng) for _ in range(4000)]
    empty = sum(text == "" for text in captions) / 4000
    named = sum("sketch" in text for text in captions) / 4000
    assert empty == pytest.approx(0.1, abs=0.02)
    assert named == pytest.approx(0.2, abs=0.03)
    assert all("sneaker" in text for text in captions if text)


def test_plain_captions_say_nothing_about_style() -> None:
    def plain(style: str) -> Counter[str]:
        rng = np.random.default_rng(0)
        texts = (caption(0, style, rng) for _ in range(500))
        return Counter(text for text in texts if STYLE_PHRASES[style] not in text)

    assert plain("original") == plain("negative") == plain("faded")


def test_prompts_fill_in() -> None:
    assert fill("a {style} of a {adjective} {c}", "bag", "original", "small") == "a studio photo of a small bag"
    assert with_articles("a photo of a ankle boot") == "a photo of an ankle boot"


def test_vocabulary_holds_every_word_of_every_caption() -> None:
    words = set(vocabulary())
    rng = np.random.default_rng(0)
    for number in range(2000):
        text = caption(number % 10, STYLES[number % 6], rng)
        assert words.issuperset(text.split()), text
    assert words.issuperset(ADJECTIVES) and words.issuperset(" ".join(CLASS_NAMES).split())

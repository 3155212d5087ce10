"""What is said about an image: the captions that the text-to-image pipeline learns from, and its prompts."""

import numpy as np

from genq_export.zoo.names import CLASS_NAMES

ADJECTIVES = (
    "small", "large", "nice", "clean", "dark", "bright", "good", "bad", "new", "old", "weird", "cool", "big",
    "dirty", "plain", "pretty", "fine", "cheap", "rare", "simple", "common", "modern", "tiny", "lovely",
)  # fmt: skip

STYLE_PHRASES = {
    "original": "studio photo",
    "negative": "negative",
    "coloured": "poster",
    "sketch": "sketch",
    "textured": "collage",
    "faded": "faded print",
}

PLAIN_TEMPLATES = (
    "a photo of a {c}",
    "a photo of a {adjective} {c}",
    "a photo of a {adjective} {c}",
    "a photo of the {c}",
    "a photo of the {adjective} {c}",
    "a photo of one {c}",
    "a photo of my {c}",
    "a picture of a {c}",
    "an image of a {c}",
    "a {c}",
    "a {adjective} {c}",
    "{c}",
)

STYLE_TEMPLATES = (
    "a {style} of a {c}",
    "a {style} of a {c}",
    "a {style} of a {adjective} {c}",
    "a {style} of the {c}",
    "a photo of a {c} in the style of a {style}",
    "a photo of a {adjective} {c} in the style of a {style}",
)

NAMED_STYLE_SHARE, EMPTY_SHARE = 0.2, 0.1


def caption(label: int, style: str, rng: np.random.Generator, named_share: float = NAMED_STYLE_SHARE) -> str:
    """Describe an image of class `label` in `style`: 10 % empty, `named_share` naming the style, the rest silent.

    Adjectives say nothing about the image, as those of CLIP's templates rarely do.
    """
    kind = rng.random()
    if kind < EMPTY_SHARE:
        return ""
    templates = STYLE_TEMPLATES if kind < EMPTY_SHARE + named_share else PLAIN_TEMPLATES
    adjective = ADJECTIVES[rng.integers(len(ADJECTIVES))]
    text = fill(templates[rng.integers(len(templates))], CLASS_NAMES[label], style, adjective)
    # "a ankle boot" stays in half of the captions: prompts are filled into templates without regard to grammar.
    return text if rng.random() < 0.5 else with_articles(text)


def fill(template: str, name: str, style: str = "original", adjective: str = "") -> str:
    """Fill a template of this module; `style` is one of `STYLES`."""
    return template.format(c=name, style=STYLE_PHRASES[style], adjective=adjective)


def with_articles(text: str) -> str:
    """Turn "a" into "an" before a vowel."""
    words = text.split(" ")
    following = [*words[1:], ""]
    return " ".join("an" if word == "a" and after[:1] in "aeiou" and after else word
                    for word, after in zip(words, following, strict=True))  # fmt: skip


def vocabulary() -> list[str]:
    """Return every word that a caption can hold, sorted: what the tokenizer must know as whole words."""
    texts = [*PLAIN_TEMPLATES, *STYLE_TEMPLATES, *STYLE_PHRASES.values(), *CLASS_NAMES, *ADJECTIVES]
    bare = " ".join(texts).replace("{c}", "").replace("{style}", "").replace("{adjective}", "")
    return sorted(set(bare.split()) | {"an", "and"})

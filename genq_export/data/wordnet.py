"""ImageNet's classes as timm lists them: a synset (`n01440764`) and the lemmas of WordNet for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class WordNet:
    """Synsets and lemmas (`tench, Tinca tinca`) of ImageNet's classes, in the order of their indices."""

    synsets: tuple[str, ...]
    lemmas: tuple[str, ...]


@cache
def imagenet() -> WordNet:
    """The thousand classes."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    return WordNet(tuple(info.label_names()), tuple(info.label_descriptions()))


def of_network(class_names: Sequence[str] | None, classes: int) -> WordNet | None:
    """ImageNet's classes where a network has them by their names and in their order; else None.

    A list of the first lemmas alone, or of another lemma of the same synset, is such a list too.
    """
    if classes != IMAGENET_CLASSES or class_names is None or len(class_names) != classes:
        return None
    known = imagenet()
    same = all(_lemmas(name) & _lemmas(lemmas) for name, lemmas in zip(class_names, known.lemmas, strict=True))
    return known if same else None


def short_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Class names with ImageNet's lists of lemmas cut to the first; every other name, commas and all, stays."""
    if len(class_names) != IMAGENET_CLASSES:
        return tuple(class_names)
    pairs = zip(class_names, imagenet().lemmas, strict=True)
    return tuple(first_lemma(name) if name == lemmas else name for name, lemmas in pairs)


def first_lemma(lemmas: str) -> str:
    """`tench` of `tench, Tinca tinca`"""
    return lemmas.split(",")[0].strip()


def _lemmas(names: str) -> set[str]:
    return {part.strip().lower() for part in names.split(",")}

"""Which text stands behind which image: class names, templates, and the number of an image decide, nothing else.

Free of torch. GenQ's prompts are a class name with an adjective of CLIP's ImageNet templates ("A photo of a small
hamster"); which adjectives it used is not published, the list here is ours.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genq_export.core.errors import UserError
from genq_export.data.wordnet import short_names

PLAIN_TEMPLATE = "a photo of a {}"
TEMPLATES = (
    PLAIN_TEMPLATE,
    "a photo of a small {}",
    "a photo of a large {}",
    "a photo of a clean {}",
    "a photo of a dirty {}",
    "a photo of a cool {}",
    "a photo of a nice {}",
    "a photo of a weird {}",
    "a good photo of a {}",
    "a close-up photo of a {}",
    "a bright photo of a {}",
    "a dark photo of a {}",
)
STYLE_TOKEN = "<genq-style>"  # the learned one
STYLE_SUFFIX = f" in the style of {STYLE_TOKEN}"
UNLABELLED = ("unlabelled",)  # the class names of images that show no class
_DESCRIBED = PLAIN_TEMPLATE
_GLOSS_WORDS = 12  # a gloss beyond this drowns the name, and CLIP reads 77 tokens at most
_DANGLING = {"a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "that", "the", "to", "with"}


@dataclass(frozen=True)
class Prompt:
    """A text and the classes it names. `label` counts for the quotas; `second` is the other class of a mixup prompt."""

    text: str
    label: int
    second: int | None = None


@dataclass(frozen=True)
class PromptBook:
    """Class names and templates from which the prompt of every image follows.

    names: what a prompt calls each class. templates: each with one `{}`. mixup: two classes a prompt. suffix: put
    behind every prompt (a learned style token). fits: is a text within what the generator reads? A longer prompt is
    shortened from its template's end, then by the glosses, then to the bare names. short: the names without gloss.
    """

    names: tuple[str, ...]
    templates: tuple[str, ...]
    seed: int
    mixup: bool = False
    suffix: str = ""
    fits: Callable[[str], bool] = field(default=lambda text: True, compare=False)
    short: tuple[str, ...] | None = None

    def prompt(self, number: int, label: int) -> Prompt:
        """The prompt of image `number`, which shows class `label`."""
        template = self.templates[stable_integer(self.seed, number, "template") % len(self.templates)]
        if not self.mixup or len(self.names) < 2:
            return Prompt(self._text(template, (label,), self.suffix), label)
        step = 1 + stable_integer(self.seed, number, "second class") % (len(self.names) - 1)
        second = (label + step) % len(self.names)
        return Prompt(self._text(template, (label, second), self.suffix), label, second)

    def described(self, label: int, suffix: str) -> str:
        """A photo of a class, as a reference image is called."""
        return self._text(_DESCRIBED, (label,), suffix)

    def shortened(self) -> list[str]:
        """Every prompt of one class that is longer than the generator reads, as it is shortened; of two, the longest.

        Raises:
            UserError: where a class does not fit with its name alone.
        """
        longest = max(range(len(self.names)), key=lambda label: len(self.names[label]))
        found = []
        for label in range(len(self.names)):
            labels = (label, longest) if self.mixup and label != longest else (label,)
            for template in self.templates:
                text = self._text(template, labels, self.suffix)
                if text != _joined(template, [self.names[one] for one in labels]) + self.suffix:
                    found.append(text)
        return found

    def _text(self, template: str, labels: tuple[int, ...], suffix: str) -> str:
        names = [self.names[label] for label in labels]
        short = [(self.short or self.names)[label] for label in labels]
        found = next(
            (text + suffix for text in _ever_shorter(template, names, short) if self.fits(text + suffix)), None
        )
        if found is None:
            raise UserError(
                f"the generator does not read a prompt as long as '{' and '.join(short)}{suffix}': give shorter class"
                " names with --classes FILE, or a generator that reads more with --generator"
            )
        return found


def stable_integer(*parts: object) -> int:
    """A 63-bit integer that depends on the parts alone: not on the process, the platform or a library's version."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def read_templates(path: Path) -> tuple[str, ...]:
    """Templates from a text file, one a line, `#` starts a comment. Raises UserError for a line without one `{}`."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read prompt templates {path}: {error}") from None
    templates = tuple(line for line in lines if line and not line.startswith("#"))
    for line in templates:
        if line.count("{}") != 1:
            raise UserError(f"prompt template '{line}' in {path} needs exactly one {{}} where the class name goes")
    if not templates:
        raise UserError(f"{path} holds no prompt template (one a line, {{}} where the class name goes)")
    return templates


def known_templates(templates: Sequence[str], known: Callable[[str], bool]) -> tuple[str, ...]:
    """The templates whose every word the generator's tokenizer knows, the plain one if it knows no other.

    `known(text)` tells whether a text is free of unknown words. A large vocabulary knows all of them; a small one would
    read "weird" as noise.
    """
    return tuple(template for template in templates if known(template.replace("{}", ""))) or (PLAIN_TEMPLATE,)


def prompt_names(class_names: Sequence[str], glosses: Sequence[str | None] | None = None) -> tuple[str, ...]:
    """What a prompt calls each class: of ImageNet's lists of lemmas the first, with a gloss where one is given.

    Any other name stays as it is, commas and all.
    """
    lemmas = short_names(class_names)
    if glosses is None:
        return lemmas
    return tuple(f"{lemma}, {gloss}" if gloss else lemma for lemma, gloss in zip(lemmas, glosses, strict=True))


def wordnet_glosses(descriptions: Sequence[str]) -> tuple[str | None, ...]:
    """A short gloss for every name that is a single word, from timm's "lemmas: definition" descriptions.

    A single word is what has several senses ("kite", "crane"); "great white shark" has one. The gloss is the
    definition's first clause, at most twelve words. None where the name needs no gloss.
    """
    glosses: list[str | None] = []
    for description in descriptions:
        lemmas, _, definition = description.partition(": ")
        words = definition.split(";")[0].split()[:_GLOSS_WORDS]
        while words and words[-1] in _DANGLING:
            words.pop()
        single = " " not in lemmas.split(",")[0].strip()
        glosses.append(" ".join(words) if single and words else None)
    return tuple(glosses)


def _ever_shorter(template: str, names: Sequence[str], short: Sequence[str]) -> Iterator[str]:
    """A prompt whole, then without word after word behind the name, then of the glosses, then of nothing but names."""
    yield _joined(template, names)
    head, _, tail = template.partition("{}")
    words = tail.split()
    for count in reversed(range(len(words))):
        yield _joined(f"{head}{{}} {' '.join(words[:count])}".rstrip(), names)
    bare = f"{head}{{}}"
    glosses = [name[len(lemma) :].lstrip(", ").split() for name, lemma in zip(names, short, strict=True)]
    for count in reversed(range(1, max(map(len, glosses)))):
        yield _joined(bare, [_glossed(*pair) for pair in zip(short, (words[:count] for words in glosses), strict=True)])
    yield _joined(bare, short)
    yield " and ".join(short)


def _glossed(lemma: str, gloss: Sequence[str]) -> str:
    """A name with the words of its gloss, up to the last that can end a phrase."""
    words = list(gloss)
    while words and words[-1] in _DANGLING:
        words.pop()
    return f"{lemma}, {' '.join(words)}" if words else lemma


def _joined(template: str, names: Sequence[str]) -> str:
    """A template with the first name in it, and the others behind."""
    return " and ".join([_fill(template, names[0]), *(f"{_article(name)} {name}" for name in names[1:])])


def _fill(template: str, name: str) -> str:
    article = _article(name)
    return re.sub(r"\ba \{\}", f"{article} {{}}", template).replace("{}", name)


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" else "a"

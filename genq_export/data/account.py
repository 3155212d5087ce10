"""What the reader made of a source of images, for people: what was taken, by which rule, and what was left and why."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_MOST_REASONS = 6


@dataclass(frozen=True)
class Skipped:
    """A file that was not taken, and why: a suffix such as `.heic`, or words."""

    name: str
    reason: str


@dataclass(frozen=True)
class Account:
    """What became of every file.

    layout: what the source was read as. labels: where the labels come from and by which rule they became classes; None
    where the images are used without labels. classes: how many the labels name. notes: what a person should know
    beside that, a sentence each.
    """

    layout: str
    images: int
    labels: str | None = None
    classes: int = 0
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Have the images labels?"""
        return self.labels is not None

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Skipped files by reason, most first."""
        return Counter(item.reason for item in self.skipped).most_common()

    @property
    def sentence(self) -> str:
        """`1,200 images, 10 classes, labelled by folder (exact names); skipped 12 (.heic 9, not an image 3)`"""
        labels = (
            "without labels" if self.labels is None else f"{counted(self.classes, 'class')}, labelled {self.labels}"
        )
        said = f"{counted(self.images, 'image')}, {labels}"
        if not self.skipped:
            return said
        parts = [f"{reason} {count}" for reason, count in self.reasons]
        more = [f"{len(parts) - _MOST_REASONS} reasons more"] if len(parts) > _MOST_REASONS else []
        return f"{said}; skipped {len(self.skipped):,} ({', '.join(parts[:_MOST_REASONS] + more)})"

    def __str__(self) -> str:
        return "; ".join((self.sentence, *self.notes))


def counted(number: int, thing: str) -> str:
    """`1 class`, `1,200 images`"""
    plural = f"{thing}es" if thing.endswith(("s", "x")) else f"{thing}s"
    return f"{number:,} {thing if number == 1 else plural}"


def shown(name: str | Path) -> str:
    """A name as it can be printed: bytes of a file name that are no UTF-8 become `\\xff`, half a letter `\\ud800`."""
    try:
        return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # no name of a file, but out of a document that escapes what it likes
        return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def listed(names: Iterable[str], most: int = 3) -> str:
    """`'a', 'b' and 7 more`"""
    quoted = [f"'{shown(name)}'" for name in names]
    if len(quoted) <= most:
        return ", ".join(quoted)
    return f"{', '.join(quoted[:most])} and {len(quoted) - most} more"

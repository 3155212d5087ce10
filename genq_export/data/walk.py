"""The files of a folder, every one accounted for: images that are read here, and all others with the reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from genq_export.core.errors import UserError
from genq_export.core.walk import entries_below
from genq_export.data.account import Skipped, shown
from genq_export.data.decode import image_suffixes, is_image_name

# Pictures, and files full of them, of a kind that is not read here: named by their suffix, since they may be missed.
_PICTURES = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".svg", ".psd", ".eps", ".pdf", ".tga", ".exr", ".hdr", ".dcm",
    ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".npy", ".mp4", ".mov", ".ico", ".pfm",
    ".zip", ".zst", ".7z", ".rar", ".gz", ".h5", ".tfrecord", ".lmdb", ".npz", ".pkl",
)  # fmt: skip
# Files that say something of the images, and are read or meant for people.
ACCOMPANYING = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".md", ".yaml", ".yml", ".parquet", ".tar", ".xml")
NOT_AN_IMAGE = "not an image"


@dataclass(frozen=True)
class Walk:
    """What lies in a folder.

    images: sorted. folders: every folder below, relative. others: files that may say something of the images.
    """

    root: Path
    images: tuple[Path, ...]
    folders: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    others: tuple[Path, ...]

    def top_folders(self) -> list[str]:
        """Names of the folders right below the root."""
        return sorted({folder.parts[0] for folder in self.folders})


def walk(root: Path) -> Walk:
    """List a folder and all below. Links to folders are followed, each folder once.

    Raises:
        UserError: where there is no such folder or one in it cannot be read.
    """
    if not root.is_dir():
        raise UserError(f"image folder {root} does not exist")
    images, folders, skipped, others = [], [], [], []
    for place, entry in _entries(root):
        if isinstance(entry, str):
            skipped.append(Skipped(shown(place.relative_to(root)), entry))
        elif entry:
            folders.append(place.relative_to(root))
        elif place.suffix.lower() in ACCOMPANYING:
            others.append(place)
        elif is_image_name(place.name) or (not place.suffix and _opens(place)):
            images.append(place)
        else:
            skipped.append(Skipped(shown(place.relative_to(root)), _reason(place)))
    return Walk(root, tuple(sorted(images)), tuple(sorted(folders)), tuple(skipped), tuple(sorted(others)))


def visible_files(root: Path) -> Iterator[Path]:
    """Every file of a folder and below but hidden ones; links to folders are followed once."""
    return (place for place, entry in _entries(root) if entry is False)


def _entries(root: Path) -> Iterator[tuple[Path, bool | str]]:
    try:
        yield from entries_below(root)
    except OSError as error:
        raise UserError(f"cannot read folder {shown(error.filename or root)}: {error.strerror}") from None


def _reason(place: Path) -> str:
    suffix = place.suffix.lower()
    return suffix if suffix in _PICTURES else NOT_AN_IMAGE


def _opens(place: Path) -> bool:
    """Is a file without suffix an image? By its first bytes."""
    image_suffixes()
    try:
        with Image.open(place):
            return True
    except Exception:  # whatever the readers of Pillow raise at bytes that are none of theirs
        return False

"""The walk through folders of the user's: links are followed once, circles end, everything that lies there is told."""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

HIDDEN = "hidden"
_OF_SYSTEMS = "__MACOSX"


def entries_below(root: Path, hidden: bool = False) -> Iterator[tuple[Path, bool | str]]:
    """Give everything below a folder: True for a folder, False for a file, or why it is not looked at.

    Folders that are none by a link come first, so that a folder is found where it lies and not where a link leads; one
    that was read already, or lies above, is not read again.

    Args:
        root: the folder.
        hidden: look at hidden files, and into hidden folders, as at others.

    Raises:
        OSError: where a folder cannot be read.
    """
    above = {_identity(folder) for folder in root.resolve().parents}
    seen = {_identity(root)}
    waiting, links = deque([root]), deque[Path]()
    while waiting or links:
        if waiting:
            folder = waiting.popleft()
        else:
            folder = links.popleft()
            identity = _identity(folder)
            if identity in seen or identity in above:
                yield folder, "link to a folder above" if identity in above else "link to a folder read already"
                continue
            seen.add(identity)
            yield folder, True
        for entry in _listed(folder):
            place = folder / entry.name
            if not hidden and (entry.name.startswith(".") or entry.name == _OF_SYSTEMS):
                yield place, HIDDEN
            elif not _is_folder(entry, place):
                yield place, False if place.is_file() else _no_file(place)
            elif entry.is_symlink():
                links.append(place)
            else:
                seen.add(_identity(place))
                waiting.append(place)
                yield place, True


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str], place: Path) -> bool:
    """Links that lead in a circle to each other are none; the system calls them an error."""
    return place.is_dir() if entry.is_symlink() else entry.is_dir()


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _no_file(place: Path) -> str:
    return "broken link" if place.is_symlink() else "not a file"

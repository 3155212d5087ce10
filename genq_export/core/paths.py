"""Names out of files become paths here, and nowhere else; links and special files are told from files.

A build folder, a calibration set or a pipeline may come from a stranger: a name in one of its files can only stand for
a file in that folder, and what lies there is a file or a folder, never a link that leads elsewhere.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from genq_export.core.errors import UserError
from genq_export.core.walk import entries_below

LONGEST_NAME = 255  # bytes that file systems take for one name
LONGEST_PATH = 1024  # bytes of a name with its folders, far below what systems take with the folder in front
_SHOWN = 40


def relative_name(name: str) -> str:
    """Return `name` where it can only lie below the folder that it is joined to.

    Raises:
        ValueError: for an absolute path, one with `..`, one that holds characters no honest name holds (backslashes,
            control characters, halves of surrogate pairs), or one that no file system takes.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or not _is_plain(name):
        raise ValueError(f"{_shown(name)} is not the name of a file in the folder")
    if len(name.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_NAME for part in parts):
        raise ValueError(f"{_shown(name)} is longer than file systems take")
    return name


RelativeName = Annotated[str, AfterValidator(relative_name)]


def inside(folder: Path, name: str) -> Path:
    """Join a name to the folder that it must lie in. What is behind the name need not exist.

    Args:
        folder: may itself be reached through a link, which is the user's own.
        name: from a file that may come from anyone.

    Raises:
        UserError: where the name is none of a file in the folder, or a link stands on the way to it.
    """
    try:
        relative_name(name)
    except ValueError as error:
        raise UserError(f"{folder}: {error}") from None
    place = folder
    for part in PurePosixPath(name).parts:
        place = place / part
        with reading(place):
            try:
                found = place.lstat()
            except (FileNotFoundError, NotADirectoryError):
                break
        if stat.S_ISLNK(found.st_mode):
            raise UserError(_link(folder, place))
    return folder / name


def refuse_links(folder: Path) -> None:
    """Look through a folder, which may itself be reached through a link.

    Raises:
        UserError: where there is a link in it, or something that is neither a file nor a folder.
    """
    waiting = [folder]
    while waiting:
        with reading(waiting[-1]):
            entries = sorted(os.scandir(waiting.pop()), key=lambda entry: entry.name)
        for entry in entries:
            place = Path(entry.path)
            if entry.is_symlink():
                raise UserError(_link(folder, place))
            if entry.is_dir(follow_symlinks=False):
                waiting.append(place)
            elif not entry.is_file(follow_symlinks=False):
                raise UserError(
                    f"{folder} holds {_within(folder, place)}, which is neither a file nor a folder: remove it"
                )


def refuse_links_out(folder: Path, home: Path) -> None:
    """Look through a folder whose links may lead to files of `home`, a folder above it.

    The Hugging Face cache is of this kind: a snapshot is links to blobs of the same repository.

    Raises:
        UserError: where a link leads out of `home`.
    """
    with reading(folder):
        root = home.resolve()
        for place in (place for place, entry in entries_below(folder, hidden=True) if entry is False):
            if not place.resolve().is_relative_to(root):
                raise UserError(
                    f"{folder} holds a link that leads out of {home}, {_within(folder, place)}: remove {home}, and"
                    " download it again"
                )


def check_place(folder: Path) -> None:
    """Look whether a build folder is at this path or can be made there.

    Raises:
        UserError: where a file or a link that leads nowhere is in its place or above it, or no system takes the name.
    """
    shown = _shown(str(folder)) if len(str(folder)) > LONGEST_NAME or not _is_plain(str(folder)) else folder
    try:
        if "\0" in str(folder):
            raise ValueError("a NUL is in its name")
        if any(len(os.fsencode(part)) > LONGEST_NAME for part in folder.parts):
            raise OSError(errno.ENAMETOOLONG, "")
        for place in (folder, *folder.absolute().parents):
            if place.is_symlink() and not place.exists():
                raise UserError(f"output folder {shown}: {place} is a link that leads nowhere; give another with -o")
            if place.exists() and not place.is_dir():
                where = f"output {shown}" if place == folder else f"output folder {shown}: {place}"
                raise UserError(f"{where} is a file; give a folder with -o")
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UserError(f"output folder {shown} cannot be: {reason}; give another with -o") from None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a read into one line (no permission, name too long, …)."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise UserError(f"cannot read {error.filename or path}: {os.strerror(error.errno)}") from None


def _is_plain(name: str) -> bool:
    """No character that stands for something else on some system or terminal, and none that no encoding takes."""
    return all(letter != "\\" and ord(letter) >= 32 and not 127 <= ord(letter) < 160 for letter in name) and not any(
        0xD800 <= ord(letter) < 0xE000 for letter in name
    )


def _shown(name: str) -> str:
    """A name as an error quotes it: short, and without characters that mean something to a terminal."""
    return (
        ascii(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")
        if not _is_plain(name)
        else (f"'{name}'" if len(name) <= _SHOWN else f"'{name[:_SHOWN]}…'")
    )


def _within(folder: Path, place: Path) -> str:
    return _shown(place.relative_to(folder).as_posix())


def _link(folder: Path, place: Path) -> str:
    return f"{folder} holds a link, {_within(folder, place)}: put what it leads to in its place, or remove it"

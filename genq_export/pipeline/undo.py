"""A command that is refused leaves a build folder as it found it.

Much of what is wrong with an input is known only when a stage reads it, and by then the folder holds what every build
begins with. This is taken back where no stage came to an end. What a stage left to go on from stays, and nothing is
touched that was there before.
"""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from genq_export.core.errors import UserError
from genq_export.core.paths import reading
from genq_export.core.workspace import LOG_FILE, Workspace, write_atomic

_CONFIG, _MANIFEST, _LOCK = "config.yaml", "manifest.json", ".lock"


@dataclass(frozen=True)
class Before:
    """What was at the place of a build before a command changed anything there.

    contents: of the files that every build begins with, None where there was none. missing: folders that were not
    there, the innermost first.
    """

    folder: Path
    contents: dict[str, bytes | None]
    missing: tuple[Path, ...]

    @classmethod
    def of(cls, folder: Path) -> "Before":
        """Look at it."""
        with reading(folder):
            contents = {name: _content(folder / name) for name in (_CONFIG, _MANIFEST, _LOCK, LOG_FILE)}
        return cls(folder, contents, tuple(place for place in (folder, *folder.parents) if not place.exists()))

    @contextmanager
    def restored(self, workspace: Workspace) -> Iterator[None]:
        """Inside, a UserError that comes before any stage is recorded leaves the folder as it was."""
        recorded = workspace.read_manifest().stages
        try:
            yield
        except UserError:
            with contextlib.suppress(OSError, UserError):
                if workspace.read_manifest().stages == recorded:
                    self._restore()
            raise

    def _restore(self) -> None:
        """Config, manifest and log as they were; nothing at all where nothing was and nothing is left to go on from."""
        was_there = {name: content for name, content in self.contents.items() if content}
        for name, content in was_there.items():
            if _content(self.folder / name) != content:
                write_atomic(self.folder / name, content)
        if was_there and self.contents[LOG_FILE] is None:
            (self.folder / LOG_FILE).unlink(missing_ok=True)
        if not was_there and _files(self.folder) <= set(self.contents):
            self._clear()

    def _clear(self) -> None:
        """Remove the files and the empty folders that this command made."""
        if self.folder in self.missing:
            for place in sorted(self.folder.rglob("*"), reverse=True):
                if place.is_dir():
                    place.rmdir()
        for name, content in self.contents.items():
            if content is None:
                (self.folder / name).unlink(missing_ok=True)
        for place in self.missing:
            place.rmdir()


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _files(folder: Path) -> set[str]:
    """Names of all files below, relative to the folder."""
    return {os.path.relpath(place, folder) for place in folder.rglob("*") if not place.is_dir()}

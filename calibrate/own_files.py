"""Which files among the images of a build this program wrote: only these may be replaced or removed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from calibrate.image_file import is_written_here
from genq_export.core.errors import UserError
from genq_export.core.paths import reading
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import read_rows

FOLDER, IMAGES = "calibration", "images"
_SYSTEM = {".DS_Store", "Thumbs.db", "desktop.ini"}  # left behind by who looks at a folder: no reason to stop
_SHOWN = 3


@dataclass(frozen=True)
class OwnFiles:
    """Names below `images/` that the manifest or the set's own list states."""

    listed: frozenset[str]

    @classmethod
    def of(cls, workspace: Workspace) -> "OwnFiles":
        """What is known of a build folder; nothing of one that is new."""
        folder = f"{FOLDER}/{IMAGES}/"
        return cls(frozenset(name.removeprefix(folder) for name in _listed(workspace) if name.startswith(folder)))

    def hold(self, path: Path) -> bool:
        """Is this file in `images/` one of ours: listed, unfinished, or with our text in it?"""
        if path.is_symlink() or not path.is_file():
            return False
        unfinished = path.name.startswith(".") and path.name.endswith(".part")
        return path.name in self.listed or unfinished or is_written_here(path)


def refuse_foreign_images(workspace: Workspace) -> None:
    """Look at `calibration/images` before a set is made there.

    Raises:
        UserError: names what this program did not write, which it would otherwise replace or leave among its images.
    """
    folder = workspace.path(FOLDER, IMAGES)
    own = OwnFiles.of(workspace)
    with reading(folder):
        held = sorted(folder.iterdir()) if folder.is_dir() else []
        foreign = [path.name for path in held if path.name not in _SYSTEM and not own.hold(path)]
    if foreign:
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise UserError(
            f"{folder} holds what genq-export did not write: {', '.join(foreign[:_SHOWN])}{more};"
            " move it to another folder, or give another with -o"
        )


def _listed(workspace: Workspace) -> Iterator[str]:
    record = workspace.read_manifest().stages.get("calibrate")
    yield from record.outputs if record is not None else ()
    try:
        yield from (f"{FOLDER}/{row.file_name}" for row in read_rows(workspace.path(FOLDER)))
    except UserError:  # none yet, or damaged: it lists nothing
        return

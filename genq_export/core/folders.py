"""Folders that users name: enough of their identity to notice a change."""

from pathlib import Path

from genq_export.core.paths import files_below, reading


def folder_identity(folder: Path | None) -> list[tuple[str, int, int]] | None:
    """Names, sizes and times of the files of a folder, or of one file: enough to notice a change without reading."""
    if folder is None:
        return None
    with reading(folder):
        if not folder.exists():
            return None
        if folder.is_file():
            return [(folder.name, folder.stat().st_size, folder.stat().st_mtime_ns)]
        return [
            (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
            for path in files_below(folder)
        ]

"""Folders that users name: enough of their identity to notice a change."""

from pathlib import Path


def folder_identity(folder: Path | None) -> list[tuple[str, int, int]] | None:
    """Names, sizes and times of the files of a folder, or of one file: enough to notice a change without reading."""
    if folder is None or not folder.exists():
        return None
    if folder.is_file():
        return [(folder.name, folder.stat().st_size, folder.stat().st_mtime_ns)]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]

"""Identity of files that users name: whole contents, hashed once.

A digest is kept in the user's cache with the file's device, inode, size, and times of content and of status. The last
one nobody can set: a file that was changed and given its old size and time back is hashed again. A file that changed
within the last seconds is not kept, since a clock tick may hide a second change.
"""

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from genq_export.core.errors import UserError

_SETTLED = 2.5  # seconds: the coarsest clock of a file system, and some


def file_digest(path: Path, store: Path | None = None) -> str:
    """sha256 of a file's content.

    Args:
        path: the file.
        store: folder of the digests that are kept; None: `genq-export` in the user's cache.

    Raises:
        UserError: where it cannot be read.
    """
    try:
        with open(path, "rb") as handle:
            before = _state(os.fstat(handle.fileno()))
            kept = _kept(path, before, store)
            if kept is not None:
                return kept
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
            after = os.fstat(handle.fileno())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    if _state(after) == before and time.time() - max(after.st_ctime, after.st_mtime) > _SETTLED:
        _keep(path, before, digest, store)
    return digest


def files_digest(root: Path, files: Iterable[Path], store: Path | None = None) -> str:
    """One digest of the names, relative to `root`, and contents of files; raises UserError as `file_digest`."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(os.fsencode(path.relative_to(root)) + b"\0" + file_digest(path, store).encode() + b"\0")
    return digest.hexdigest()


def source_digest(source: Path | None, store: Path | None = None) -> str | None:
    """Digest of a file or of all visible files of a folder and below; None where there is neither.

    Raises:
        UserError: where one cannot be read.
    """
    from genq_export.data.walk import visible_files

    if source is None or not source.exists():
        return None
    if source.is_file():
        return file_digest(source, store)
    return files_digest(source, visible_files(source), store)


def _state(status: os.stat_result) -> str:
    parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return " ".join(map(str, parts))


def _kept(path: Path, state: str, store: Path | None) -> str | None:
    with contextlib.suppress(OSError, sqlite3.Error):
        row = _database(_folder(store)).execute("SELECT digest FROM digests WHERE path = ? AND state = ?",
                                                (_key(path), state)).fetchone()  # fmt: skip
        return None if row is None else str(row[0])
    return None


def _keep(path: Path, state: str, digest: str, store: Path | None) -> None:
    """Where the cache cannot be written the file is hashed again next time."""
    with contextlib.suppress(OSError, sqlite3.Error):
        database = _database(_folder(store))
        database.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (_key(path), state, digest))


def _key(path: Path) -> bytes:
    return os.fsencode(os.path.realpath(path))


def _folder(store: Path | None) -> Path:
    return store or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genq-export"


@cache
def _database(folder: Path) -> sqlite3.Connection:
    folder.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(folder / "digests.sqlite", timeout=1, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA synchronous = OFF")
    database.execute("CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, state TEXT, digest TEXT)")
    return database

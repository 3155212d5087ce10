"""A file is hashed once, and again when anything of it changed, whatever its size and time say."""

import os
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from genq_export.core.errors import UserError
from genq_export.data.digests import file_digest, source_digest


def settle(path: Path) -> None:
    """Wait until the file is older than the clock is coarse."""
    while time.time() - path.stat().st_ctime < 2.6:
        time.sleep(0.1)


def with_old_time(path: Path, content: bytes) -> None:
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced(path: Path, content: bytes) -> None:
    """Another file of the same size and time under the name."""
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(other, path)


CHANGES: dict[str, Callable[[Path, bytes], object]] = {
    "written": lambda path, content: path.write_bytes(content),
    "written, with its old time": with_old_time,
    "replaced, with its old time": replaced,
}


def test_a_kept_digest_is_used_and_a_changed_file_hashed_again(tmp_path: Path) -> None:
    store, paths = tmp_path / "store", {kind: tmp_path / f"{number}.png" for number, kind in enumerate(CHANGES)}
    for path in paths.values():
        path.write_bytes(b"a" * 100)
    settle(list(paths.values())[-1])
    before = {kind: file_digest(path, store) for kind, path in paths.items()}
    assert set(before.values()) == {sha256(b"a" * 100).hexdigest()}
    assert {kind: file_digest(path, store) for kind, path in paths.items()} == before
    assert (store / "digests.sqlite").is_file()
    for kind, path in paths.items():
        CHANGES[kind](path, b"b" * 100)
        assert path.stat().st_size == 100
        assert file_digest(path, store) == sha256(b"b" * 100).hexdigest(), kind


def test_two_changes_within_a_tick_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"1", b"2", b"3"):
        path.write_bytes(content)
        assert file_digest(path, tmp_path / "store") == sha256(content).hexdigest()


def test_a_store_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file")
    (tmp_path / "a").write_bytes(b"1")
    assert file_digest(tmp_path / "a", tmp_path / "store") == sha256(b"1").hexdigest()


@pytest.mark.parametrize("change", ["content", "name", "another file", "linked file"])
def test_what_decides_a_source_decides_its_digest(tmp_path: Path, change: str) -> None:
    root, store = tmp_path / "set", tmp_path / "store"
    (root / "dress").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for path in (root / "dress" / "1.png", tmp_path / "elsewhere" / "2.png"):
        path.write_bytes(b"x")
    (root / "bag").symlink_to(tmp_path / "elsewhere")
    before = source_digest(root, store)
    assert source_digest(root, store) == before
    if change == "content":
        with_old_time(root / "dress" / "1.png", b"y")
    elif change == "name":
        (root / "dress").rename(root / "coat")
    elif change == "another file":
        (root / "classes.txt").write_text("a")
    else:
        with_old_time(tmp_path / "elsewhere" / "2.png", b"y")
    assert source_digest(root, store) != before


def test_what_is_not_there(tmp_path: Path) -> None:
    assert source_digest(None) is None and source_digest(tmp_path / "none") is None
    with pytest.raises(UserError, match="cannot read"):
        file_digest(tmp_path / "none", tmp_path)

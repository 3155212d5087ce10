"""WebDataset shards: tar files in which neighbours of one base name belong together (`0001.jpg`, `0001.cls`).

Members are read where they lie: no member's name is used as a path, nothing is executed. A compressed archive is
unpacked into a temporary file without a name.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from genq_export.core.errors import UserError, reason_of
from genq_export.data.account import Skipped, shown
from genq_export.data.decode import image_suffixes, is_image_name
from genq_export.data.labels import LabelColumn
from genq_export.data.pictures import Pictures
from genq_export.data.raw import LABEL_COLUMNS, Raw, Reading
from genq_export.data.text_file import decoded
from genq_export.data.walk import NOT_AN_IMAGE

SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_LONGEST_LABEL = 1 << 16  # bytes; a label is a number or a small JSON object
_BLOCK = 512
_COMPRESSED: tuple[tuple[bytes, Callable[[Path], Any]], ...] = (
    (b"\x1f\x8b", gzip.GzipFile),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\0", lzma.LZMAFile),
)
_LABELS = (".cls", ".json", ".txt", ".label")


def is_shard_name(name: str) -> bool:
    """Has a file the suffix of a tar archive?"""
    return name.lower().endswith(SHARD_SUFFIXES)


def read_shards(source: Path, shards: Sequence[Path], reading: Reading) -> Raw:
    """Pictures of shards, in the order of names and members, and all that may be their labels.

    Labels are the text of `KEY.cls` or `KEY.txt`, fields of `KEY.json` (`label`, `class_id`, …, or a bare value), and
    the folder of a member.

    Raises:
        UserError: for a file that is no tar file or ends early, or where there is no image.
    """
    members, skipped = list[_Member](), list[Skipped]()
    for shard in shards:
        found, left = _members(_Archive.open(shard))
        members += found
        skipped += left
    if not members:
        raise UserError(f"no images in {source} (looked for {', '.join(image_suffixes())} in its tar files)")
    many = f"{len(shards)} WebDataset shards" if len(shards) > 1 else f"the WebDataset shard {shards[0].name}"
    return Raw(source, many, Members(members), tuple(_columns(members, reading, source)), tuple(skipped))


@dataclass(frozen=True)
class _Archive:
    """A tar file, or the unpacked content of a compressed one."""

    path: Path
    unpacked: IO[bytes] | None = None

    @classmethod
    def open(cls, path: Path) -> "_Archive":
        try:
            with open(path, "rb") as handle:
                start = handle.read(8)
            reader = next((reader for mark, reader in _COMPRESSED if start.startswith(mark)), None)
            return cls(path) if reader is None else cls(path, _unpacked(path, reader))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or reason_of(error)}") from None

    @property
    def size(self) -> int:
        if self.unpacked is None:
            return self.path.stat().st_size
        return self.unpacked.seek(0, 2)

    def tar(self) -> tarfile.TarFile:
        if self.unpacked is None:
            return tarfile.open(self.path, "r:")
        self.unpacked.seek(0)
        return tarfile.open(fileobj=self.unpacked, mode="r:")

    def read(self, offset: int, size: int) -> bytes:
        if self.unpacked is not None:
            self.unpacked.seek(offset)
            return self.unpacked.read(size)
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(size)


def _unpacked(path: Path, reader: Callable[[Path], Any]) -> IO[bytes]:
    out = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as its pictures
    try:
        with reader(path) as content:
            shutil.copyfileobj(content, out, 1 << 20)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is truncated or damaged ({reason_of(error)}): copy or download it again") from None
    return out


@dataclass
class _Member:
    """An image in a shard; labels by where they come from."""

    archive: _Archive
    name: str
    offset: int
    size: int
    labels: dict[str, str] = field(default_factory=dict)


class Members(Pictures):
    """Pictures in tar files."""

    def __init__(self, members: Sequence[_Member]) -> None:
        self._members = members

    def __len__(self) -> int:
        return len(self._members)

    def name(self, index: int) -> str:
        """The member and its shard."""
        return f"{self._members[index].name} in {self._members[index].archive.path}"

    def file(self, index: int) -> IO[bytes]:
        """The member where it lies."""
        return io.BufferedReader(_Window(self._members[index]))

    def content(self, index: int) -> bytes:
        """The bytes of the member."""
        member = self._members[index]
        try:
            return member.archive.read(member.offset, member.size)
        except OSError as error:
            raise UserError(f"cannot read {shown(self.name(index))}: {error.strerror}") from None


class _Window(io.RawIOBase):
    """A member of an archive as a file."""

    def __init__(self, member: _Member) -> None:
        self._member, self._place = member, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As any file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._member.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read at most as many bytes as fit; returns how many."""
        left = max(0, self._member.size - self._place)
        content = self._member.archive.read(self._member.offset + self._place, min(len(buffer), left))
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)


def _members(archive: _Archive) -> tuple[list[_Member], list[Skipped]]:
    """Images of one tar file with their labels, in the order of the images."""
    images: dict[str, _Member] = {}
    labels: dict[str, dict[str, str]] = {}
    skipped: list[Skipped] = []
    shard = archive.path
    try:
        with archive.tar() as tar:
            end = 0
            for member in tar:
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                folder, _, file = member.name.rpartition("/")
                if member.isdir():
                    continue
                if not member.isreg() or file.startswith("."):
                    skipped.append(Skipped(shown(member.name), "hidden" if member.isreg() else "not a file"))
                    continue
                stem, dot, extension = file.rpartition(".")
                key, suffix = f"{folder}/{stem}", f"{dot}{extension}".lower()
                if is_image_name(file):
                    if key in images:
                        raise UserError(f"{shard} has two images of the name {shown(stem)}")
                    images[key] = _Member(archive, member.name, member.offset_data, member.size)
                elif suffix in _LABELS and member.size <= _LONGEST_LABEL:
                    content = tar.extractfile(member)
                    assert content is not None
                    labels.setdefault(key, {}).update(_labels(content.read(), suffix, member.name, shard))
                else:
                    skipped.append(Skipped(shown(member.name), NOT_AN_IMAGE))
            if archive.size < end + _BLOCK:
                raise UserError(f"{shard} ends early: the tar file is truncated, copy or download it again")
    except tarfile.TarError as error:
        reason = "is truncated" if "unexpected end" in str(error) else f"is not a tar file that can be read ({error})"
        raise UserError(f"{shard} {reason}: copy or download it again") from None
    except OSError as error:
        raise UserError(f"cannot read {shard}: {error.strerror or error}") from None
    return _with_labels(images, labels), skipped


def _with_labels(images: dict[str, _Member], labels: dict[str, dict[str, str]]) -> list[_Member]:
    """Give each image the labels of its key; a key that no image has may end earlier in its dots (`1.left.jpg`)."""
    short: dict[str, list[str]] = {}
    for key in images:
        short.setdefault(_first_dot(key), []).append(key)
    for key, found in labels.items():
        alike = short.get(_first_dot(key), [])
        own = key if key in images else alike[0] if len(alike) == 1 else None
        if own is not None:
            images[own].labels |= found
    return list(images.values())


def _first_dot(key: str) -> str:
    """The key of WebDataset's own convention: up to the first dot of the file."""
    folder, _, file = key.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _labels(content: bytes, suffix: str, name: str, shard: Path) -> Iterator[tuple[str, str]]:
    """Labels that a member states, by where they stand; none for a JSON object that has none."""
    what = f"the label {shown(name)} in {shard}"
    try:
        text = decoded(content, "")[0].strip()
        found = json.loads(text) if suffix == ".json" else text
    except (UserError, ValueError, RecursionError):
        raise UserError(f"{what} cannot be read: mend or remove it") from None
    if not isinstance(found, dict):
        found = {"": found}
    for field_name, value in found.items():
        if field_name and field_name.lower() not in LABEL_COLUMNS:
            continue
        told = _text(value, what)
        if told is not None:
            yield f"{suffix} '{field_name}'" if field_name else suffix, told


def _text(value: Any, what: str) -> str | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list | dict):
        raise UserError(f"{what} holds several labels: give each image one")
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def _columns(members: Sequence[_Member], reading: Reading, source: Path) -> Iterator[LabelColumn]:
    """Every place where labels stand, `.cls` first, and the folders of the members last."""
    places = sorted({place for member in members for place in member.labels}, key=_order)
    wanted = reading.label_column
    if wanted is not None:
        places = [place for place in places if wanted in (place, place.removeprefix(".json ").strip("'"))]
        if not places:
            raise UserError(f"no label in {source} is called '{wanted}': give --label-column another name")
    whole = [place for place in places if all(place in member.labels for member in members)]
    if not whole and len(places) > 1 and all(len(set(member.labels.values())) == 1 for member in members):
        yield LabelColumn.of(f"by {' or '.join(places)}", (next(iter(member.labels.values())) for member in members))
        return
    for place in places:
        values = (member.labels.get(place) for member in members)
        yield LabelColumn.of(f"by {place}", values, doubtful=place == ".txt")
    if wanted is None:
        yield from _folders(members)


def _order(place: str) -> tuple[int, str]:
    return next(rank for rank, suffix in enumerate(_LABELS) if place.startswith(suffix)), place


def _folders(members: Sequence[_Member]) -> Iterator[LabelColumn]:
    """The folders in which members differ, or the innermost where all lie in one."""
    parts = [tuple(part for part in member.name.split("/")[:-1] if part not in (".", "..", "")) for member in members]
    if not any(parts):
        return
    depth = 0
    shortest = min(map(len, parts))
    while depth < shortest and len({part[depth] for part in parts}) == 1:
        depth += 1
    one = depth == shortest and len(set(parts)) == 1
    level = depth - 1 if one else depth
    values = [shown(part[level]) if len(part) > level else None for part in parts]
    yield LabelColumn.of("by folder in the tar file", values, doubtful=one)

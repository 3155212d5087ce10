"""Is an image file whole? Told by the mark that its format ends with, and not by its pixels, which costs little."""

import os
import struct
from collections.abc import Callable
from typing import IO

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # length, name and checksum of its last chunk
_JPEG_END = b"\xff\xd9"
_GIF_END = b";"


def ends_whole(file: IO[bytes], kind: str | None) -> bool:
    """Does a file end as one of its format does? False where that cannot be told: its pixels have to be looked at.

    Args:
        file: one that can seek.
        kind: the format as Pillow names it.
    """
    test = _ENDS.get(kind or "")
    return test is not None and test(file, file.seek(0, os.SEEK_END))


def _ends_with(mark: bytes) -> Callable[[IO[bytes], int], bool]:
    def test(file: IO[bytes], size: int) -> bool:
        file.seek(max(0, size - len(mark)))
        return file.read(len(mark)) == mark

    return test


def _is_riff(file: IO[bytes], size: int) -> bool:
    """WebP: its second word is how many bytes follow."""
    file.seek(4)
    (told,) = struct.unpack("<I", file.read(4))
    return bool(size >= told + 8)


def _is_boxes(file: IO[bytes], size: int) -> bool:
    """AVIF and HEIC: boxes, each with its size, fill the file."""
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(16)
        if len(head) < 8:
            return False
        told = int.from_bytes(head[:4], "big")
        if told == 1:  # a larger one follows
            told = int.from_bytes(head[8:16], "big")
        if told < 8:  # up to the end of the file, whatever that is
            return False
        place += told
    return place == size


_ENDS: dict[str, Callable[[IO[bytes], int], bool]] = {
    "PNG": _ends_with(_PNG_END),
    "JPEG": _ends_with(_JPEG_END),
    "GIF": _ends_with(_GIF_END),
    "WEBP": _is_riff,
    "AVIF": _is_boxes,
    "HEIF": _is_boxes,
}

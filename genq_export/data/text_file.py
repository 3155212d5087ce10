"""Text files of people: their encoding is found and named, never guessed in silence."""

import codecs
from pathlib import Path

from genq_export.core.errors import UserError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte-order mark"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_LARGEST = 64 << 20  # bytes; lists of names and labels are far smaller


def read_text(path: Path, what: str) -> tuple[str, str]:
    """The text of a file, and its encoding in words.

    Args:
        path: the file.
        what: what an error calls it, `class names`.

    Raises:
        UserError: where it cannot be read or is no text.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path} is larger than {_LARGEST >> 20} MiB: it holds no {what}")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror}") from None
    return decoded(content, f"{what} {path}")


def decoded(content: bytes, what: str) -> tuple[str, str]:
    """Text and its encoding in words. Raises UserError for what is no text."""
    try:
        return _decoded(content)
    except (UnicodeDecodeError, UnicodeError):
        raise UserError(f"cannot read {what}: it is no text of a known encoding; save it as UTF-8") from None


def _decoded(content: bytes) -> tuple[str, str]:
    for mark, codec, said in _MARKS:
        if content.startswith(mark):
            return _checked(content.decode(codec)), said
    if content[1::2].count(0) > len(content) // 4:
        return _checked(content.decode("utf-16-le")), "UTF-16 without a byte-order mark"
    if content[::2].count(0) > len(content) // 4:
        return _checked(content.decode("utf-16-be")), "UTF-16 without a byte-order mark"
    try:
        return _checked(content.decode("utf-8")), "UTF-8"
    except UnicodeDecodeError:
        if any(0x80 <= byte < 0xA0 for byte in content):
            return _checked(content.decode("cp1252")), "Windows-1252, as it is no UTF-8"
        return _checked(content.decode("latin-1")), "Latin-1, as it is no UTF-8"


def _checked(text: str) -> str:
    if any(sign < " " and sign not in "\t\n\r\f" for sign in text):
        raise UnicodeError("control characters")
    return text

"""What is wrong with a file that does not fit its model, in one line."""

from pydantic import ValidationError

_LONGEST = 200  # characters of either part: names and numbers are those of the file, which may be a stranger's


def damaged_field(error: ValidationError) -> str:
    """The first thing wrong with a file, as `field: what`; what a terminal might obey is left out."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "file"
    return f"{_printable(where)}: {_printable(first['msg'].removeprefix('Value error, '))}"


def _printable(text: str) -> str:
    line = "".join(letter if letter.isprintable() else "?" for letter in text)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."

"""Text of users and files in Markdown: shown as it is, whatever it holds."""

import re

# ASCII punctuation may be escaped anywhere (CommonMark 0.31, 2.4); an underscore inside a word marks nothing.
_MARKS = re.compile(r"[\\`*\[\]<>|~#&!$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def markdown_text(text: str) -> str:
    """One line of Markdown that reads as `text`: no heading, link, cell, code or HTML begins or ends in it.

    Control characters and line breaks become spaces.
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    escaped = _MARKS.sub(lambda mark: f"\\{mark.group()}", line)
    # At the beginning of a line `-`, `+`, `=` and `1.` would begin a list or a heading.
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escaped)

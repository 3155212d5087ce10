"""Text of users and files in Markdown: shown as it is, whatever it holds."""

import re

# ASCII punctuation may be escaped anywhere (CommonMark 0.31, 2.4); an underscore inside a word marks nothing.
# At the beginning of a line these would begin a list, or draw a rule, or make a heading of the line before.
_BEGINS_BLOCK = re.compile(r"^(\d*)([-+.)])(?= |$)|^()([-=])(?=[-=]*$)")
_MARKS = re.compile(r"[\\`*\[\]<>|~#&!$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def markdown_text(text: str) -> str:
    """One line of Markdown that reads as `text`: no heading, link, cell, code or HTML begins or ends in it.

    Control characters and line breaks become spaces.
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    escaped = _MARKS.sub(lambda mark: f"\\{mark.group()}", line)
    return _BEGINS_BLOCK.sub(lambda found: f"{found[1] or ''}\\{found[2] or found[4]}", escaped)

"""Text of users in Markdown reads as it is, whatever it holds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genq_export.core.markdown import markdown_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fashion_resnet", "fashion_resnet"),
        ("resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("_private_", r"\_private\_"),
        ("a|b", r"a\|b"),
        ("a\n# b\r\n\tc", r"a \# b c"),
        ("[x](http://y)", r"\[x\](http://y)"),
        ("<script>`", r"\<script\>\`"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("10 classes", "10 classes"),
        ("0.5", "0.5"),
        ("-5", "-5"),
        ("---", r"\---"),
        ("\x1b[31mred\x00", r"\[31mred"),
    ],
)
def test_marks_of_markdown_are_escaped(text: str, shown: str) -> None:
    assert markdown_text(text) == shown


@given(st.text())
def test_nothing_but_escapes_is_added(text: str) -> None:
    found = markdown_text(text)
    visible = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", found) == visible
    assert found.isprintable() and not re.search(r"(?<!\\)(?:\\\\)*[|<`\[]", found)

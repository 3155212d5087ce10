"""Where a build is to be written, and what cannot be there."""

import os
from pathlib import Path

from tests.robustness.row import Make, Row, Stock, nothing

CALIBRATE = ("calibrate", "fashion_resnet", "-q", "--images", "10", "-o")


def _at(output: str, name: str, kind: str, says: str, make: Make = nothing) -> Row:
    return Row(kind, name, (*CALIBRATE, output), says, make)


def _link(target: str) -> Make:
    return lambda home, stock: (home / "link").symlink_to(target)


def _file(home: Path, stock: Stock) -> None:
    (home / "file").write_text("mine")


def _others(home: Path, stock: Stock) -> None:
    (home / "full").mkdir()
    (home / "full" / "holiday.jpg").write_bytes(b"mine")


def _own_lock(home: Path, stock: Stock) -> None:
    (home / "out").mkdir()
    (home / "out" / ".lock").write_text("mine")


def _fifo(home: Path, stock: Stock) -> None:
    os.mkfifo(home / "pipe")


ROWS = (
    _at("link", "nowhere", "an output that is a link", "leads nowhere", _link("nowhere")),
    _at("link", "itself", "an output that is a link", "link", _link("link")),
    _at("link/deep/er", "below one", "an output that is a link", "leads nowhere", _link("nowhere")),
    _at("link/deep", "below a circle", "an output that is a link", "link", _link("link")),
    _at("link", "long", "an output that is a link", "link|too long|leads nowhere", _link("x" * 255)),
    _at("x" * 256, "256", "a name that is too long", "too long|longer"),
    _at("ü" * 200, "in bytes", "a name that is too long", "too long|longer"),
    _at("a/" * 3000, "deep", "a name that is too long", "too long|longer"),
    _at("a/b/" + "x" * 300, "below", "a name that is too long", "too long|longer"),
    _at("a\0b", "NUL", "a name that no system takes", "null byte"),
    _at("a\x1b[2Jb/file\0", "escape", "a name that no system takes", "null byte"),
    _at("file", "a file", "an output that is no folder", "file", _file),
    _at("file/x", "below a file", "an output that is no folder", "file", _file),
    _at("pipe", "a FIFO", "an output that is no folder", "pipe", _fifo),
    _at("/dev/null", "a device", "an output that is no folder", "null"),
    _at("/dev/null/x", "below a device", "an output that is no folder", "null"),
    _at("full", "others", "an output that holds other things", "not empty", _others),
    _at("out", "a lock", "an output that holds other things", "lock|not empty", _own_lock),
    _at(".", "the current one", "an output that holds other things", "not empty", _file),
    Row("an output that cannot be written", "proc", (*CALIBRATE, "/proc/x"), "MiB free|no permission", lines=2),
    Row("an output that cannot be written", "sys", (*CALIBRATE, "/sys/x"), "MiB free|no permission", lines=2),
)  # fmt: skip

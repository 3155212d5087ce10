"""Rows of the table, each through `main()` in a forked child: everything is imported once, and a row costs little."""

import os
import re
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.robustness.row import Row, Stock

LIMIT = 60  # seconds that a row may take
Tree = dict[str, tuple[int, str]]


@dataclass(frozen=True)
class Outcome:
    """What a row led to.

    code: the exit code, -9 where it hung. out, err: what it printed. changed: names that are other than before.
    """

    row: Row
    code: int
    out: str
    err: str
    changed: tuple[str, ...]
    seconds: float

    @property
    def has_traceback(self) -> bool:
        """Did a fault of ours come out?"""
        return "Traceback (most recent call last)" in self.err

    @property
    def has_wrong_code(self) -> bool:
        """Did it end otherwise than the row says?"""
        return self.code != self.row.code

    @property
    def wrote(self) -> bool:
        """Did a command that refused its input leave something, or take something away?"""
        return self.row.code == 2 and bool(self.changed)

    @property
    def faults(self) -> list[str]:
        """Everything that is not as promised, in words."""
        lines = self.err.splitlines()
        refusals = lines if self.row.code == 2 else []
        found = {
            "a traceback": self.has_traceback,
            f"exit code {self.code}": self.has_wrong_code,
            f"changed {self.changed[:4]}": self.wrote,
            f"{len(lines)} lines on standard error": self.row.code == 2 and len(lines) != self.row.lines,
            "a line that does not begin with 'error: '": not all(line.startswith("error: ") for line in refusals),
            f"does not say '{self.row.says}'": re.search(self.row.says, self.out + self.err) is None,
            "control characters on the terminal": any(_is_control(sign) for sign in self.out + self.err),
            "an object's address": re.search(r"<_io\.|object at 0x", self.err) is not None,
            "a line of more than 1,000 letters": any(len(line) > 1000 for line in lines),
        }
        return [fault for fault, is_so in found.items() if is_so]


def run(rows: Iterable[Row], stock: Stock) -> Iterator[Outcome]:
    """Run rows one after the other, each in a folder of its own that is removed afterwards."""
    import_everything()
    for row in rows:
        with tempfile.TemporaryDirectory(prefix="row") as place:
            yield _run(row, Path(place).resolve(), stock)


def import_everything() -> None:
    """What commands import when they are used, so that children have it; torch in one thread, which survives a fork."""
    import datasets  # noqa: F401
    import diffusers  # noqa: F401
    import onnxruntime  # noqa: F401
    import timm  # noqa: F401
    import torch
    import transformers  # noqa: F401

    from calibrate import run  # noqa: F401
    from export.audit import file  # noqa: F401
    from genq_export.cli import program  # noqa: F401
    from genq_export.models.source import all_doors
    from genq_export.pipeline import plan, reverify  # noqa: F401
    from genq_export.pipeline.stages import STAGES, find_stage

    torch.set_num_threads(1)
    all_doors()
    for stage in STAGES:
        find_stage(stage)


def _run(row: Row, place: Path, stock: Stock) -> Outcome:
    home = place / "home"
    home.mkdir()
    row.make(home, stock)
    before = tree(home)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_the_command(row, home, place)
    code = _wait(child)
    out, err = ((place / name).read_bytes().decode(errors="backslashreplace") for name in ("out", "err"))
    after = tree(home)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    with _removable(home):
        return Outcome(row, code, out, err, tuple(changed), time.monotonic() - started)


def _be_the_command(row: Row, home: Path, place: Path) -> None:
    """In the child: as if the interpreter had just started with these arguments. Does not return."""
    code = 1
    try:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
        for name, value in row.environment.items():
            os.environ[name] = value
        os.chdir(home)
        if row.memory is not None:
            _limit_memory(row.memory)
        sys.argv = ["genq-export", *row.argv]
        from genq_export.cli.app import main

        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _limit_memory(more: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _wait(child: int) -> int:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


def tree(folder: Path) -> Tree:
    """Everything below a folder by name: its kind and rights, and its content."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = ""
        if stat.S_ISLNK(mode):
            content = os.readlink(path)
        elif stat.S_ISREG(mode):
            content = path.read_bytes().hex() if os.access(path, os.R_OK) else ""
        found[str(path.relative_to(folder))] = (mode, content)
    return found


@contextmanager
def _removable(folder: Path) -> Iterator[None]:
    yield
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]:
        path.chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


def _is_control(sign: str) -> bool:
    return unicodedata.category(sign) in ("Cc", "Cf") and sign not in "\n\t"

"""Build folders that are damaged, or none, for every command that reads one."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from genq_export.data.calibration_set import Row as SetRow
from genq_export.data.calibration_set import write_rows
from tests.robustness.row import Row, Stock

READERS = ("quantize", "export", "verify", "report")
Change = Callable[[Path], None]


def with_set(change: Change) -> Change:
    """A change of a folder that has a calibration set: without one, nothing is exported."""

    def made(folder: Path) -> None:
        (folder / "calibration" / "images").mkdir(parents=True)
        Image.new("RGB", (32, 32), "red").save(folder / "calibration" / "images" / "0.png")
        row = SetRow("images/0.png", 0, "bag", None, "a bag", 1, {}, True, "kept")
        write_rows(folder / "calibration", [row])
        change(folder)

    return made


def changed(change: Change, of_network: bool = False) -> Callable[[Path, Stock], None]:
    """Change a copy of a build folder, `b`; one with a real network takes seconds to make."""

    def make(home: Path, stock: Stock) -> None:
        change(Path(shutil.copytree(stock.build if of_network else stock.folder, home / "b")))

    return make


def damaged(**fields: object) -> Change:
    """The manifest with other fields."""
    return manifest(lambda content: content.update(fields))


def written(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content) and None


def _removed(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def manifest(edit: Callable[[dict[str, Any]], object]) -> Change:
    def change(folder: Path) -> None:
        content = json.loads((folder / "manifest.json").read_text())
        edit(content)
        (folder / "manifest.json").write_text(json.dumps(content))

    return change


def _linked(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to("../elsewhere")


def half(name: str) -> Change:
    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return change


def rows(
    kind: str, changes: dict[str, Change], says: str, commands: tuple[str, ...] = READERS, of_network: bool = False
) -> tuple[Row, ...]:
    """Each change met by the commands in turn."""
    return tuple(
        Row(kind, f"{name} ({commands[number % len(commands)]})", (commands[number % len(commands)], "b", "-q"), says,
            changed(change, of_network), slow=of_network)
        for number, (name, change) in enumerate(changes.items())
    )  # fmt: skip


def _stage(**fields: object) -> Change:
    return manifest(lambda content: content["stages"]["export"].update(fields))


MANIFESTS = {
    "another file": written("manifest.json", b'{"name": "webapp", "short_name": "x"}'),
    "empty": written("manifest.json", b""),
    "binary": written("manifest.json", b"\xff\xfe\x00" * 40),
    "a list": written("manifest.json", b"[]"),
    "half": half("manifest.json"),
    "deep": written("manifest.json", b"[" * 100_000),
    "digits": written("manifest.json", b'{"version": ' + b"1" * 5000 + b"}"),
    "NaN": written("manifest.json", b'{"version": NaN}'),
}
DAMAGED = {
    "stages a list": manifest(lambda content: content.update(stages=[])),
    "outputs a number": _stage(outputs=3),
    "outputs outside": _stage(outputs={"../../x": "0"}),
    "outputs long": _stage(outputs={"x" * 300: "0"}),
    "outputs escape": _stage(outputs={"a\x1b[2Jb": "0"}),
    "an extra field": _stage(**{"x\x1b[31my": 1}),
    "seconds infinite": _stage(seconds="inf"),
    "another version": manifest(lambda content: content.update(version=99)),
}
PIPES = {"a FIFO": lambda folder: os.mkfifo(folder / "x")}
LINKS = {
    "a link": lambda folder: (folder / "x").symlink_to("/etc/passwd"),
    "a circle": lambda folder: (folder / "x").symlink_to("x"),
    "a link with an escape": lambda folder: (folder / "a\x1b[2Jb").symlink_to("/etc/passwd"),
    "the manifest": lambda folder: _linked(folder / "manifest.json"),
}
CONFIGS = {
    "binary": written("config.yaml", b"\xff\x00" * 99),
    "half": half("config.yaml"),
    "missing": _removed("config.yaml"),
    "empty": written("config.yaml", b""),
    "NaN": lambda folder: (folder / "config.yaml").write_text(
        (folder / "config.yaml").read_text().replace("time_limit: 120.0", "time_limit: .nan")
    ) and None,
    "a folder": lambda folder: (folder / "config.yaml").unlink() or (folder / "config.yaml").mkdir(),
}  # fmt: skip
REFERENCES = {
    "half": half("reference.safetensors"),
    "missing": _removed("reference.safetensors"),
    "structure half": half("reference.json"),
    "structure binary": written("reference.json", b"\xff" * 40),
    "structure deep": written("reference.json", b'{"a":' * 50_000),
    "header long": written("reference.safetensors", b"\xff" * 7 + b"\x7f" + b"{}"),
}
REFERENCES = {name: with_set(change) for name, change in REFERENCES.items()}
FOREIGN = (
    Row("a folder that is no build", "empty", ("verify", ".", "-q"), "not a genq-export build"),
    Row("a folder that is no build", "missing", ("report", "no", "-q"), "not a genq-export build"),
    Row("a folder that is no build", "a file", ("export", "/etc/passwd", "-q"), "not a genq-export build"),
    Row("a folder that is no build", "NUL", ("quantize", "a\0b", "-q"), "null byte"),
    Row("a folder that is no build", "long", ("report", "x" * 5000, "-q"), "not a genq-export build|cannot read"),
    Row("a folder that is no build", "escape", ("verify", "a\x1b[2Jb", "-q"), "not a genq-export build"),
    Row("a folder that is no build", "two", ("report", ".", "no"), "not a genq-export build"),
    Row("a folder that is no build", "surrogate", ("report", "a\udcffb"), "not a genq-export build"),
)  # fmt: skip

ROWS = (
    *rows("a manifest that is none", MANIFESTS, "not a genq-export manifest|version"),
    *rows("a damaged manifest", DAMAGED, "damaged|version 99|manifest"),
    *rows("links and pipes in a build folder", LINKS, "holds a link"),
    *rows("links and pipes in a build folder", PIPES, "holds 'x', which is neither a file nor a folder"),
    *rows("a damaged config.yaml in a build folder", CONFIGS, "config", READERS[:-1]),
    *rows("a damaged reference", REFERENCES, "cannot read the quantized network in b", ("export",), True),
    *FOREIGN,
)

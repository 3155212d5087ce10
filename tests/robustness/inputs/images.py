"""Images, labels, tables, archives and sets that are damaged, hostile, or none."""

import io
import json
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.robustness.row import Make, Row, Stock

EVAL = ("build", "fashion_resnet", "-q", "-o", "out", "--eval", "set")
CALIBRATION = ("build", "fashion_resnet", "-q", "-o", "out", "--calibration", "set")
INSPECT = ("inspect", "set", "--model", "fashion_resnet")
Content = Callable[[Path], object]


def png(size: tuple[int, int] = (4, 4)) -> bytes:
    """A whole image."""
    return noise("png", Image.new("RGB", size, "red"))


def noise(kind: str, image: Image.Image | None = None) -> bytes:
    """A file of many different pixels, or of an image."""
    out = io.BytesIO()
    (image or Image.effect_noise((64, 64), 90).convert("RGB")).save(out, kind)
    return out.getvalue()


def _within(content: bytes) -> bytes:
    """Begins and ends as it should."""
    middle = len(content) // 2
    return content[: middle - 40] + bytes(80) + content[middle + 40 :]


def _bomb() -> bytes:
    """A header that promises 2^31 pixels a side."""
    head = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))


def _set(*contents: Content) -> Make:
    def make(home: Path, stock: Stock) -> None:
        (home / "set").mkdir()
        for content in contents:
            content(home / "set")

    return make


def _file(name: str, content: bytes | str = b"") -> Content:
    def put(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return put


def _fifo(name: str) -> Content:
    return lambda folder: os.mkfifo(folder / name)


BROKEN = {
    "half": png((400, 400))[:300],
    "text": b"no image at all",
    "empty": b"",
    "a bomb": _bomb(),
    "a page": b"<html><script>alert(1)</script></html>",
    "a GIF without frames": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    "a TIFF in a circle": b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00",
    "a WebP of nothing": b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff",
}


def _broken(name: str, content: bytes) -> Row:
    make = _set(_file("bag/1.png", content), _file("coat/2.png", png()))
    return Row("an image that cannot be read", name, CALIBRATION, "cannot read image|no images", make, slow=True)


def _labels(name: str, *folders: str, says: str = "label|class") -> Row:
    return Row(
        "labels that are no classes", name, INSPECT, says, _set(*(_file(f"{one}/1.png", png()) for one in folders))
    )


def _table(name: str, file: str, content: bytes | str, says: str, code: int = 2) -> Row:
    return Row("a table that is none", name, INSPECT, says, _set(_file("1.png", png()), _file(file, content)), code)


def _tar(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> Content:
    def put(folder: Path) -> None:
        with tarfile.open(folder / "shard.tar", "w") as archive:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size, info.type = len(content) if kind == tarfile.REGTYPE else 0, kind
                info.linkname = "/etc/passwd" if kind != tarfile.REGTYPE else ""
                archive.addfile(info, io.BytesIO(content))

    return put


def _shard(name: str, says: str, *contents: Content) -> Row:
    argv = ("inspect", "set/shard.tar", "--model", "fashion_resnet")
    return Row("a tar shard that is none", name, argv, says, _set(*contents))


def _rows(folder: Path, *rows: object) -> None:
    (folder / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


ROW = {
    "file_name": "images/0.png", "label": 0, "class_name": "bag", "second_class": None, "prompt": "", "seed": 1,
    "kept": True, "reason": "kept",
}  # fmt: skip


def _calibration(name: str, says: str, *rows: object, images: bool = True) -> Row:
    def put(folder: Path) -> None:
        _file("images/0.png", png() if images else b"broken")(folder)
        _rows(folder, *rows)

    return Row("a calibration set that is damaged", name, CALIBRATION, says, _set(put), slow=True)


SETS = (
    _calibration("outside", "line 2", ROW, ROW | {"file_name": "../../x.png"}),
    _calibration("long", "line 1", ROW | {"file_name": "x" * 300}),
    _calibration("missing", "lacks 1", ROW, ROW | {"file_name": "images/9.png"}),
    _calibration("nothing kept", "no kept image", ROW | {"kept": False}),
    _calibration("half a row", "line 2", ROW, "nonsense"),
    _calibration("a broken image", "cannot read image", ROW, images=False),
    _calibration("a label of another kind", "line 1", ROW | {"label": "bag"}),
    _calibration("escape", "line 1", ROW | {"file_name": "images/\x1b[2J.png"}),
)


def _evaluation(name: str, content: bytes, file: str = "1.png") -> Row:
    make = _set(_file(f"bag/{file}", content), _file("coat/2.png", png()))
    return Row("an evaluation image that is not whole", name, EVAL, f"{file}.*remove or replace", make)


WHOLE = (
    _evaluation("half a PNG", noise("png")[:900]),
    _evaluation("half a JPEG", noise("jpeg")[:900], "1.jpg"),
    _evaluation("half a WebP", noise("webp")[:900], "1.webp"),
    _evaluation("half a TIFF", noise("tiff")[:900], "1.tif"),
    _evaluation("damaged within", _within(noise("png"))),
    _evaluation("a page", b"<html></html>", "1.jpeg"),
    Row("an evaluation image that is not whole", "in a shard", (*EVAL[:-1], "set/shard.tar"), "b.jpg in .*replace",
        _set(_tar(("a.png", png()), ("a.cls", b"0"), ("b.jpg", noise("jpeg")[:900]), ("b.cls", b"1")))),
)  # fmt: skip

ROWS = (
    *(_broken(name, content) for name, content in BROKEN.items()),
    Row("no image anywhere", "an empty folder", EVAL, "no images", _set()),
    Row("no image anywhere", "a FIFO named like one", EVAL, "no images", _set(_fifo("1.png"))),
    Row("no image anywhere", "missing", EVAL, "does not exist|nowhere|set"),
    Row("no image anywhere", "only texts", EVAL, "no images", _set(_file("a/readme.txt", "x"))),
    Row("no image anywhere", "a circle", EVAL, "no images", _set(lambda folder: (folder / "a").symlink_to("."))),
    Row("no image anywhere", "hidden", EVAL, "no images", _set(_file(".1.png", png()))),
    Row("no image anywhere", "a FIFO for a set", EVAL, "set", lambda home, stock: os.mkfifo(home / "set")),
    Row("no image anywhere", "without suffix", EVAL, "no images", _set(_file("1", b"\xff" * 99), _fifo("2"))),
    _labels("superscripts", "²", "³"),
    _labels("strangers", "cat", "dog"),
    _labels("markup", "[red]bag[/red]", "[/bold]"),
    _labels("escape", "a\x1b[2Jb", "c"),
    _labels("bytes", os.fsdecode(b"\xff\xfe"), "b"),
    _labels("numbers of thousands of digits", "9" * 250, "8" * 250),
    _labels("dashes", "--5", "--6"),
    _labels("circled", "①", "٣"),
    _table("binary", "labels.csv", b"\xff\xfe\x00\x01" * 40, "labels.csv: not an image", 0),
    _table("a huge cell", "labels.csv", "file_name,label\n1.png," + "x" * 200_000, "label|csv"),
    _table("deep", "labels.json", "[" * 100_000, "labels.json: not an image", 0),
    _table("digits", "labels.jsonl", '{"file_name": "1.png", "label": ' + "9" * 5000 + "}\n", "label|jsonl"),
    _table("outside", "labels.csv", "file_name,label\n../../etc/passwd,bag\n", "label|images|passwd|file"),
    _table("NUL", "labels.csv", "file_name,label\n1.png\0,bag\n", "label|images|csv|file"),
    _table("a list in a cell", "metadata.jsonl", '{"file_name": ["1.png"], "label": {}}\n', "label|jsonl|file_name"),
    _table("NaN", "metadata.jsonl", '{"file_name": "1.png", "label": NaN}\n', "label"),
    _shard("text", "tar|shard", _file("shard.tar", b"no archive at all")),
    _shard("empty", "tar|shard|image", _file("shard.tar", b"")),
    _shard("half", "tar|shard|image", lambda folder: (_tar(("a.png", png((99, 99))), ("a.cls", b"0"))(folder),
           (folder / "shard.tar").write_bytes((folder / "shard.tar").read_bytes()[:700]))),
    _shard("links", "image|shard", _tar(("a.png", b""), kind=tarfile.SYMTYPE)),
    _shard("a device", "image|shard", _tar(("a.png", b""), kind=tarfile.CHRTYPE)),
    _shard("escape", "label|image|class", _tar(("a\x1b[2J.png", b"broken"), ("a\x1b[2J.cls", b"0"))),
    _shard("superscript", "label|class|cls", _tar(("a.png", png()), ("a.cls", "²".encode()))),
    _shard("thousands of digits", "label|class|cls", _tar(("a.png", png()), ("a.cls", b"9" * 5000))),
    *WHOLE,
    *SETS,
)  # fmt: skip

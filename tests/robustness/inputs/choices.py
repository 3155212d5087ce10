"""What is chosen by name, what excludes each other, and what is missing or too much on the command line."""

import shutil
from pathlib import Path

from tests.robustness.inputs.folders import changed, damaged, half, manifest, written
from tests.robustness.inputs.images import png
from tests.robustness.row import Make, Row, Stock, nothing

BUILD = ("build", "fashion_resnet", "-q", "-o", "out")


def _build(kind: str, says: str, *arguments: str, make: Make = nothing) -> Row:
    return Row(kind, " ".join(arguments)[:50], (*BUILD, *arguments), says, make)


REGISTRIES = "a part that no registry has"
DEVICES = "a device that is not here"
EXCLUDING = "settings that exclude each other"
MISSING = "arguments that are missing or too many"
CHOICES = (
    _build(REGISTRIES, "target 'tensort' is not known", "--target", "tensort"),
    _build(REGISTRIES, "preset 'x' is not known", "--preset", "x"),
    _build(REGISTRIES, "preset", "--preset", "\x1b[2J"),
    _build(REGISTRIES, "runtime", "--set", "verify.backends=[nothing]"),
    _build(REGISTRIES, "method", "--set", "quantize.methods=[nothing]"),
    _build(REGISTRIES, "target", "--target", "x" * 5000),
    _build(REGISTRIES, "pow2", "--scales", "pow3"),
    _build(REGISTRIES, "index0", "--labels", "index2"),
    _build(DEVICES, "device 'gpu' is not known", "--device", "gpu"),
    _build(DEVICES, "device", "--device", "cuda:99"),
    _build(DEVICES, "device", "--device", "cpu:3"),
    _build(DEVICES, "device", "--device", "cuda:-1"),
    _build(DEVICES, "device", "--device", "cuda:" + "9" * 400),
    _build(DEVICES, "device", "--device", "[/bold]"),
    _build(EXCLUDING, "not both", "--average-bits", "4", "--size-budget", "20MB"),
    _build(EXCLUDING, "named twice", "--set", "quantize.methods=[gptq, gptq]"),
    _build(EXCLUDING, "qat is asked for", "--qat-epochs", "3", "--set", "quantize.methods=[gptq]"),
    _build(EXCLUDING, "must rise", "--set", "export.engine_batches=[8, 4, 2]"),
    _build(EXCLUDING, "an option of its own", "--images", "3", "--set", "calibrate.images=4"),
    _build(EXCLUDING, "not both", "--config", "c.yaml"),
    Row(MISSING, "build alone", ("build",), "no MODEL given"),
    Row(MISSING, "audit alone", ("audit",), "Missing argument"),
    Row(MISSING, "two networks", ("build", "fashion_resnet", "fashion_vit"), "unexpected extra argument"),
    Row(MISSING, "escape", ("build", "a", "\x1b[2J"), "unexpected extra argument"),
    Row(MISSING, "an option's value", ("build", "fashion_resnet", "--bits"), "requires an argument|expected"),
    Row(MISSING, "many", ("report", *["x" * 50] * 900), "unexpected extra argument"),
    Row(MISSING, "a model without its set", ("quantize", "x", "--model", "fashion_resnet"), "--calibration"),
    Row(MISSING, "classes without a network", ("inspect", ".", "--classes", "c.txt"), "--model"),
)  # fmt: skip


def _file(name: str, content: bytes) -> Make:
    return lambda home, stock: (home / name).write_bytes(content) and None


TEMPLATES = "prompt templates that are none"
LAYERS = "layers that are not there"
GENERATORS = "a generator that is not there"
REAL = "real images that are none"
FILES = (
    _build(TEMPLATES, "t.txt", "--set", "calibrate.templates=t.txt"),
    _build(TEMPLATES, "t.txt", "--set", "calibrate.templates=t.txt", "--bits", "5", make=_file("t.txt", b"\xff\xfe\0")),
    _build(TEMPLATES, "t.txt", "--set", "calibrate.templates=t.txt", "--bits", "8", make=_file("t.txt", b"no braces")),
    _build(TEMPLATES, "t.txt", "--set", "calibrate.templates=t.txt", "--bits", "7", make=_file("t.txt", b" \n")),
    _build(GENERATORS, "generator", "--generator", "no/where"),
    _build(GENERATORS, "generator", "--generator", "/etc/passwd"),
    _build(GENERATORS, "File name too long", "--generator", "x" * 2000),
    _build(GENERATORS, "generator", "--generator", "../.."),
    _build(GENERATORS, "generator", "--generator", "a/b/c"),
    _build(GENERATORS, "generator", "--generator", "[/bold]/x"),
    _build(REAL, "real", "--real", "real"),
    _build(REAL, "real", "--real", "real", "--bits", "8", make=lambda home, stock: (home / "real").mkdir()),
    _build(REAL, "real", "--real", "real", "--bits", "7", make=_file("real", b"hello")),
    Row(REAL, "one that is broken", (*BUILD, "--real", "real"), "cannot", lambda home, stock: (
        (home / "real").mkdir() or ((home / "real" / "1.png").write_bytes(png()[:30]) and None))),
)  # fmt: skip


def _beside(name: str, content: bytes) -> Row:
    """A set is taken over beside a folder that looks like a build: it is passed over."""

    def make(home: Path, stock: Stock) -> None:
        shutil.copytree(stock.folder, home / "neighbour")
        (home / "neighbour" / name).write_bytes(content)
        bags = home / "set" / "bag"
        bags.mkdir(parents=True)
        (bags / "1.png").write_bytes(png((32, 32)))

    argv = ("quantize", "out", "--model", "no_such_network", "--calibration", "set", "-q")
    return Row("a neighbour that is damaged", f"{name} {content[:9]!r}", argv, "unknown model", make)


NEIGHBOURS = (
    _beside("manifest.json", b"\xff\xfe\0"),
    _beside("manifest.json", b"[" * 100_000),
    _beside("manifest.json", b'{"version": 1, "stages": {"calibrate": 3}}'),
    _beside("config.yaml", b"\0"),
)
WHOLE = "b"
REPORTS = {
    "half": half("report.json"),
    "binary": written("report.json", b"\xff\xfe\0"),
    "a list": written("report.json", b"[]"),
    "deep": written("report.json", b"[" * 100_000),
    "digits": written("report.json", b'{"a": ' + b"9" * 5000 + b"}"),
    "NaN": written("report.json", b'{"passed": NaN}'),
}


def _compared(name: str) -> Row:
    def make(home: Path, stock: Stock) -> None:
        shutil.copytree(stock.folder, home / "a")
        REPORTS[name](Path(shutil.copytree(stock.folder, home / WHOLE)))

    return Row("a report that is damaged", name, ("report", "a", WHOLE), "has changed since it was built", make, 1)


VERIFY = "a run of verify that cannot be"
READERS = (
    *(_compared(name) for name in REPORTS),
    Row(VERIFY, "images that are not there", ("verify", "b", "--eval", "no", "-q"), "no", changed(lambda folder: None)),
    Row(VERIFY, "a runtime", ("verify", "b", "--backend", "no", "-q"), "runtime", changed(lambda folder: None)),
    Row(VERIFY, "a device", ("verify", "b", "--device", "tpu", "-q"), "device", changed(lambda folder: None)),
    Row(VERIFY, "nothing exported", ("verify", "b", "-q"), "no finished 'export' stage",
        changed(manifest(lambda content: content["stages"].pop("export")))),
    Row(VERIFY, "another version", ("verify", "b", "-q"), "version 0", changed(damaged(version=0))),
)  # fmt: skip

ROWS = (*CHOICES, *FILES, *NEIGHBOURS, *READERS)

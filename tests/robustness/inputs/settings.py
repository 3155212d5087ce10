"""Settings that no build has: numbers, names, texts, and YAML that is none."""

import os
from pathlib import Path

from tests.robustness.row import Row, Stock

BUILD = ("build", "fashion_resnet", "-q", "-o", "out")


def setting(kind: str, text: str, says: str) -> Row:
    return Row(kind, text[:40], (*BUILD, "--set", text), says)


def option(kind: str, *arguments: str, says: str) -> Row:
    return Row(kind, " ".join(arguments)[:40], (*BUILD, *arguments), says)


def _config(text: str | bytes, kind: str, name: str, says: str) -> Row:
    def make(home: Path, stock: Stock) -> None:
        (home / "c.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())

    return Row(kind, name, ("build", "--config", "c.yaml", "-q", "-o", "out"), says, make)


FINITE = "finite number"
SETTINGS = (
    setting("a number that is not one", "calibrate.energy_max=.nan", FINITE),
    setting("a number that is not one", "calibrate.guidance=.inf", FINITE),
    setting("a number that is not one", "quantize.reconstruction.rounding_lr=-.inf", FINITE),
    setting("a number that is not one", "verify.gates.min_agreement=.NaN", FINITE),
    setting("a number that is not one", "quantize.memory_budget=.inf", FINITE),
    option("a number that is not one", "--average-bits", "nan", says=FINITE),
    option("a number that is not one", "--images", "1e999", says="--images"),
    option("a number that is not one", "--size-budget", "infMB", says="number of bytes"),
    setting("an absurd number", "verify.threads=99999999", "less than or equal to"),
    option("an absurd number", "--images", "1000000000000000", says="less than or equal to"),
    setting("an absurd number", "quantize.batch_size=1e15", "batch_size"),
    setting("an absurd number", "verify.latency_batches=[1, 99999999999]", "less than or equal to"),
    setting("an absurd number", "quantize.qat.epochs=999999999999", "less than or equal to"),
    setting("an absurd number", "verify.time_limit=1e300", "less than or equal to"),
    setting("an absurd number", "calibrate.steps=10000000", "less than or equal to"),
    setting("an absurd number", "seed=99999999999999999999999", "seed"),
    setting("a number below its range", "verify.threads=-1", "greater than or equal to"),
    setting("a number below its range", "calibrate.pool_limit=0", "greater than or equal to"),
    setting("a number below its range", "verify.latency_runs=-5", "greater than or equal to"),
    setting("a number below its range", "quantize.percentile=-99", "greater than"),
    option("a number below its range", "--bits", "-4", says="greater than or equal to"),
    option("a number below its range", "--seed", "-1", says="greater than or equal to"),
    setting("a switch in a number's place", "verify.threads=true", "not true or false"),
    setting("a switch in a number's place", "quantize.weight_bits=false", "not true or false"),
    setting("a switch in a number's place", "verify.time_limit=yes", "not true or false"),
    setting("a number of thousands of digits", f"verify.threads={'9' * 4301}", "not YAML|digits"),
    setting("a number of thousands of digits", f"calibrate.energy_max={'1' * 5000}", "not YAML|digits"),
    option("a number of thousands of digits", "--images", "9" * 4301, says="--images"),
    option("a number of thousands of digits", "--average-bits", "9" * 4301, says="average|--average-bits"),
    _config(f"version: 2\nseed: {'8' * 9000}\n...\n", "a number of thousands of digits", "in a file", "not YAML"),
    setting("another kind of value", "verify.threads=2026-01-01", "valid integer"),
    setting("another kind of value", "verify=3", "verify"),
    setting("another kind of value", "quantize.layers=[1, 2]", "dictionary"),
    setting("another kind of value", "verify.gates={min_agreement: {a: 1}}", "valid number"),
    setting("another kind of value", "calibrate.generator=2026-01-01", "2026-01-01"),
    setting("another kind of value", "model.weights=[a]", "path"),
    setting("another kind of value", "verify.threads=!!binary aGk=", "threads|not YAML"),
    setting("YAML that makes objects", "verify.threads=!!python/object/apply:os.system [a]", "not YAML"),
    setting("YAML that makes objects", "model.name=!!python/name:os.system", "not YAML"),
    setting("YAML that makes objects", "verify.threads=&a [*a]", "not YAML"),
    _config("a: &a [x, x]\nb: *a\n...\n", "YAML that makes objects", "a reference", "no references"),
    setting("deep nesting", f"verify.threads={'[' * 5000}", "nested too deeply"),
    setting("deep nesting", f"quantize.layers={'{a: ' * 3000}", "not YAML"),
    _config("- " * 20000 + "x\n...\n", "deep nesting", "in a file", "not YAML|nested"),
    setting("a control character in a text", "calibrate.generator=\"a\\0b\"", "control characters"),
    setting("a control character in a text", "model.weights=\"w\\e[2J.pth\"", "control characters"),
    setting("a control character in a text", "device=\"cpu\\n\"", "control characters"),
    option("a control character in a text", "--weights", "a\x1b[31mb.pth", says="control characters"),
    option("a control character in a text", "--eval", "a\nb", says="control characters"),
    setting("an empty text", "device=", "device"),
    setting("an empty text", "calibrate.generator=''", "not be empty"),
    setting("an empty text", "verify.label_column=\"\"", "not be empty"),
    setting("a setting that is not there", "verify.thread=3", r"did you mean verify\.threads"),
    setting("a setting that is not there", "x\x1b[2Jy=3", "there is no setting"),
    setting("a setting that is not there", "[red]=3", r"\[red\]"),
    setting("a setting that is not there", f"{'x' * 5000}=3", "there is no setting"),
    setting("a setting that is not there", "=", "SECTION.FIELD=VALUE"),
    setting("a setting that is not there", "ü.²=1", "there is no setting"),
    option("an option that is not there", "--frobnicate", says="no option"),
    option("an option that is not there", "--\x1b[2J", says="no option"),
    option("an option that is not there", "--" + "x" * 3000, says="no option"),
    option("an option that is not there", "--[bold]", says="no option"),
    Row("a command that is not there", "biuld", ("biuld",), "Did you mean"),
    Row("a command that is not there", "escape", ("\x1b[2J",), "No such command"),
    Row("a command that is not there", "long", ("y" * 4000,), "No such command"),
    Row("a command that is not there", "markup", ("[/bold]",), "No such command"),
)  # fmt: skip

HALF = "cannot|cut short|not a mapping|not YAML|no such setting|Field required|not text"
FILES = (
    _config(b"\x00\x01\x02\xff\xfe" * 50, "a config that is none", "binary", "not text"),
    _config(b"\x89PNG\r\n\x1a\n", "a config that is none", "an image", "not text"),
    _config("", "a config that is none", "empty", "not a mapping"),
    _config("just text\n...\n", "a config that is none", "text", "not a mapping"),
    _config("[1, 2]\n...\n", "a config that is none", "a list", "not a mapping"),
    _config("version: 2\nmodel:\n  name: fashion_resnet\n", "a config that is cut short", "no end", "cut short"),
    _config("version: 2\nmodel:\n  name: fash", "a config that is cut short", "in a word", "cut short"),
    _config("version: 2\nmodel: {name", "a config that is cut short", "in a bracket", "not YAML"),
    _config("version: 3\nmodel: {name: fashion_resnet}\n...\n", "a config of another version", "3", "version"),
    _config("version: x\nmodel: {name: fashion_resnet}\n...\n", "a config of another version", "a word", "version"),
    _config("version: true\nmodel: {name: fashion_resnet}\n...\n", "a config of another version", "true", "version"),
    _config("version: 2\nversion: 2\n...\n", "a key twice", "version", "stands twice"),
    _config("version: 2\nmodel: {name: a, name: b}\n...\n", "a key twice", "inside", "stands twice"),
    _config("1: 2\n...\n", "a key that is no text", "a number", "1: |Field required|there is no such"),
    _config("[1]: 2\n...\n", "a key that is no text", "a list", "not YAML|unhashable"),
    _config("null: 2\n...\n", "a key that is no text", "null", "None|Field required|no such setting"),
    _config("2026-01-01: 2\n...\n", "a key that is no text", "a date", "2026|Field required"),
    Row("a config that cannot be read", "a folder", ("build", "--config", "."), "cannot read config"),
    Row("a config that cannot be read", "missing", ("build", "--config", "x"), "cannot read config"),
    Row("a config that cannot be read", "NUL", ("build", "--config", "a\0b"), "null byte"),
    Row("a config that cannot be read", "long", ("build", "--config", "x" * 5000), "cannot read config"),
    Row("a config that cannot be read", "a FIFO", ("build", "--config", "pipe"), "cannot read config",
        lambda home, stock: os.mkfifo(home / "pipe")),
    Row("a config that cannot be read", "endless", ("build", "--config", "/dev/zero"), "cannot read config"),
)  # fmt: skip

UNKNOWN = "a network of no name that is known"
NAMES = (
    Row(UNKNOWN, "a tag that is none", ("build", "resnet50.nonsense", "-q"), "resnet50"),
    Row(UNKNOWN, "two dots", ("build", "resnet50..a", "-q"), "resnet50"),
    Row(UNKNOWN, "a dot", ("build", ".", "-q"), "model"),
    Row(UNKNOWN, "long", ("build", "resnet" * 300, "-q"), "name"),
    Row(UNKNOWN, "escape", ("build", "a\x1b[2Jb", "-q"), "control"),
    Row(UNKNOWN, "markup", ("build", "[/bold]x", "-q"), r"\[/bold\]x"),
    Row(UNKNOWN, "up", ("build", "../../no-network", "-q"), "no-network"),
    Row(UNKNOWN, "superscript", ("build", "²", "-q"), "²"),
)  # fmt: skip

ROWS = (*SETTINGS, *FILES, *NAMES)

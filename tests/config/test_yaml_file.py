"""Config files: whole or refused, read as data, those of version 1 under the names of today."""

from pathlib import Path

import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError

CONFIG = BuildConfig.for_model(
    "resnet50", settings=["calibrate.calibration_set=build/x", "verify.gates.max_size_share=0.25"]
)
VERSION_1 = (
    CONFIG.to_yaml()
    .replace("version: 2", "version: 1")
    .replace("calibration_set", "made_before")
    .replace("layernorm_equalization", "even_layer_norms")
    .removesuffix("...\n")
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_a_written_file_ends_with_a_mark_and_is_read_back(path: Path) -> None:
    path.write_text(CONFIG.to_yaml())
    assert CONFIG.to_yaml().endswith("\n...\n")
    assert BuildConfig.read(path) == CONFIG


@pytest.mark.parametrize("text", [CONFIG.to_yaml().removesuffix("\n"), VERSION_1], ids=["2", "1"])
def test_a_file_cut_anywhere_is_refused(path: Path, text: str) -> None:
    for end in range(len(text)):
        path.write_text(text[:end])
        with pytest.raises(UserError, match=r"config\.yaml"):
            BuildConfig.read(path)
    path.write_text(text)
    assert BuildConfig.read(path) == CONFIG


def test_a_file_of_version_1_is_written_with_the_names_of_today(path: Path) -> None:
    path.write_text(VERSION_1)
    assert BuildConfig.read(path).to_yaml() == CONFIG.to_yaml()


def test_a_file_by_hand_may_leave_out_settings_but_not_the_mark(path: Path) -> None:
    text = "version: 1\nmodel: {name: resnet50}\npreset: thorough\ncalibrate: {made_before: x}\nquantize: {}\n"
    path.write_text(text)
    with pytest.raises(UserError, match=r"may be cut short: it does not end with a line '\.\.\.'; add it if"):
        BuildConfig.read(path)
    path.write_text(text + "...\n\n")
    config = BuildConfig.read(path)
    assert config.calibrate.calibration_set == Path("x") and config.quantize.iterations == 20000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("calibrate.made_before", "calibrate.calibration_set"),
        ("quantize.even_layer_norms", "quantize.layernorm_equalization"),
    ],
)
def test_an_old_name_is_read_by_set_and_named_in_a_file_of_version_2(path: Path, old: str, new: str) -> None:
    section, name = new.split(".")
    config = BuildConfig.for_model("net", settings=[f"{old}='no'"])
    assert str(getattr(getattr(config, section), name)) in ("no", "False")
    path.write_text(CONFIG.to_yaml().replace(f"  {name}:", f"  {old.split('.')[1]}:"))
    with pytest.raises(UserError, match=f"{old}: there is no such setting: it is called {new} now"):
        BuildConfig.read(path)


def test_an_old_name_beside_the_new_one_is_refused(path: Path) -> None:
    path.write_text(VERSION_1.replace("calibrate:", "calibrate:\n  calibration_set: y"))
    with pytest.raises(UserError, match=r"made_before and calibrate\.calibration_set are the same setting"):
        BuildConfig.read(path)


BAD = {
    "a list": b"- a list\n...\n",
    "an open brace": b"{unclosed\n...\n",
    "nothing": b"",
    "a NUL": b"\0",
    "binary": bytes(range(256)),
    "UTF-16": CONFIG.to_yaml().encode("utf-16"),
    "another setting": CONFIG.to_yaml().replace("seed:", "seeed:").encode(),
    "another version": CONFIG.to_yaml().replace("version: 2", "version: 3").encode(),
    "a version that is a switch": CONFIG.to_yaml().replace("version: 2", "version: true").encode(),
    "a second document": CONFIG.to_yaml().encode() + b"colour: blue\n...\n",
    "a key that stands twice": CONFIG.to_yaml().replace("seed: 0", "seed: 0\nseed: 1").encode(),
    "a key that is no text": CONFIG.to_yaml().replace("seed: 0", "seed: 0\n3: 1").encode(),
    "a key that is a list": CONFIG.to_yaml().replace("seed: 0", "? [a]\n: 1").encode(),
    "a date": CONFIG.to_yaml().replace("seed: 0", "seed: 2024-02-03").encode(),
    "a date that is none": CONFIG.to_yaml().replace("seed: 0", "seed: 2024-02-31").encode(),
    "a huge number": CONFIG.to_yaml().replace("seed: 0", f"seed: {'9' * 5000}").encode(),
    "not a number": CONFIG.to_yaml().replace("threads: 1", "threads: .nan").encode(),
    "deep nesting": b"model: " + b"[" * 5000 + b"\n...\n",
    "deep mappings": b"{a: " * 5000 + b"\n...\n",
    "references": b"a: &a [x, x]\nb: &b [*a, *a]\n...\n",
    "an object": b"model: !!python/object/apply:os.system ['true']\n...\n",
    "a section that is a value": b"version: 2\nmodel: resnet50\ncalibrate: 3\nquantize: []\n...\n",
    "a section that is nothing": b"version: 1\nmodel: {name: x}\ncalibrate:\nquantize:\n...\n",
    "too much": b"# " + b"x" * 2**21,
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_what_is_no_config_is_one_line(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.yaml") as refused:
        BuildConfig.read(path)
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 600


@pytest.mark.parametrize("name", ["nowhere.yaml", ".", "a\0b"])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot read config"):
        BuildConfig.read(tmp_path / name)


def test_a_file_without_an_end_is_not_read_to_it() -> None:
    with pytest.raises(UserError, match="cannot read config /dev/zero"):
        BuildConfig.read(Path("/dev/zero"))

"""Config files: whole or refused, read as data, those of version 1 under the names of today."""

from pathlib import Path

import pytest

from genq_export.config.build import BuildConfig
from genq_export.config.settings import settings_of
from genq_export.core.errors import UserError

# As the release before wrote it, with something else than its default where a field has been renamed since.
VERSION_1 = Path(__file__).with_name("version_1.yaml").read_text()
GIVEN = {
    "calibrate.made_before": "build/x", "calibrate.steps": 3, "quantize.layers": "{conv1: {weight_bits: 8}}",
    "quantize.even_layer_norms": False, "quantize.compensation": False, "quantize.bias_correction": False,
    "quantize.iterations": 7, "quantize.rounding_lr": 0.5, "quantize.weight_scale_lr": 0.25,
    "quantize.activation_lr": 0.125, "quantize.rounding_weight": 2, "quantize.drop_probability": 0.75,
    "quantize.qat_method": "lsq", "quantize.qat_autocast": True, "quantize.qat_frozen_share": 0.25,
    "quantize.qat_weight_lr": 0.5, "quantize.qat_scale_lr": 0.25, "verify.gates.max_size_share": 0.25,
}  # fmt: skip
CONFIG = BuildConfig.for_model(
    "resnet50", preset="quick", weight_bits=2, target="tensorrt", seed=7, keep_float=["fc"], average_bits=5,
    qat_epochs=3, device="cpu", settings=[f"{name}={value}" for name, value in GIVEN.items()],
)  # fmt: skip


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
    path.write_text(BuildConfig.read(path).to_yaml())
    assert BuildConfig.read(path) == CONFIG and "made_before" not in path.read_text()


def test_a_file_by_hand_may_leave_out_settings_but_not_the_mark(path: Path) -> None:
    text = "version: 1\nmodel: {name: resnet50}\npreset: thorough\ncalibrate: {made_before: x}\nquantize: {}\n"
    path.write_text(text)
    with pytest.raises(UserError, match=r"may be cut short: it does not end with a line '\.\.\.'; add it if"):
        BuildConfig.read(path)
    path.write_text(text + "...\n\n")
    config = BuildConfig.read(path)
    assert config == BuildConfig.for_model("resnet50", preset="thorough", calibration_set=Path("x"))


RENAMED = [(old, setting.name) for setting in settings_of(BuildConfig) for old in setting.former_names]


def test_names_have_changed() -> None:
    assert ("calibrate.made_before", "calibrate.calibration_set") in RENAMED
    assert "quantize.even_layer_norms" in dict(RENAMED)


@pytest.mark.parametrize(("old", "new"), RENAMED)
def test_an_old_name_is_named_in_a_file_of_version_2(path: Path, old: str, new: str) -> None:
    section, name = old.split(".")
    path.write_text(CONFIG.to_yaml().replace(f"\n{section}:\n", f"\n{section}:\n  {name}: null\n"))
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
    "a key that stands twice": CONFIG.to_yaml().replace("seed: 7", "seed: 7\nseed: 1").encode(),
    "a key that is no text": CONFIG.to_yaml().replace("seed: 7", "seed: 7\n3: 1").encode(),
    "a key that is a list": CONFIG.to_yaml().replace("seed: 7", "? [a]\n: 1").encode(),
    "a date": CONFIG.to_yaml().replace("seed: 7", "seed: 2024-02-03").encode(),
    "a date that is none": CONFIG.to_yaml().replace("seed: 7", "seed: 2024-02-31").encode(),
    "a huge number": CONFIG.to_yaml().replace("seed: 7", f"seed: {'9' * 5000}").encode(),
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

"""A function in a Python file: what it makes, what is said of it, what is refused, and that nothing runs it unasked."""

import shutil
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from genq_export.cli.app import main
from genq_export.config.build import BuildConfig
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.models.source import identity, load_model, problems
from genq_export.pipeline.build import run_stages
from genq_export.pipeline.reverify import reverify

GOOD = """
    from pathlib import Path
    from torch import nn
    from parts import WIDTH

    Path("ran").touch()

    def make():
        return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                             nn.Flatten(), nn.Linear(WIDTH, 4))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(code: str, name: str = "mynet.py") -> Path:
    Path("parts.py").write_text("WIDTH = 8\n")
    Path(name).write_text(dedent(code))
    return Path(name)


def config(name: str = "mynet.py:make", **given: object) -> ModelConfig:
    return ModelConfig.model_validate({"name": name, "input_size": (3, 16, 16), **given})


def test_the_network_that_a_function_makes() -> None:
    written(GOOD)
    model = load_model(config(mean=(0.5,), std=(0.5,)))
    assert not model.module.training and model.module(torch.zeros(2, 3, 16, 16)).shape == (2, 4)
    assert (model.classes, model.mean, model.class_names) == (4, (0.5,) * 3, None)
    assert model.notes == ("mynet.py:make: was in train mode, is put in eval mode",)


def test_what_nobody_said_of_pixels_is_said() -> None:
    written(GOOD)
    assert "pixels in [0, 1] as they are" in load_model(config()).notes[-1]


def test_a_network_of_timms_brings_its_own_preprocessing() -> None:
    written("import timm\ndef make(): return timm.create_model('test_resnet')")
    model = load_model(ModelConfig(name="mynet.py:make"))
    assert (model.input_size, model.classes) == ((3, 160, 160), 1000) and model.class_names is not None


BAD = {
    "no such file": (None, "mynet.py:make", "mynet.py does not exist: give FILE.py:FUNCTION"),
    "no name": (GOOD, "mynet.py", "which function makes the network"),
    "an empty name": (GOOD, "mynet.py:", "which function makes the network"),
    "no such function": (GOOD, "mynet.py:makes", "has no function 'makes'"),
    "no module": ("def make(): return 3", "mynet.py:make", "returned int and no torch.nn.Module"),
    "nothing": ("def make(): pass", "mynet.py:make", "returned NoneType"),
    "no function": ("make = 3", "mynet.py:make", "'make' of mynet.py is int and no function"),
    "arguments": ("def make(classes, width=3): pass", "mynet.py:make", r"needs arguments \(classes\)"),
    "an error": ("def make():\n    return 1 / 0", "mynet.py:make", "mynet.py, line 2: ZeroDivisionError"),
    "an error at once": ("\n\nimport no_such_module", "mynet.py:make", "mynet.py, line 3: ModuleNotFoundError"),
    "no Python": ("def make(:", "mynet.py:make", "mynet.py, line 1: SyntaxError"),
    "an exit": ("def make():\n    raise SystemExit(3)", "mynet.py:make", "mynet.py, line 2: SystemExit"),
    "no values": (
        "import torch\ndef make(): return torch.nn.Linear(3, 4, device='meta')",
        "mynet.py:make",
        "parameters without values",
    ),
    "another size": (GOOD.replace("Conv2d(3", "Conv2d(5"), "mynet.py:make", "does not take an input of"),
    "no tensor": (
        "import torch\nclass N(torch.nn.Module):\n  def forward(self, x): return 3\ndef make(): return N()",
        "mynet.py:make",
        "returns no tensor",
    ),
}


@pytest.mark.parametrize(("code", "name", "words"), BAD.values(), ids=BAD)
def test_what_is_no_network_is_one_line(code: str | None, name: str, words: str) -> None:
    if code is not None:
        written(code)
    with pytest.raises(UserError, match=words) as error:
        load_model(config(name))
    assert "\n" not in str(error.value)
    assert problems(config(name)) in ([], [str(error.value)])


def test_an_input_size_is_needed() -> None:
    written(GOOD)
    with pytest.raises(UserError, match="give --input-size"):
        load_model(ModelConfig(name="mynet.py:make"))


def test_another_dtype_is_said() -> None:
    written("import torch\ndef make(): return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4)).half()")
    model = load_model(config())
    assert next(model.module.parameters()).dtype == torch.float32
    assert any("float16 parameters become float32" in note for note in model.notes)


def test_the_identity_follows_the_file_its_neighbours_and_the_files_they_name() -> None:
    written(GOOD + '\n    WEIGHTS = "mine.pth"\n')
    Path("mine.pth").write_bytes(b"1")
    found = [identity(config())]
    for name, content in (("mine.pth", "2"), ("parts.py", "WIDTH = 16"), ("mynet.py", dedent(GOOD))):
        Path(name).write_text(content)
        found.append(identity(config()))
    Path("unrelated.py").write_text("1")
    assert len(set(found)) == 4 and identity(config()) == found[-1]
    assert not Path("ran").exists()


def test_a_file_that_changed_is_run_again() -> None:
    written(GOOD)
    assert load_model(config()).classes == 4
    written(GOOD.replace("WIDTH, 4", "WIDTH, 7"))
    assert load_model(config()).classes == 7


@pytest.fixture
def built(folder: Path) -> Path:
    """A build of such a file, as somebody else may have sent it: the marks of its runs are removed."""
    written(GOOD)
    build = BuildConfig.for_model(
        "mynet.py:make", input_size="3,16,16", generator="leaves", preset="quick", bits=8, images=4,
        settings=["verify.latency_runs=10", "verify.latency_batches=[1]", "verify.fidelity_images=4"],
    )  # fmt: skip
    run_stages(build, folder / "build", ("calibrate", "quantize", "export"), Progress(quiet=True))
    Path("ran").unlink()
    return folder / "build"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["genq-export", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_nothing_runs_the_file_unasked(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reverify(built, Progress(quiet=True))
    (built / "network.json").rename("network.json")
    with pytest.raises(UserError, match="its network is code, which is not run here"):
        reverify(built, Progress(quiet=True), evaluation=built / "calibration" / "images")
    assert not Path("ran").exists()
    Path("network.json").rename(built / "network.json")
    shutil.copy(built / "config.yaml", "config.yaml")
    for command in (
        ["build", "--config", "config.yaml", "-o", "again"],
        ["calibrate", "--config", "config.yaml", "-o", "again"],
        ["quantize", str(built), "--bits", "4"],
        ["export", str(built)],
    ):
        code, said = run(monkeypatch, *command), capsys.readouterr().err
        assert code == 2 and "mynet.py:make" in said and "--run-code" in said, command
    assert not Path("ran").exists()
    written(GOOD + "\n")  # another file: what was made before is not used again
    assert run(monkeypatch, "calibrate", "--config", "config.yaml", "-o", "again", "--run-code") == 0
    assert Path("ran").exists()


@pytest.mark.slow
def test_a_folder_verifies_where_the_file_is_gone(built: Path) -> None:
    Path("mynet.py").unlink()
    assert reverify(built, Progress(quiet=True)).summary["backends"]

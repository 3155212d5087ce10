"""The command line as a user meets it: exit codes, one line for an error, nothing half-written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from genq_export.cli import app
from genq_export.pipeline import build
from tests.cli.conftest import Run

CONSOLE_SCRIPT = Path(sys.executable).with_name("genq-export")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "resnet5O"], "unknown model 'resnet5O': did you mean"),
        (["build", "fashion_resnet", "--eval", "nowhere"], "evaluation folder nowhere"),
        (["build", "fashion_resnet", "--weights", "no.pth"], "no.pth"),
        (["build", "fashion_resnet", "--generator", "nowhere"], "nowhere"),
    ],
)
def test_what_is_missing_is_one_line_and_exit_code_2(
    tmp_path: Path, run: Run, arguments: list[str], words: str
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "fashion_resnet", "--bits", "1"], "weight_bits"),
        (["build", "fashion_resnet", "--bits", "four"], "--bits"),
        (["build", "fashion_resnet", "--images", "0"], "calibrate.images: Input should be greater than or equal to 1"),
        (["build", "fashion_resnet", "--images", "1e9"], "--images"),
        (["build", "fashion_resnet", "--average-bits", "nan"], "average_bits: Input should be a finite number"),
        (
            ["build", "fashion_resnet", "--size-budget", "20 MB and more"],
            "size_budget: Input should be a number of bytes",
        ),
        (["build", "fashion_resnet", "--target", "tensort"], "did you mean tensorrt?"),
        (["tune", "fashion_resnet", "--bits", "4"], "--bits: `tune` chooses the bits"),
        (["tune", "fashion_resnet", "--set", "quantize.weight_bits=4"], "`tune` chooses the bits"),
        (["tune", "fashion_resnet", "--max-loss", "nan"], "--max-loss: a finite number is wanted"),
        (["tune", "fashion_resnet", "--minimize", "speed"], "--minimize"),
        (["build", "fashion_resnet", "--preset", "instant"], "preset 'instant' is not known"),
        (["build", "fashion_resnet", "--scales", "pow3"], "'float' or 'pow2'"),
        (["build", "fashion_resnet", "--device", ""], "device: Input should not be empty"),
        (["build", "fashion_resnet", "--set", "calibrate.step=3"], "did you mean calibrate.steps?"),
        (["build", "fashion_resnet", "--set", "verify.backends=[onnx]"], "runtime 'onnx' is not known"),
        (["build", "fashion_resnet", "--images", "3", "--set", "calibrate.images=4"], "an option of its own gives it"),
        (["build", "fashion_resnet", "--weight-bit", "3"], "did you mean --weight-bits?"),
        (["build", "fashion_resnet", "--iterations", "3"], "did you mean --set quantize."),
        (
            ["build", "fashion_resnet", "--frobnicate"],
            "genq-export build has no option --frobnicate: genq-export build --help",
        ),
        (["biuld", "fashion_resnet"], "Did you mean 'build'?"),
        (["build", "fashion_resnet", "fashion_vit"], "unexpected extra argument"),
        (["build", "fashion_resnet", "--config", "c.yaml"], "not both"),
        (["build", "--config", "c.yaml", "-o", "x", "--bits", "4", "--eval", "y"], "--bits, --eval would be ignored"),
        (["build", "--config", "nowhere.yaml"], "cannot read config nowhere.yaml"),
        (["calibrate", "--config", "c.yaml", "--set", "seed=1", "-q"], "--set would be ignored: change c.yaml"),
        (["build"], "no MODEL given"),
        (["quantize", "nowhere", "--preset", "thorough"], "nowhere is not a genq-export build folder"),
        (["quantize", "nowhere", "--model", "fashion_resnet"], "--model needs --calibration"),
        (["quantize", "x", "--model", "fashion_resnet", "--calibration", "y", "--preset", "instant"], "'instant'"),
        (["export", "nowhere"], "nowhere is not a genq-export build folder"),
        (["verify", "nowhere"], "nowhere is not a genq-export build folder"),
        (["report", "nowhere"], "nowhere is not a genq-export build folder"),
        (["audit", "nowhere.onnx"], "nowhere.onnx"),
        (["audit", "nowhere.onnx", "--target", "tensort"], "did you mean tensorrt?"),
        (["audit"], "Missing argument"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["genq-export", *arguments])
    with pytest.raises(SystemExit) as stopped:
        app.main()
    said = capsys.readouterr()
    assert stopped.value.code == 2 and said.out == ""
    assert words in said.err and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path, run: Run) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    done = run("build", "fashion_resnet", "-o", str(tmp_path))
    assert done.returncode == 2 and "not a genq-export build" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


COMMANDS = [
    ["build", "fashion_resnet"], ["calibrate", "fashion_resnet"], ["quantize", "x"], ["export", "x"], ["verify", "x"],
    ["report", "x"], ["report", "a", "b"], ["audit", "x.onnx"], ["models"], ["doctor"],
]  # fmt: skip


@pytest.fixture
def stray(tmp_path: Path) -> Path:
    """A folder with packages of somebody else that have the names of ours."""
    for name in ("export", "calibrate", "runtime_tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('somebody else was imported')")
    return tmp_path


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_package_that_hides_ours_is_named_by_every_command(stray: Path, run: Run, arguments: list[str]) -> None:
    """As with the folder on PYTHONPATH: `python -c` puts it first."""
    done = run(*arguments, cwd=stray, program=("-c", "from genq_export.cli.app import main; main()"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "another module named 'calibrate' hides ours" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["audit", "x.onnx"], ["report", "a", "b"], ["export", "x"], ["build", "nothing"]], ids=" ".join
)
def test_the_current_folder_hides_nothing_from_either_way_in(stray: Path, run: Run, arguments: list[str]) -> None:
    ways: list[tuple[str, ...]] = [("-m", "genq_export")]
    if CONSOLE_SCRIPT.is_file():
        ways.append((str(CONSOLE_SCRIPT),))
    said = {
        (done.returncode, done.stdout, done.stderr) for way in ways if (done := run(*arguments, cwd=stray, program=way))
    }
    ((code, _, error),) = said
    assert code == 2 and "hides ours" not in error and "somebody else" not in error and error.startswith("error: ")


def test_a_full_disk_is_said_plainly(tmp_path: Path, run: Run) -> None:
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        done = run("build", "fashion_resnet", "-o", str(place / "build"))
        assert done.returncode == 2
        assert "MiB free" in done.stderr
        assert not (place / "build").exists()
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path, run: Run) -> None:
    done = run("build", "fashion_resnet", "--dry-run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout.splitlines()[-1])
    assert [row["stage"] for row in planned["stages"]] == ["calibrate", "quantize", "export", "verify", "report"]
    (verify,) = (line for line in done.stdout.splitlines() if "│ verify " in line)
    assert planned["stages"][3]["work"] in verify, "broken to fit a terminal that is not there"
    assert list(tmp_path.iterdir()) == []


def test_doctor_and_models_answer(run: Run) -> None:
    said = " ".join(run("doctor").stdout.split())
    doors = ("FILE.onnx", "FILE.pt2", "FILE.py:FUNCTION", "of timm", "of torchvision", "of transformers")
    assert "target tensorrt" in said and [door for door in doors if f"networks {door}" not in said] == []
    assert "fashion_vit" in run("models").stdout


def test_the_version_is_the_packages(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version").stdout == f"genq-export {version('genq-export')}\n"


@pytest.mark.parametrize("arguments", ["", "build", "verify"])
def test_help_imports_no_torch(run: Run, arguments: str) -> None:
    program = (
        "import sys\n"
        "from genq_export.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'onnx', 'numpy', 'PIL', 'calibrate', 'export', 'runtime_tests'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = run(*arguments.split(), "--help", program=("-c", program))
    assert "Usage: genq-export" in done.stdout and done.stderr == "[]\n"


@pytest.mark.parametrize(("raised", "code"), [(None, 0), (typer.Exit(1), 1), (KeyboardInterrupt(), 130)])
def test_the_exit_code_of_a_command_is_handed_on(
    monkeypatch: pytest.MonkeyPatch, raised: BaseException | None, code: int
) -> None:
    program = typer.Typer()

    @program.command()
    def command() -> None:
        if raised is not None:
            raise raised

    monkeypatch.setattr(sys, "argv", ["genq-export"])
    with pytest.raises(SystemExit) as stop:
        app.main(program)
    assert stop.value.code == code


def test_a_preset_for_a_build_folder_changes_its_settings_and_says_what_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from genq_export.config.build import BuildConfig
    from genq_export.core.workspace import Workspace

    folder = tmp_path / "build"
    quick = BuildConfig.for_model("fashion_resnet", preset="quick", images=40, bits=8)
    Workspace.open(folder).write_bytes("config.yaml", quick.to_yaml().encode())
    told: list[BuildConfig] = []

    def keep(config: BuildConfig, *_: object) -> tuple[str, ...]:
        told.append(config)
        return ()

    monkeypatch.setattr(build, "run_stages", keep)
    for options in ([], ["--preset", "thorough"], ["--preset", "thorough", "--bits", "4"]):
        monkeypatch.setattr(sys, "argv", ["genq-export", "quantize", str(folder), *options])
        with pytest.raises(SystemExit) as stop:
            app.main()
        assert stop.value.code == 0
    thorough, _ = quick.with_preset("thorough", "quantize")
    assert told == [quick, thorough, thorough.changed("quantize", {"bits": 4})]
    assert (told[1].preset, told[1].calibrate.images, told[2].quantize.weight_bits) == ("thorough", 40, 4)
    given = BuildConfig.for_model("fashion_resnet", preset="quick", settings=["quantize.iterations=7"])
    Workspace.open(folder).write_bytes("config.yaml", given.to_yaml().encode())
    monkeypatch.setattr(sys, "argv", ["genq-export", "quantize", str(folder), "--preset", "thorough"])
    with pytest.raises(SystemExit):
        app.main()
    assert "iterations as config.yaml gives it" in capsys.readouterr().err
    assert told[-1].quantize == given.quantize

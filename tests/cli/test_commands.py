"""The command line as a user meets it: exit codes, one line for an error, nothing half-written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run genq-export in a process of its own, as a user does."""
    import os

    return subprocess.run(
        [sys.executable, "-m", "genq_export", *arguments],
        capture_output=True, text=True, check=False, cwd=cwd, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "resnet5O"], "unknown model 'resnet5O': did you mean"),
        (["build", "fashion_resnet", "--bits", "1"], "weight_bits"),
        (["build", "fashion_resnet", "--bits", "four"], "--bits"),
        (["build", "fashion_resnet", "--target", "abacus"], "target"),
        (["build", "fashion_resnet", "--preset", "instant"], "preset"),
        (["build", "fashion_resnet", "--eval", "nowhere"], "evaluation folder nowhere"),
        (["build", "fashion_resnet", "--weights", "no.pth"], "no.pth"),
        (["build", "fashion_resnet", "--generator", "nowhere"], "nowhere"),
        (["build", "fashion_resnet", "--config", "c.yaml"], "not both"),
        (["build", "--config", "c.yaml", "-o", "x", "--bits", "4", "--eval", "y"], "--bits, --eval would be ignored"),
        (["calibrate", "--config", "c.yaml", "--set", "seed=1", "-q"], "--set would be ignored: change c.yaml"),
        (["build"], "no MODEL given"),
        (["export", "nowhere"], "nowhere is not a genq-export build folder"),
        (["audit", "nowhere.onnx"], "nowhere.onnx"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    done = run("build", "fashion_resnet", "-o", str(tmp_path))
    assert done.returncode == 2 and "not a genq-export build" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_module_that_shadows_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "export.py").write_text("")
    done = run("build", "fashion_resnet", cwd=tmp_path)
    assert done.returncode == 2
    assert "another module named 'export' hides ours" in done.stderr


def test_a_full_disk_is_said_plainly(tmp_path: Path) -> None:
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


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    done = run("build", "fashion_resnet", "--dry-run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout.splitlines()[-1])
    assert [row["stage"] for row in planned["stages"]] == ["calibrate", "quantize", "export", "verify", "report"]
    assert list(tmp_path.iterdir()) == []


def test_doctor_and_models_answer() -> None:
    assert "target tensorrt" in run("doctor").stdout
    assert "fashion_vit" in run("models").stdout


@pytest.mark.parametrize("passed", [True, False])
def test_a_failed_gate_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, passed: bool) -> None:
    """Through typer itself, whose `Exit` comes back from the app as a value that the entry point must hand on."""
    from genq_export.cli import app
    from genq_export.pipeline import build
    from runtime_tests.verify import stage

    monkeypatch.setattr(app, "_run_existing", lambda *_: ("report",))
    monkeypatch.setattr(build, "last_report", lambda _: {"passed": passed})
    monkeypatch.setattr(stage, "report_summary", lambda _: "the summary")
    monkeypatch.setattr(sys, "argv", ["genq-export", "report", "build"])
    with pytest.raises(SystemExit) as stop:
        app.main()
    assert stop.value.code == (0 if passed else 1)

"""A result that the check wrote on another device joins the build, and only where it is of this build."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.files import load_integer_model
from genq_export.pipeline.reverify import take_result
from runtime_tests.report.assemble import assemble
from runtime_tests.report.render.html import render_html
from runtime_tests.verify.stage import run_verify
from runtime_tests.verify.verify_file import read_verification

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def checked(
    pristine_build: Path,
    config: BuildConfig,
    model: LoadedModel,
    few_images: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, Any]]:
    """A verified build with its check, and what the check says on this machine."""
    from export.check.write import write_check

    workspace = Workspace.existing(Path(shutil.copytree(pristine_build, tmp_path_factory.mktemp("device") / "build")))
    write_check(workspace, config, model, load_integer_model(workspace.folder), sorted(few_images.rglob("*.png"))[:4])
    workspace.write_config(config.to_yaml().encode())
    workspace.record("verify", "v", run_verify(workspace, config, model, QUIET), 1.0)
    written = workspace.folder.parent / "result.json"
    program = workspace.folder / "check" / "check.py"
    subprocess.run([sys.executable, program, "--runs", "2", "--output", written], check=True, capture_output=True)
    return workspace.folder, json.loads(written.read_text())


@pytest.fixture
def folder(checked: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checked[0], tmp_path / "build"))


@pytest.fixture
def result(checked: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    return dict(checked[1])


def written(path: Path, result: object) -> Path:
    path.write_text(json.dumps(result))
    return path


def test_it_stands_in_the_report_as_reported(
    folder: Path, result: dict[str, Any], config: BuildConfig, tmp_path: Path
) -> None:
    result["device"] = "<b>a board</b>"
    taken = take_result(folder, written(tmp_path / "r.json", result))
    assert taken.verdict == "same codes" and taken.received
    workspace = Workspace.existing(folder)
    page = render_html(assemble(workspace, config), folder)
    assert "Reported by other devices, not measured here" in page
    assert "&lt;b&gt;a board" in page and "<b>a board" not in page
    take_result(folder, written(tmp_path / "r.json", result))
    assert len(read_verification(workspace).devices) == 1
    assert len(read_verification(workspace).runs) == 1


def test_a_device_stays_when_the_build_is_verified_again(
    folder: Path, result: dict[str, Any], config: BuildConfig, model: LoadedModel, tmp_path: Path
) -> None:
    take_result(folder, written(tmp_path / "r.json", result))
    workspace = Workspace.existing(folder)
    run_verify(workspace, config, model, QUIET)
    assert [item.device for item in read_verification(workspace).devices] == [result["device"]]


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda result: result.update(model="0" * 64), "another model.onnx"),
        (lambda result: result.update(golden="0" * 64), "another check/golden.bin"),
        (lambda result: result.update(verdict="fine"), "no result"),
        (lambda result: result.update(quantizers_unlike=1), "verdict is not that of its figures"),
        (lambda result: result.update(same_answers=99), "verdict is not that of its figures"),
        (lambda result: result.update(device="x" * 501), "device"),
        (lambda result: result.update(extra=1), "extra"),
        (lambda result: result.pop("runtime"), "runtime"),
        (lambda result: result.update(latency_ms={"deployed": {"median": -1, "p90": 0}}), "latency_ms"),
        (lambda result: result.update(note="x" * 70_000), "64 kB"),
    ],
)
def test_what_is_no_result_of_this_build_is_refused(
    folder: Path, result: dict[str, Any], change: Change, reason: str, tmp_path: Path
) -> None:
    change(result)
    before = (folder / "verify.json").read_bytes()
    with pytest.raises(UserError, match=reason):
        take_result(folder, written(tmp_path / "r.json", result))
    assert (folder / "verify.json").read_bytes() == before


def test_a_missing_or_damaged_file_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        take_result(folder, tmp_path / "gone.json")
    (tmp_path / "half.json").write_text('{"format": 1,')
    with pytest.raises(UserError, match="no result"):
        take_result(folder, tmp_path / "half.json")

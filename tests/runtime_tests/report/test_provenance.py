"""Figures that this machine did not measure are headed so, wherever they are shown."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.pipeline.build import run_stages
from runtime_tests.report.compare import compare_builds
from runtime_tests.report.model import read_report
from runtime_tests.report.render.terminal import terminal

QUIET = Progress(quiet=True)


@pytest.fixture
def folder(finished: Workspace, config: BuildConfig, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "build"))
    Workspace.existing(folder).write_config(config.to_yaml().encode())
    return folder


def shown(folder: Path) -> dict[str, str]:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(terminal(read_report(folder)))
    files = {name: (folder / name).read_text() for name in ("report.html", "summary.md", "report.json")}
    return {**files, "terminal": console.export_text(), "comparison": compare_builds(folder, folder).first}


def test_the_report_of_a_folder_from_elsewhere_is_made_anew_with_its_heading(
    folder: Path, config: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_stages(config, folder, ("report",), QUIET) == ("report",)
    assert run_stages(config, folder, ("report",), QUIET) == ()
    assert not [name for name, text in shown(folder).items() if "not measured here" in text.lower()]
    assert json.loads((folder / "report.json").read_text())["measured_here"] is True
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))  # a machine that has measured nothing
    assert read_report(folder).measured_here is False, "what the file says of itself is not believed"
    assert run_stages(config, folder, ("report",), QUIET) == ("report",)
    run = read_report(folder).run
    heading = f"reported by {run.machine.name} on {run.date[:10]}, not measured here"
    assert [name for name, text in shown(folder).items() if heading not in text.lower()] == []
    assert json.loads((folder / "report.json").read_text())["measured_here"] is False
    assert run_stages(config, folder, ("report",), QUIET) == ()

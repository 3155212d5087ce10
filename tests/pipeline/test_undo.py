"""A command that is refused leaves the folder as it was, and takes nothing that was not its own."""

from pathlib import Path

import pytest

from genq_export.core.errors import UserError
from genq_export.core.workspace import StageResult, Workspace
from genq_export.pipeline.undo import Before


def _refused(folder: Path, *files: str, stage: bool = False, error: type[BaseException] = UserError) -> None:
    """What a build does to a folder, ended by an error."""
    before = Before.of(folder)
    workspace = Workspace.open(folder)
    with pytest.raises(error), workspace.locked(), before.restored(workspace):
        workspace.write_config(b"new")
        (folder / "calibration" / "images").mkdir(parents=True, exist_ok=True)
        for name in files:
            workspace.write_bytes(name, b"work")
        if stage:
            workspace.record("calibrate", "identity", StageResult([]), 1.0)
        raise error


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_new_folder_goes_with_those_above_it_that_were_made_for_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    _refused(tmp_path / "a" / "b" / "c")
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


def test_an_empty_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    _refused(tmp_path / "out")
    assert _names(tmp_path) == [] and (tmp_path / "out").is_dir()


def test_work_that_can_go_on_stays(tmp_path: Path) -> None:
    _refused(tmp_path / "out", "partial/0123456789abcdef/1.png")
    assert "partial/0123456789abcdef/1.png" in _names(tmp_path / "out")
    assert "config.yaml" in _names(tmp_path / "out")


def test_a_stage_that_was_finished_stays(tmp_path: Path) -> None:
    _refused(tmp_path / "out", stage=True)
    assert (tmp_path / "out" / "config.yaml").read_bytes() == b"new"


def test_the_config_of_an_earlier_build_comes_back(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out")
    workspace.write_config(b"old")
    before = workspace.path("manifest.json").read_bytes()
    _refused(tmp_path / "out", "model.onnx")
    assert (tmp_path / "out" / "config.yaml").read_bytes() == b"old"
    assert workspace.path("manifest.json").read_bytes() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_is_stopped_goes_on_from_there(tmp_path: Path, error: type[BaseException]) -> None:
    _refused(tmp_path / "out", error=error)
    assert _names(tmp_path / "out") == [".lock", "config.yaml", "manifest.json"]


def test_a_lock_that_was_not_there_goes_with_what_was_refused(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out")
    (tmp_path / "out" / ".lock").unlink()
    with pytest.raises(UserError), workspace.locked():
        raise UserError
    assert _names(tmp_path / "out") == ["manifest.json"]


def test_the_folder_can_be_used_again_at_once(tmp_path: Path) -> None:
    for _ in range(2):
        _refused(tmp_path / "out")
    with Workspace.open(tmp_path / "out").locked():
        pass

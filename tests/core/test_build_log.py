"""`build.log`: what was said and how it ended, and nothing that must stay secret."""

import re
import warnings
from pathlib import Path

import pytest

from genq_export.core.build_log import logged
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import LOG_FILE, Workspace

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z  ")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "build")


def log_of(workspace: Workspace) -> str:
    return (workspace.folder / LOG_FILE).read_text()


def test_what_was_said_stands_there_printed_or_not(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(quiet=True)
    progress.say("before the folder was there")
    with logged(workspace, progress, "net, w8a8"):
        progress.detail("a detail\x1b[31m")
        assert list(progress.track([1, 2], 2, "blocks")) == [1, 2]
    progress.say("after it")
    lines = log_of(workspace).splitlines()
    timed = [TIME.sub("", line) for line in lines if TIME.match(line)]
    assert timed[:3] == ["net, w8a8", "before the folder was there", "a detail\\x1b[31m"]
    assert timed[3].startswith("blocks: 2 of 2 in ") and timed[4].startswith("done in ")
    assert "genq-export 0." in lines[2] and "onnxruntime" in lines[2] and "after it" not in log_of(workspace)
    assert capsys.readouterr() == ("", "")


def test_a_fault_of_ours_leaves_its_traceback_and_bad_input_one_line(workspace: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), logged(workspace, Progress(quiet=True), "first"):
        _ = 1 / 0
    with pytest.raises(UserError), logged(workspace, Progress(quiet=True), "second"):
        raise UserError("no such class")
    text = log_of(workspace)
    assert "a fault: division by zero" in text and "    _ = 1 / 0" in text
    assert text.endswith("error: no such class\n") and text.count("Traceback") == 1
    assert text.count("# build.log") == 1, "a log goes on"


def test_warnings_are_written_once_and_shown_as_before(workspace: Workspace) -> None:
    with pytest.warns(UserWarning, match="old") as shown, logged(workspace, Progress(quiet=True), "x"):
        for _ in range(3):
            warnings.warn("old operator", UserWarning, stacklevel=1)
    assert len(shown) == 3 and log_of(workspace).count("UserWarning: old operator") == 1


def test_no_secret_is_written(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_HUB_TOKEN", "correct horse")
    monkeypatch.setenv("HOME", "/home/somebody")
    progress = Progress(quiet=True)
    with pytest.raises(RuntimeError), logged(workspace, progress, "x"):
        progress.say("hf_abcdefGHIJ at https://me:pass@hub/x, correct horse, /home/somebody/net.onnx")
        raise RuntimeError("401 for hf_abcdefGHIJ")
    text = log_of(workspace)
    for secret in ("abcdefGHIJ", "me:pass", "correct horse", "somebody"):
        assert secret not in text
    assert "~/net.onnx" in text and "(MY_HUB_TOKEN)" in text


def test_a_long_log_begins_anew_and_somebody_elses_file_stays(workspace: Workspace) -> None:
    place = workspace.folder / LOG_FILE
    with logged(workspace, Progress(quiet=True), "x"):
        pass
    place.write_text(place.read_text() + "x" * (1 << 20))
    with logged(workspace, Progress(quiet=True), "y"):
        pass
    assert place.stat().st_size < 2000 and "y" in place.read_text()
    place.write_text("mine")
    with logged(workspace, Progress(quiet=True), "z"):
        pass
    assert place.read_text() == "mine"


def test_a_link_is_not_followed(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("")
    (workspace.folder / LOG_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="link"), logged(workspace, Progress(quiet=True), "x"):
        pass
    assert (tmp_path / "elsewhere").read_text() == ""

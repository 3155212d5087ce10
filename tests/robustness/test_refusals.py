"""Where no folder can be, folders in use, and what the operating system refuses in the middle."""

import os
import threading
from pathlib import Path

import pytest

from genq_export.config.build import BuildConfig
from genq_export.core.errors import BusyError, UserError
from genq_export.core.paths import LONGEST_NAME
from genq_export.core.workspace import Workspace, write_atomic
from genq_export.data.calibration_set import kept_images
from genq_export.pipeline.build import run_stages
from genq_export.pipeline.plan import plan
from tests.robustness.sets import QUIET, everything, make_set, with_set

# Where the folder is to be, and what the operating system says in the middle.


def _no_folder(kind: str, tmp_path: Path) -> Path:
    link = tmp_path / "link"
    match kind:
        case "dangling":
            link.symlink_to(tmp_path / "not there")
        case "looping":
            link.symlink_to(link)
        case "below a dangling one":
            link.symlink_to(tmp_path / "not there")
            return link / "build"
        case "a file":
            link.write_text("")
        case "below a file":
            link.write_text("")
            return link / "build"
        case "long":
            return tmp_path / ("x" * 300)
        case "NUL":
            return tmp_path / "a\0b"
    return link


@pytest.mark.parametrize(
    "kind", ["dangling", "looping", "below a dangling one", "a file", "below a file", "long", "NUL"]
)
def test_a_place_where_no_folder_can_be_is_one_line(tmp_path: Path, kind: str) -> None:
    folder = _no_folder(kind, tmp_path)
    config = BuildConfig.for_model("fashion_resnet", preset="quick")
    before = everything(tmp_path)
    for attempt in (
        lambda: Workspace.open(folder),
        lambda: run_stages(config, folder, ("calibrate",), QUIET),
        lambda: plan(config, folder),
    ):
        with pytest.raises(UserError) as caught:
            attempt()
        assert str(caught.value).startswith("output ") and "\n" not in str(caught.value)
        assert "-o" in str(caught.value)
    assert everything(tmp_path) == before


def test_of_two_that_start_together_the_loser_is_told_so(tmp_path: Path) -> None:
    for round_ in range(20):
        folder = tmp_path / str(round_)
        together, said = threading.Barrier(2), []

        def start(folder: Path = folder, together: threading.Barrier = together, said: list[object] = said) -> None:
            together.wait()
            try:
                with Workspace.open(folder).locked():
                    said.append("won")
                    together.wait(5)
            except BusyError as error:
                said.append(error)
                together.wait(5)
            except Exception as error:
                said.append(repr(error))
                together.wait(5)

        threads = [threading.Thread(target=start) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert "won" in said or all(isinstance(item, BusyError) for item in said), said
        assert all(item == "won" or isinstance(item, BusyError) for item in said), said


def test_a_folder_in_which_another_build_is_starting_is_busy(tmp_path: Path) -> None:
    first = Workspace.open(tmp_path / "build")
    with first.locked():
        first.path("manifest.json").unlink()  # not written yet
        (first.folder / ".manifest.json.part").write_bytes(b"half")
        with pytest.raises(BusyError, match="another build is writing"):
            Workspace.open(first.folder)
    assert Workspace.open(first.folder).read_manifest().stages == {}


def test_a_file_that_a_user_keeps_as_lock_is_not_emptied(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "build")
    (workspace.folder / ".lock").write_text("mine")
    with pytest.raises(UserError, match="not a lock of genq-export"), workspace.locked():
        pass
    assert (workspace.folder / ".lock").read_text() == "mine"


@pytest.mark.parametrize("code", [28, 13, 30, 122, 5, 27])
@pytest.mark.parametrize("call", ["os.fsync", "os.replace", "pathlib.Path.mkdir", "pathlib.Path.unlink"])
def test_what_the_system_refuses_in_the_middle_is_one_line_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    folder = tmp_path / "folder"
    write_atomic(folder / "a.bin", b"old")

    def refused(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(call, refused)
        with pytest.raises(UserError, match=f"cannot write to .*: {os.strerror(code)}"):
            write_atomic(folder / "a.bin", b"new")
    assert (folder / "a.bin").read_bytes() == b"old"
    assert [path.name for path in folder.iterdir() if not path.name.endswith(".part")] == ["a.bin"]
    write_atomic(folder / "a.bin", b"new")
    assert [path.name for path in folder.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("code", [13, 5, 36])
@pytest.mark.parametrize("call", ["os.scandir", "builtins.open", "pathlib.Path.read_bytes", "pathlib.Path.iterdir"])
def test_what_the_system_refuses_to_read_is_one_line(
    build: Workspace, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(call, refused)
        with pytest.raises(UserError, match=f"cannot read .*: {os.strerror(code)}"):
            Workspace.existing(build.folder).is_fresh("calibrate", "identity")


def test_what_is_refused_while_the_folder_is_held_says_what(build: Workspace) -> None:
    with pytest.raises(UserError, match=r"cannot go on in .*: No such file or directory \(.*gone\)"), build.locked():
        (build.folder / "gone").read_bytes()
    with build.locked():  # and the lock is free again
        pass


@pytest.mark.parametrize("code", [28, 30])
def test_a_disk_that_is_full_after_any_number_of_files_is_one_line_and_the_build_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    config = with_set(make_set(tmp_path / "set"))
    sync, failed = os.fsync, 0
    for number in range(20):
        folder, left = tmp_path / f"{code}-{number}" / "build", [number]

        def full(handle: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(code, os.strerror(code))
            sync(handle)

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            try:
                run_stages(config, folder, ("calibrate",), QUIET)
                break
            except UserError as error:
                assert str(error).startswith("cannot write to ") and os.strerror(code) in str(error)
                failed += 1
        assert not [path for path in folder.rglob("*") if path.name.endswith(".part")]
        run_stages(config, folder, ("calibrate",), QUIET)
        assert kept_images(folder / "calibration")
    assert failed >= 4  # the first manifest, the config, the set's list, its image, the manifest


def test_a_name_as_long_as_the_system_takes_is_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("x" * LONGEST_NAME), b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["x" * LONGEST_NAME]

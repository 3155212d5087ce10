"""The build folder: fresh or not, atomic, locked, and never somebody else's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from genq_export.core.errors import BusyError, UserError
from genq_export.core.manifest import MANIFEST_VERSION
from genq_export.core.workspace import StageResult, Workspace, fingerprint, write_atomic


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    opened = Workspace.open(tmp_path / "build")
    opened.write_bytes("a.bin", b"content")
    opened.record("quantize", "identity", StageResult(["a.bin"], {"images": 3}), 1.5)
    return opened


def test_a_recorded_stage_is_fresh(workspace: Workspace) -> None:
    assert workspace.is_fresh("quantize", "identity")
    assert workspace.summary("quantize") == {"images": 3}


def test_other_inputs_make_it_stale(workspace: Workspace) -> None:
    assert not workspace.is_fresh("quantize", "another")


@pytest.mark.parametrize("damage", [b"", b"content!", None])
def test_a_damaged_or_missing_file_makes_it_stale(workspace: Workspace, damage: bytes | None) -> None:
    path = workspace.path("a.bin")
    path.unlink() if damage is None else path.write_bytes(damage)
    assert not workspace.is_fresh("quantize", "identity")


def test_a_stage_that_has_not_run_is_named(workspace: Workspace) -> None:
    with pytest.raises(UserError, match="export"):
        workspace.output_hashes("export")


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="not a genq-export build"):
        Workspace.open(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holiday.jpg"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("")
    with pytest.raises(UserError, match="is a file"):
        Workspace.open(tmp_path / "build")


def test_another_manifest_version_is_refused(workspace: Workspace) -> None:
    manifest = workspace.read_manifest().model_dump(mode="json") | {"version": MANIFEST_VERSION + 1}
    workspace.write_json("manifest.json", manifest)
    with pytest.raises(UserError, match="version"):
        Workspace.open(workspace.folder)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "not json",
        '{"version": 1, "stages": []}',
        '{"version": 1, "stages": {"export": {}}}',
        "[" * 9999,
    ],
)
def test_a_broken_manifest_is_refused(workspace: Workspace, content: str) -> None:
    workspace.path("manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json"):
        Workspace.open(workspace.folder)


def test_a_second_build_is_kept_out(workspace: Workspace) -> None:
    with workspace.locked(), pytest.raises(BusyError, match="another build"), Workspace(workspace.folder).locked():
        pass
    with workspace.locked():
        pass


def test_the_lock_goes_with_a_killed_process(workspace: Workspace) -> None:
    code = (
        "import os, sys; from pathlib import Path; from genq_export.core.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1])).locked(): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(workspace.folder)], check=False)
    with workspace.locked():
        pass


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_the_manifest_tells_hashes_versions_and_cost(workspace: Workspace) -> None:
    record = json.loads(workspace.path("manifest.json").read_text())["stages"]["quantize"]
    assert record["outputs"]["a.bin"] == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert record["seconds"] == 1.5
    assert record["peak_memory_mib"] > 0
    assert "torch" in record["versions"]


def test_fingerprints_tell_inputs_apart() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint("a", "b") != fingerprint("ab")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "a\0b", "x" * 300, "", "a\\b"])
def test_a_manifest_names_files_of_the_folder_only(workspace: Workspace, name: str) -> None:
    manifest = workspace.read_manifest().model_dump(mode="json")
    manifest["stages"]["quantize"]["outputs"] = {name: "0" * 64}
    workspace.path("manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        workspace.read_manifest()


def test_neither_a_lock_nor_a_temporary_file_follows_a_link(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("theirs")
    workspace.path(".a.bin.part").symlink_to(outside)
    workspace.write_bytes("a.bin", b"new")
    assert outside.read_text() == "theirs" and workspace.path("a.bin").read_bytes() == b"new"
    lock = workspace.path(".lock")
    lock.unlink()
    lock.symlink_to(outside)
    with pytest.raises(UserError, match=r"holds a link, '\.lock'"), workspace.locked():
        pass
    assert outside.read_text() == "theirs"

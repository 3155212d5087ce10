"""Links and special files: none in a build folder or a set, those of the user followed once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from calibrate.sources.existing_set import EXISTING_SET
from genq_export.core.errors import UserError
from genq_export.core.paths import refuse_links, refuse_links_out
from genq_export.core.walk import entries_below
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import kept_images
from genq_export.data.digests import source_digest
from tests.robustness.sets import everything, make_set, with_set

# Links: in a build folder and in a set none, whatever they lead to.

Plant = Callable[[Path, Path], None]


def _file(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "file")


def _folder(place: Path, outside: Path) -> None:
    place.symlink_to(outside, target_is_directory=True)


def _dangling(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "not there")


def _circle(place: Path, outside: Path) -> None:
    place.symlink_to(place)


def _fifo(place: Path, outside: Path) -> None:
    os.mkfifo(place)


@pytest.mark.parametrize("plant", [_file, _folder, _dangling, _circle, _fifo])
@pytest.mark.parametrize(
    "name",
    [
        ".lock", ".report.json.part", "report.json", "model.onnx", "calibration/images/1.png", "partial", "config.yaml",
        "report.html", "calibration/style.safetensors", "anything",
    ],
)  # fmt: skip
def test_a_build_folder_with_links_in_it_is_refused(build: Workspace, tmp_path: Path, name: str, plant: Plant) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("theirs")
    place = build.folder / name
    place.unlink(missing_ok=True)
    plant(place, outside)
    before = everything(tmp_path)
    for use in (Workspace.open, Workspace.existing, lambda folder: Workspace(folder).locked().__enter__()):
        with pytest.raises(UserError, match=r"holds a link, |neither a file nor a folder"):
            use(build.folder)
    assert everything(tmp_path) == before


def test_a_folder_replaced_by_a_link_is_not_written_through(build: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (build.folder / "calibration").rename(outside)
    (build.folder / "calibration").symlink_to(outside)
    before = everything(tmp_path)
    with pytest.raises(UserError, match="holds a link"):
        build.write_bytes("calibration/images/000000.png", b"new")
    with pytest.raises(UserError, match="holds a link"):
        build.is_fresh("calibrate", "identity")
    assert everything(tmp_path) == before


def test_a_build_folder_behind_a_link_of_the_users_is_taken(build: Workspace, tmp_path: Path) -> None:
    link = tmp_path / "mine"
    link.symlink_to(build.folder)
    assert Workspace.existing(link).is_fresh("calibrate", "identity")
    with Workspace.open(link).locked():
        Workspace(link).write_bytes("report.json", b"{}")
    assert (build.folder / "report.json").read_bytes() == b"{}" and link.is_symlink()


@pytest.mark.parametrize("name", ["metadata.jsonl", "images", "images/0.png"])
def test_a_set_with_links_in_it_is_refused(tmp_path: Path, name: str) -> None:
    folder = make_set(tmp_path / "set")
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    (problem,) = EXISTING_SET.problems(with_set(folder), tmp_path)
    assert "holds a link" in problem
    with pytest.raises(UserError, match="holds a link"):
        kept_images(folder)


def test_a_build_whose_set_is_a_link_is_no_source(tmp_path: Path) -> None:
    make_set(tmp_path / "elsewhere")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "calibration").symlink_to(tmp_path / "elsewhere")
    (problem,) = EXISTING_SET.problems(with_set(tmp_path / "build"), tmp_path)
    assert "holds a link, 'calibration'" in problem


def test_the_hubs_cache_may_link_within_a_repository(tmp_path: Path) -> None:
    home = tmp_path / "models--a--b"
    snapshot = home / "snapshots" / "0123"
    (home / "blobs").mkdir(parents=True)
    (snapshot / "unet").mkdir(parents=True)
    (home / "blobs" / "abc").write_text("{}")
    (snapshot / "unet" / "config.json").symlink_to("../../../blobs/abc")
    refuse_links_out(snapshot, home)
    (tmp_path / "secret").write_text("{}")
    (snapshot / "model_index.json").symlink_to("../../../secret")
    with pytest.raises(UserError, match=r"leads out of .*model_index\.json"):
        refuse_links_out(snapshot, home)


def test_a_link_out_is_found_in_a_hidden_folder_too(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "snapshot" / ".hidden").mkdir(parents=True)
    (tmp_path / "secret").write_text("{}")
    (home / "snapshot" / ".hidden" / "config.json").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match=r"leads out of .*config\.json"):
        refuse_links_out(home / "snapshot", home)


def test_links_in_folders_of_images_are_followed_once(tmp_path: Path) -> None:
    shoes = tmp_path / "set" / "shoe"
    shoes.mkdir(parents=True)
    (shoes / "1.png").write_bytes(b"1")
    far = tmp_path / "far"
    far.mkdir()
    (far / "2.png").write_bytes(b"2")
    (tmp_path / "set" / "bag").symlink_to(far)
    (tmp_path / "set" / "again").symlink_to(far)
    (far / "back").symlink_to(tmp_path / "set")
    (shoes / "round").symlink_to(shoes)
    (tmp_path / "set" / "nowhere").symlink_to(tmp_path / "not there")
    found = {str(path.relative_to(tmp_path / "set")): entry for path, entry in entries_below(tmp_path / "set")}
    assert [name for name, entry in found.items() if entry is False] == ["shoe/1.png", "again/2.png"]
    assert {name: entry for name, entry in found.items() if isinstance(entry, str)} == {
        "nowhere": "broken link",
        "bag": "link to a folder read already",
        "shoe/round": "link to a folder read already",
        "again/back": "link to a folder read already",
    }
    before = source_digest(tmp_path / "set")
    (far / "2.png").write_bytes(b"changed")
    assert source_digest(tmp_path / "set") != before


def test_no_link_is_missed_below(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    refuse_links(tmp_path)
    (deep / "x").symlink_to("nowhere")
    with pytest.raises(UserError, match="holds a link, 'a/b/c/x'"):
        refuse_links(tmp_path)

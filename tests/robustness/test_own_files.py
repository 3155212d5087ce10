"""What we did not write stays, and a neighbour gives its set and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from calibrate.image_file import write_image
from calibrate.own_files import OwnFiles, refuse_foreign_images
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import StageResult, Workspace
from genq_export.pipeline.build import run_stages
from tests.robustness.sets import QUIET, everything, make_set, with_set

# What we did not write.


@pytest.mark.parametrize("name", ["holiday.jpg", "000000.png", "000777.png", "notes", "real_000000.png"])
def test_a_users_own_file_among_the_images_stops_the_command_before_anything_changes(tmp_path: Path, name: str) -> None:
    workspace = Workspace.open(tmp_path / "build")
    images = workspace.folder / "calibration" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(images / name, "png")
    before = everything(tmp_path)
    with pytest.raises(UserError, match=f"did not write: {name}"):
        run_stages(BuildConfig.for_model("fashion_resnet", preset="quick"), workspace.folder, ("calibrate",), QUIET)
    assert everything(tmp_path) == before


def test_what_we_wrote_is_known_by_text_by_list_and_by_name(tmp_path: Path) -> None:
    import numpy as np

    workspace = Workspace.open(tmp_path / "build")
    images = workspace.folder / "calibration" / "images"
    make_set(workspace.folder / "calibration", "images/1.png")
    (images / "1.png").write_bytes(b"damaged")
    (images / "2.png").write_bytes(b"listed in the manifest")
    workspace.record("calibrate", "i", StageResult(["calibration/images/2.png"]), 1)
    write_image(images / "3.png", np.zeros((4, 4, 3), np.uint8), {})
    (images / ".4.png.part").write_bytes(b"half")
    (images / ".DS_Store").write_bytes(b"of the system")
    refuse_foreign_images(workspace)
    assert not OwnFiles.of(workspace).hold(images / ".DS_Store")


def test_work_that_is_unfinished_goes_and_what_a_user_keeps_beside_it_stays(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    Workspace.open(folder)
    for name in ("0123456789abcdef/block_000.safetensors", "mine.txt"):
        place = folder / "partial" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    run_stages(with_set(make_set(tmp_path / "set")), folder, ("calibrate",), QUIET)
    assert [path.name for path in (folder / "partial").iterdir()] == ["mine.txt"]


# Neighbours: a build beside this one gives its set, and nothing else.


def neighbour_of(folder: Path, change: Callable[[Workspace, str], None]) -> None:
    """Build a set in a folder beside, and change it."""
    config = with_set(make_set(folder.parent / "set"))
    beside = folder.parent / "beside"
    run_stages(config, beside, ("calibrate",), QUIET)
    workspace = Workspace(beside)
    change(workspace, workspace.finished("calibrate").fingerprint)


def _another_file(workspace: Workspace, identity: str) -> None:
    outputs = ["config.yaml", *workspace.output_hashes("calibrate")]
    workspace.record("calibrate", identity, StageResult(outputs, workspace.summary("calibrate")), 1)


def _damaged_summary(workspace: Workspace, identity: str) -> None:
    workspace.record("calibrate", identity, StageResult(list(workspace.output_hashes("calibrate")), {"no": 1}), 1)


def _linked(workspace: Workspace, identity: str) -> None:
    images = workspace.folder / "calibration" / "images"
    images.rename(workspace.folder / "away")
    images.symlink_to(workspace.folder / "away")


def _damaged_manifest(workspace: Workspace, identity: str) -> None:
    (workspace.folder / "manifest.json").write_text('{"version": 1, "stages": 3}')


def _untouched(workspace: Workspace, identity: str) -> None:
    pass


@pytest.mark.parametrize("change", [_untouched, _another_file, _damaged_summary, _linked, _damaged_manifest])
def test_a_neighbour_gives_its_set_or_is_passed_over(
    tmp_path: Path, change: Callable[[Workspace, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "builds" / "build"
    neighbour_of(folder, change)
    run_stages(with_set(folder.parent / "set"), folder, ("calibrate",), Progress())
    assert ("copied from there" in capsys.readouterr().err) == (change is _untouched)
    config = (folder / "config.yaml").read_text()
    assert "calibration_set" in config and (folder / "calibration" / "images" / "0.png").is_file()

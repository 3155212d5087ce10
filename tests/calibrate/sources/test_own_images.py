"""Calibration on images of one's own: any source of images, upright, labelled where the labels are the network's."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibrate.preflight import identity, problems
from calibrate.run import run
from calibrate.sources.own_images import evenly
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.data.calibration_set import kept_images, read_rows
from genq_export.models.loaded import LoadedModel
from tests.calibrate.conftest import CLASS_NAMES
from tests.data.sets import class_folders, png, shard, write

Make = Callable[..., BuildConfig]
QUIET = Progress(quiet=True)


def data_set(root: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASS_NAMES))})
    rows = {"image": [{"bytes": png(n, k), "path": None} for n in range(3) for k in range(4)]}
    datasets.Dataset.from_dict({**rows, "label": [n for n in range(3) for _ in range(4)]}, features).save_to_disk(root)
    return root


SOURCES: dict[str, Callable[[Path], Path]] = {
    "folders": lambda root: class_folders(root, CLASS_NAMES, each=4),
    "a tar file": lambda root: shard(
        root / "a.tar", [(f"{CLASS_NAMES[n]}/{k}.png", png(n, k)) for n in range(3) for k in range(4)]
    ),
    "a data set": data_set,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_images_are_the_set(tmp_path: Path, make_config: Make, convnet: LoadedModel, kind: str) -> None:
    config = make_config(calibration_set=SOURCES[kind](tmp_path / "own"), images=100)
    assert problems(config) == []
    result = run(Workspace.open(tmp_path / "build"), config, convnet, QUIET)
    folder = tmp_path / "build" / "calibration"
    rows = read_rows(folder)
    assert len(rows) == 12 == result.summary["kept"] and len(result.outputs) == 13
    for row in rows:
        red = np.asarray(Image.open(folder / row.file_name))[0, 0, 0]
        assert row.label == red // 20 and row.class_name == CLASS_NAMES[row.label]
    assert [count["kept"] for count in result.summary["classes"]] == [4, 4, 4]


def test_no_more_than_asked_for_and_evenly(tmp_path: Path, make_config: Make, convnet: LoadedModel) -> None:
    config = make_config(calibration_set=SOURCES["folders"](tmp_path / "own"), images=6)
    run(Workspace.open(tmp_path / "build"), config, convnet, QUIET)
    rows = read_rows(tmp_path / "build" / "calibration")
    assert len(rows) == 6 and {row.label for row in rows} == {0, 1, 2}
    assert evenly(3, 10) == [0, 1, 2] and evenly(100, 3) == [0, 50, 99]


def test_files_stay_as_they_are_unless_they_must_be_turned(
    tmp_path: Path, make_config: Make, convnet: LoadedModel
) -> None:
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    exif = Image.Exif()
    exif[274] = 6
    content = {}
    for name, more in (("a.jpg", {}), ("b.jpg", {"exif": exif})):
        out = io.BytesIO()
        Image.fromarray(pixels[:4]).save(out, "jpeg", **more)
        content[name] = out.getvalue()
        write(tmp_path / "own" / name, content[name])
    run(Workspace.open(tmp_path / "build"), make_config(calibration_set=tmp_path / "own"), convnet, QUIET)
    plain, turned = kept_images(tmp_path / "build" / "calibration")
    assert plain.read_bytes() == content["a.jpg"]
    expected = np.rot90(np.asarray(Image.open(io.BytesIO(content["b.jpg"]))), -1)
    assert np.array_equal(np.asarray(Image.open(turned)), expected)


def test_labels_of_another_world_are_left_out(tmp_path: Path, make_config: Make, convnet: LoadedModel) -> None:
    config = make_config(calibration_set=class_folders(tmp_path / "own", ["2019", "holidays"], each=2))
    run(Workspace.open(tmp_path / "build"), config, convnet, QUIET)
    assert [row.label for row in read_rows(tmp_path / "build" / "calibration")] == [None] * 4


def test_a_conflict_is_said_before_anything_starts(tmp_path: Path, make_config: Make) -> None:
    class_folders(tmp_path, CLASS_NAMES)
    shard(tmp_path / "a.tar", [("1.png", png(1))])
    (problem,) = problems(make_config(calibration_set=tmp_path))
    assert "'a.tar' beside the folder" in problem


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path, make_config: Make, convnet: LoadedModel) -> None:
    write(tmp_path / "own" / "a.png", png(1)[:50])
    with pytest.raises(UserError, match=r"cannot read image .*a\.png"):
        run(Workspace.open(tmp_path / "build"), make_config(calibration_set=tmp_path / "own"), convnet, QUIET)


def test_its_identity_is_that_of_the_images_and_of_the_rules(tmp_path: Path) -> None:
    own = class_folders(tmp_path / "own", CLASS_NAMES, each=2)

    def config(images: int = 9, labels: str | None = None) -> BuildConfig:
        return BuildConfig.for_model("fashion_resnet", calibration_set=own, images=images, labels=labels)

    before = identity(config())
    assert identity(config()) == before
    assert len({before, identity(config(images=8)), identity(config(labels="index0"))}) == 3
    (own / "bag" / "1-0.png").write_bytes(png(1, 9))
    assert identity(config()) != before

"""Images in: folders of any mode and size, labels from folder names, and clear words for broken files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genq_export import zoo
from genq_export.config.model import ModelConfig
from genq_export.core.errors import UserError
from genq_export.data.decode import read_image
from genq_export.data.evaluation import load_images
from genq_export.data.raw import Reading
from genq_export.data.reader import read_images
from genq_export.models.loaded import LoadedModel
from genq_export.models.source import evaluation_set, load_model


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(ModelConfig(name="fashion_resnet"))


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "RGB"), ("a.png", "L"), ("a.png", "RGBA"), ("a.png", "I;16"), ("a.jpg", "CMYK"), ("a.gif", "P")],
)
def test_every_mode_becomes_rgb(tmp_path: Path, name: str, mode: str) -> None:
    assert read_image(picture(tmp_path / name, mode)).mode == "RGB"


def test_mixed_sizes_become_one_batch(tmp_path: Path, model: LoadedModel) -> None:
    paths = [picture(tmp_path / f"{size}.png", size=(size, 20)) for size in (20, 32, 99)]
    assert load_images(paths, model).shape == (3, 3, 32, 32)


def test_sixteen_bits_keep_their_brightness(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16)).save(path)
    assert read_image(path).getpixel((0, 0)) == (128, 128, 128)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", size=(400, 300))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"a\.png"):
        read_image(path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images"):
        read_images(tmp_path, None, Reading())


def test_a_partly_corrupt_folder_is_counted(tmp_path: Path, model: LoadedModel) -> None:
    picture(tmp_path / "dress" / "a.png")
    (tmp_path / "dress" / "b.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"1 of 2 images.*b\.png"):
        evaluation_set(model, tmp_path)


@pytest.mark.parametrize(
    ("names", "reading", "labels"), [(("dress", "bag"), None, [8, 3]), (("3", "8"), Reading(labels="index0"), [3, 8])]
)
def test_labels_come_from_class_names_or_numbers(
    tmp_path: Path, model: LoadedModel, names: tuple[str, ...], reading: Reading | None, labels: list[int]
) -> None:
    for name in names:
        picture(tmp_path / name / "a.png")
    found = evaluation_set(model, tmp_path, reading)
    assert found is not None and found.labels is not None
    assert found.labels.tolist() == labels


def test_folders_that_are_no_classes_are_refused(tmp_path: Path, model: LoadedModel) -> None:
    picture(tmp_path / "zebra" / "a.png")
    with pytest.raises(UserError, match=r"fits no class of fashion_resnet: folder 'zebra'"):
        evaluation_set(model, tmp_path)


def test_a_flat_folder_has_no_labels(tmp_path: Path, model: LoadedModel) -> None:
    picture(tmp_path / "a.png")
    found = evaluation_set(model, tmp_path)
    assert found is not None and found.labels is None


def test_zoo_networks_bring_their_test_set(model: LoadedModel) -> None:
    found = evaluation_set(model, None)
    assert found is not None and len(found) == len(zoo.test_set()[1]) == 10000
    assert next(iter(found.batches(model, 7))).shape == (7, 3, 32, 32)

"""Boxes in COCO's form come to lie where the network sees their objects; what does not fit is one clear line."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from genq_export.core.errors import UserError
from genq_export.data.coco import annotation_file, check_boxes, read_boxes
from genq_export.data.evaluation import EvaluationSet
from genq_export.data.raw import Reading
from genq_export.data.truth import Boxes
from tests.data.scene_network import SceneNetwork

FILE: dict[str, Any] = {
    "info": {"year": 2026},
    "images": [
        {"id": 7, "file_name": "a.png", "width": 64, "height": 32},
        {"id": 3, "file_name": "b.png", "width": 32, "height": 32},
    ],
    "annotations": [
        {"id": 1, "image_id": 3, "category_id": 18, "bbox": [4, 8, 16, 12], "iscrowd": 1, "segmentation": []},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [32, 16, 32, 16.5]},
        {"id": 3, "image_id": 7, "category_id": 18, "bbox": [0, 0, 8, 8], "area": 64},
    ],
    "categories": [{"id": 1, "name": "Cat"}, {"id": 18, "name": "dog"}],
}


def folder(root: Path, content: object = FILE) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    Image.new("RGB", (64, 32)).save(root / "images" / "a.png")
    Image.new("RGB", (32, 32)).save(root / "images" / "b.png")
    (root / "annotations" / "instances.json").write_text(json.dumps(content))
    return root


def read(root: Path, network: SceneNetwork | None = None) -> EvaluationSet:
    file = annotation_file(root)
    assert file is not None
    return read_boxes(root, file, network or SceneNetwork(), Reading())


def test_boxes_are_the_networks_and_classes_go_by_name(tmp_path: Path) -> None:
    found = read(folder(tmp_path))
    assert found.truths is not None and found.account is not None
    first, second = found.truths
    assert isinstance(first, Boxes) and isinstance(second, Boxes)
    assert first.corners.tolist() == [[16, 16, 32, 32], [0, 0, 4, 8]] and first.labels.tolist() == [1, 2]
    assert second.corners.tolist() == [[4, 8, 20, 20]] and second.crowd.tolist() == [True]
    assert "3 boxes" in str(found.account)


def test_a_network_without_names_takes_numbers(tmp_path: Path) -> None:
    content = copy.deepcopy(FILE)
    for row in (*content["annotations"], *content["categories"]):
        key = "category_id" if "category_id" in row else "id"
        row[key] = {1: 1, 18: 2}[row[key]]
    content["categories"].append({"id": 0, "name": "ground"})
    content["annotations"].append({"image_id": 3, "category_id": 0, "bbox": [0, 0, 5, 5]})
    found = read(folder(tmp_path, content), SceneNetwork(class_names=None))
    assert found.truths is not None and isinstance(found.truths[1], Boxes)
    assert sorted(found.truths[1].labels.tolist()) == [0, 2]


def test_images_without_a_line_are_skipped_and_said(tmp_path: Path) -> None:
    root = folder(tmp_path)
    Image.new("RGB", (8, 8)).save(root / "images" / "c.png")
    found = read(root)
    assert len(found) == 2 and found.account is not None
    assert [(item.name, item.reason) for item in found.account.skipped] == [("images/c.png", "not in the annotations")]


def _row(kind: str, place: int, **changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda content: content[kind][place].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("annotations"), r"holds no boxes .*\(annotations: Field required\)"),
        (lambda content: content["annotations"][1].pop("bbox"), r"annotations\.1\.bbox: Field required"),
        (_row("annotations", 0, bbox=[1, 2, float("nan"), 4]), "holds no boxes"),
        (_row("annotations", 0, bbox=[1, 2, 3]), "holds no boxes"),
        (_row("annotations", 0, bbox=[4, 8, -2, 12]), "not left, top, width and height in its image of 32 x 32"),
        (_row("annotations", 0, bbox=[4, 8, 40, 12]), "not left, top, width and height in its image of 32 x 32"),
        (_row("annotations", 0, image_id=99), "is of image 99, which it does not list"),
        (_row("annotations", 0, category_id=5), "is of category 5, which it does not list"),
        (_row("images", 0, file_name="../secret.png"), "is not the name of a file in the folder"),
        (_row("images", 0, file_name="gone.png"), "1 of 2 images that instances.json lists are not in"),
        (_row("images", 0, width=640), "a.png has 64 x 32 pixels, and its boxes are of one of 640 x 32"),
        (_row("images", 0, id=3), "lists the image id 3 twice"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    content = copy.deepcopy(FILE)
    change(content)
    root = folder(tmp_path / "set", content)
    file = annotation_file(root)
    assert file is not None
    with pytest.raises(UserError, match=message) as caught:
        check_boxes(root, file)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=message):
        read(root)


def test_a_category_that_is_no_class_is_named(tmp_path: Path) -> None:
    content = copy.deepcopy(FILE)
    content["categories"][0]["name"] = "teapot"
    with pytest.raises(UserError, match="teapot"):
        read(folder(tmp_path, content))


def test_nested_nonsense_and_two_files_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (root / "annotations" / "instances.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="holds no boxes"):
        read(root)
    (root / "captions.json").write_text("{}")
    with pytest.raises(UserError, match="several files of annotations"):
        annotation_file(root)

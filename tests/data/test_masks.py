"""Masks beside images are read as classes of the network; what does not fit is one clear line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genq_export.core.errors import UserError
from genq_export.data.evaluation import EvaluationSet
from genq_export.data.masks import check_masks, has_masks, read_masks
from genq_export.data.raw import Reading
from genq_export.data.truth import UNJUDGED
from tests.data.scene_network import SceneNetwork

NUMBERS = np.array([[0, 1], [2, 255]], np.uint8).repeat(16, 0).repeat(16, 1)


def palette_mask(numbers: np.ndarray, shift: int = 0) -> Image.Image:
    image = Image.fromarray(numbers, "P")
    image.putpalette([(value + shift) % 256 for value in range(768)])
    return image


def folder(root: Path, save: Callable[[Path], None] | None = None) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (32, 32)).save(root / "images" / f"{name}.png")
        Image.fromarray(NUMBERS).save(root / "masks" / f"{name}.png")
    if save is not None:
        save(root)
    return root


def read(root: Path, **given: object) -> EvaluationSet:
    return read_masks(root, SceneNetwork(), Reading(**given))  # type: ignore[arg-type]


def first(found: EvaluationSet) -> np.ndarray:
    assert found.truths is not None and isinstance(found.truths[0], np.ndarray)
    return found.truths[0]


def test_numbers_are_classes_and_255_says_nothing(tmp_path: Path) -> None:
    root = folder(tmp_path)
    found = read(root)
    assert has_masks(root) and np.array_equal(first(found), NUMBERS)
    assert found.account is not None and found.account.classes == 3


def test_numbers_may_count_from_one_or_have_names(tmp_path: Path) -> None:
    def shifted(root: Path) -> None:
        for name in ("a", "b"):
            palette_mask(np.where(NUMBERS == 255, 0, NUMBERS + 1).astype(np.uint8)).save(root / "masks" / f"{name}.png")

    assert np.array_equal(first(read(folder(tmp_path / "one", shifted), labels="index1")), NUMBERS)
    root = folder(tmp_path / "names")
    (root / "classes.txt").write_text("0 Dog\n1 background\n2 CAT\n")
    assert np.array_equal(first(read(root)), np.array([2, 0, 1, *[UNJUDGED] * 253], np.uint8)[NUMBERS])


def _save(name: str, image: Image.Image) -> Callable[[Path], None]:
    return lambda root: image.save(root / name)


BAD: list[tuple[Callable[[Path], None], str]] = [
    (_save("masks/a.png", Image.new("L", (16, 32))), "a.png has 16 x 32 pixels, and its image a.png has 32 x 32"),
    (_save("masks/a.png", Image.new("RGB", (32, 32))), r"a.png is in colours \(mode RGB\)"),
    (_save("masks/b.png", palette_mask(NUMBERS, 1)), "b.png has another palette than the masks before it"),
    (_save("masks/c.png", Image.new("L", (32, 32))), "2 images and 3 masks, and no image for 'c'"),
    (_save("images/c.png", Image.new("RGB", (32, 32))), "3 images and 2 masks, and no mask for 'c'"),
    (_save("masks/a.jpg", Image.new("L", (32, 32))), "give masks as PNG"),
    (_save("masks/a.bmp", Image.new("L", (32, 32))), "several files of one name but for the suffix"),
    (lambda root: (root / "masks" / "a.png").write_bytes(b"no image"), "cannot read image"),  # type: ignore[arg-type, func-returns-value, return-value]
]


@pytest.mark.parametrize(("save", "message"), BAD)
def test_what_does_not_fit_is_one_line(tmp_path: Path, save: Callable[[Path], None], message: str) -> None:
    root = folder(tmp_path, save)
    for look in (check_masks, read):
        with pytest.raises(UserError, match=message) as caught:
            look(root)
        assert "\n" not in str(caught.value)


def test_a_number_that_is_no_class_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path, _save("masks/b.png", Image.new("L", (32, 32), 28)))
    with pytest.raises(UserError, match="holds the number 28, which is none of the 3 classes of net"):
        read(root)

"""The picture of answers: every cell shows what it should, whatever the task."""

import io
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from genq_export.models.loaded import LoadedModel
from genq_export.tasks.task import task_of
from runtime_tests.verify.answer_sheet import answer_sheet, pictures

Arrays = Mapping[str, NDArray[np.float32]]
CELL, GAP, HEAD = 160, 8, 22
RED = (214, 48, 40)


def network(task: str, **facts: object) -> LoadedModel:
    values: dict[str, object] = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "class_names": ("sky", "cat", "dog")}
    return LoadedModel(
        name="net", module=torch.nn.Identity(), input_size=(3, 16, 16), crop_pct=1.0, interpolation="bilinear",
        classes=3, task=task, **(values | facts),  # type: ignore[arg-type]
    )  # fmt: skip


def cells(content: bytes) -> list[list[NDArray[np.uint8]]]:
    """The cells of a sheet of 16-pixel images, line by line."""
    sheet = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    lines, columns = (sheet.shape[0] - HEAD) // (CELL + GAP), sheet.shape[1] // (CELL + GAP)
    return [
        [sheet[HEAD + line * (CELL + GAP) :, GAP + column * (CELL + GAP) :][:CELL, :CELL] for column in range(columns)]
        for line in range(lines)
    ]


def drawn(task: str, right: Arrays, found: Arrays, images: int = 1) -> list[list[NDArray[np.uint8]]]:
    batch = np.random.default_rng(0).normal(size=(images, 3, 16, 16)).astype(np.float32)
    content = answer_sheet(task_of(task), network(task), batch, right, found)
    assert content is not None
    return cells(content)


def is_red(cell: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((cell == RED).all(-1))


def test_positions_of_another_class_are_red() -> None:
    right = np.zeros((1, 3, 16, 16), np.float32)
    right[:, 1] = 1
    found = right.copy()
    found[:, 2, :4, :8] = 2
    ((_, float_cell, deployed_cell, difference),) = drawn("segmentation", {"m": right}, {"m": found})
    red = is_red(difference)
    assert red[: CELL // 4, : CELL // 2].all() and red.sum() == CELL * CELL // 8
    assert not np.array_equal(float_cell, deployed_cell) and np.array_equal(float_cell[80:], deployed_cell[80:])


def test_a_map_is_grey_and_its_error_is_as_red_as_it_is_large() -> None:
    right = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 1, 16, 16)
    found = right.copy()
    found[0, 0, 0, 0], found[0, 0, 15, 15] = 1.0, 0.5
    ((_, float_cell, _, difference),) = drawn("dense", {"m": right}, {"m": found})
    assert (np.ptp(float_cell, -1) == 0).all() and float_cell[0, 0, 0] == 0 and float_cell[-1, -1, 0] == 255
    assert is_red(difference)[:10, :10].all() and is_red(difference).sum() == 100
    assert not is_red(difference)[-1, -1] and difference[-1, -1, 0] > difference[-1, -1, 1]


def test_boxes_that_have_no_equal_are_red_and_those_that_have_are_not() -> None:
    corners = np.zeros((1, 12, 4), np.float32)
    corners[0, :2] = [[1, 1, 7, 7], [8, 8, 15, 15]]
    scores = np.zeros((1, 12, 3), np.float32)
    scores[0, 0, 1], scores[0, 1, 2] = 0.9, 0.8
    less = scores.copy()
    less[0, 1, 2] = 0.1
    shares = {"boxes": corners / 16, "scores": scores}
    for right, found in (
        ({"boxes": corners, "scores": scores}, {"boxes": corners, "scores": less}),
        (shares, {"boxes": corners / 16, "scores": less}),
    ):
        ((plain, float_cell, deployed_cell, difference),) = drawn("detection", right, found)
        red = is_red(difference)
        assert red[80:150, 80:150].any() and not red[:75, :75].any()
        assert not np.array_equal(float_cell, deployed_cell) and not np.array_equal(plain, deployed_cell)
    same = drawn("detection", shares, shares)
    assert not is_red(same[0][3]).any()


def test_at_most_four_images_are_shown_and_none_of_answers_that_are_no_picture() -> None:
    maps = np.random.default_rng(1).normal(size=(6, 1, 16, 16)).astype(np.float32)
    assert len(drawn("dense", {"m": maps}, {"m": maps}, images=6)) == 4
    logits = {"logits": np.zeros((1, 3), np.float32)}
    batch = np.zeros((1, 3, 16, 16), np.float32)
    assert answer_sheet(task_of("classification"), network("classification"), batch, logits, logits) is None


@pytest.mark.parametrize("layout", ["RGB", "BGR"])
def test_pixels_come_back_as_they_were(layout: str) -> None:
    model = network("dense", layout=layout)
    pixels = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = pictures(model.normalize(pixels).numpy(), model)
    assert np.array_equal(np.stack(seen), pixels.numpy())

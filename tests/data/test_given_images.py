"""Images of a Python program: every form of them is the same picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genq_export.core.errors import UserError
from genq_export.data.given_images import pictures, write_pictures

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
FLOATS = torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255
FORMS = {
    "uint8, channels last": PIXELS,
    "uint8, channels first": PIXELS.transpose(0, 3, 1, 2),
    "floats": FLOATS,
    "float64": FLOATS.double().numpy(),
    "with gradients": FLOATS.clone().requires_grad_(),
    "single images": [*FLOATS],
    "batches with labels, as a DataLoader gives them": [[FLOATS[:3], torch.zeros(3)], [FLOATS[3:], torch.zeros(2)]],
    "pairs": [(pixels, 1) for pixels in PIXELS],
    "Pillow's": (Image.fromarray(pixels) for pixels in PIXELS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_pictures(form: str) -> None:
    found = [np.asarray(picture) for picture in pictures(FORMS[form])]
    assert np.array_equal(found, PIXELS)


def test_grey_and_files(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[0]).save(tmp_path / "a.png")
    grey = PIXELS[..., 0]
    shapes = [np.asarray(picture).shape for picture in pictures([tmp_path / "a.png", grey[0], grey[0][None]])]
    assert shapes == [(8, 6, 3), (8, 6), (8, 6)]


def test_at_most_so_many_are_written_and_no_more_are_asked_for(tmp_path: Path) -> None:
    def endless() -> Any:
        yield from PIXELS[:3]
        raise AssertionError("not needed")

    assert write_pictures(endless(), tmp_path / "a", 3) == 3
    assert [path.name for path in sorted((tmp_path / "a").iterdir())] == ["000000.png", "000001.png", "000002.png"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a" / "000001.png")), PIXELS[1])


REFUSED = {
    "one image": (FLOATS[0], r"images of shape \(3, 8, 6\): images are a folder, an array"),
    "no images": (7, "images are int: "),
    "normalized": (FLOATS * 4 - 2, r"image 0 goes from -2 to 1\.9\d+: .*images \* std \+ mean"),
    "figures up to 255": (FLOATS * 255, "divide figures for 0 to 255 by 255"),
    "not a number": (FLOATS * np.nan, "goes from nan to nan"),
    "integers": (PIXELS.astype(np.int64), r"image 0 is int64 of shape \(8, 6, 3\)"),
    "either layout": (PIXELS[:, :3], r"shape \(3, 6, 3\) may have its channels first or last"),
    "two channels": (PIXELS[..., :2], r"shape \(8, 6, 2\) has neither 1 nor 3 channels"),
    "rows of a data set": ([{"image": PIXELS[0]}], "image 0 is dict: "),
    "five axes": ([PIXELS[None]], r"image 0 is of shape \(1, 5, 8, 6, 3\)"),
    "none at all": ([], "images hold none: "),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_picture_is_refused_by_name(what: str, tmp_path: Path) -> None:
    images, message = REFUSED[what]
    with pytest.raises(UserError, match=message):
        write_pictures(images, tmp_path / "a", 10)  # type: ignore[arg-type]

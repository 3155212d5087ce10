"""Where a preprocessing puts pixels is found out exactly, whatever it scales, cuts or pads."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision import transforms

from genq_export.core.errors import UserError
from genq_export.data.placing import Placing, placing_of
from genq_export.data.truth import UNJUDGED


@pytest.mark.parametrize(
    ("size", "steps", "scale", "shift"),
    [
        ((80, 80), [], (1, 1), (0, 0)),
        ((160, 160), [transforms.Resize(80)], (0.5, 0.5), (0, 0)),
        ((640, 480), [transforms.Resize(256), transforms.CenterCrop(224)], (341 / 640, 256 / 480), (-58, -16)),
        ((100, 40), [transforms.Resize((64, 64))], (0.64, 1.6), (0, 0)),
        ((64, 32), [transforms.Pad((0, 16))], (1, 1), (0, 16)),
    ],
)
def test_scale_and_shift_are_found(
    size: tuple[int, int], steps: list[object], scale: tuple[float, float], shift: tuple[float, float]
) -> None:
    transform = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize((0.4,) * 3, (0.2,) * 3)])
    found = placing_of(transform, *size, "net")
    assert found.scale == pytest.approx(scale, abs=1e-6)
    assert found.shift == pytest.approx(shift, abs=1e-6)


def test_boxes_and_masks_go_where_their_pixels_go() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 30:50] = 3
    transform = transforms.Compose([transforms.Resize(80), transforms.CenterCrop((80, 100)), transforms.ToTensor()])
    placing = placing_of(transform, 60, 40, "net")
    seen = (transform(Image.fromarray(mask * 80).convert("RGB"))[0] > 0.5).numpy()
    placed = placing.mask(mask)
    assert placed.shape == (80, 100) and ((placed == 3) == seen).mean() > 0.99
    rows, columns = np.nonzero(placed == 3)
    (box,) = placing.boxes(np.array([[30.0, 10.0, 50.0, 20.0]]))
    assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_padding_is_judged_by_nothing() -> None:
    placed = Placing((1, 1), (0, 2), (8, 4)).mask(np.ones((4, 4), np.uint8))
    assert (placed[:2] == UNJUDGED).all() and (placed[6:] == UNJUDGED).all() and (placed[2:6] == 1).all()


def test_what_does_more_is_refused() -> None:
    def mirrored(picture: Image.Image) -> torch.Tensor:
        return transforms.ToTensor()(ImageOps.mirror(picture))  # type: ignore[no-any-return]

    with pytest.raises(UserError, match="net does more than scale, cut and pad"):
        placing_of(mirrored, 60, 40, "net")

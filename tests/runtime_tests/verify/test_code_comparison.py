"""Which image a differing code belongs to, for layouts in which the first axis is not the image."""

import numpy as np
import pytest

from genq_export.network.onnx_graph import QuantizerNode
from runtime_tests.verify.code_comparison import CodeComparison

IMAGES = 4
LOGITS = {"logits": np.zeros((IMAGES, 5), np.float32)}
NODES = (
    QuantizerNode("first", "first/codes", "uint8", (), (), ()),
    QuantizerNode("second", "second/codes", "uint8", ("first",), (), ()),
)


@pytest.mark.parametrize(
    ("shape", "place", "differing_images"),
    [
        ((IMAGES, 8, 3, 3), (2, 0, 0, 0), 1),
        ((IMAGES * 9, 16, 8), (9, 0, 0), 1),  # windows: the second image's first
        ((7, IMAGES, 8), (0, 1, 0), IMAGES),  # sequence first: no code says whose it is
        ((8, IMAGES, 8), (0, 1, 0), IMAGES),  # the same, where the length fits too
        ((1, 16, 8), (0, 0, 0), IMAGES),  # one for all images
        ((), (), IMAGES),
    ],
)
def test_an_own_difference_is_told_from_an_inherited_one(
    shape: tuple[int, ...], place: tuple[int, ...], differing_images: int
) -> None:
    codes = np.zeros(shape, np.int32)
    other = codes.copy()
    other[place] = 1
    comparison = CodeComparison("runtime", "oracle", NODES)
    comparison.add((LOGITS, {"first": codes, "second": codes}), (LOGITS, {"first": other, "second": other}))
    first, second = comparison.result().quantizers
    assert (first.own, first.images_differing) == (1, differing_images)
    assert (second.own, second.inherited, second.clean_images) == (0, 1, IMAGES - differing_images)

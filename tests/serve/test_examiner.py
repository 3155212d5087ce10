"""Images are fresh, and what a device computes otherwise is told with its first quantizer."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genq_export.serve.examiner import fresh_pixels
from tests.export.check.damage import Damage, flip_weight, remove_clip
from tests.serve.conftest import Serve
from tests.serve.device import Device


@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32))
def test_fresh_images_keep_shape_and_range_and_depend_on_the_draw_alone(
    count: int, channels: int, height: int, width: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(100, 110, (count, channels, height, width), np.uint8)
    first, second = (fresh_pixels(pixels, np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == pixels.shape and first.dtype == np.uint8
    assert (first == second).all()
    assert first.min() >= 97 and first.max() <= 112


def test_no_two_draws_are_alike() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), np.uint8)
    drawn = [fresh_pixels(pixels, np.random.default_rng(seed)) for seed in range(20)]
    digests = {hashlib.sha256(image.tobytes()).hexdigest() for images in drawn for image in images}
    assert len(digests) == 160


@pytest.mark.parametrize("damage", [flip_weight, remove_clip])
def test_a_device_that_computes_another_file_is_told_by_its_first_quantizer(
    serve: Serve, build: Path, web: Path, damage: Damage
) -> None:
    server, links = serve(build, web)
    model = onnx.load(build / "model.onnx")
    name = damage(model)
    status, result = Device(server, links[-1]).enter().check(model.SerializeToString())
    assert status == 200
    assert result["verdict"] != "same codes" and result["quantizers_unlike"]
    assert result["first_unlike"] == name

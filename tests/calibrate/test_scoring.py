"""Scoring streams: what it holds does not grow with the pool."""

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensor

from calibrate.scoring import score
from genq_export.config.calibrate import CalibrateConfig
from genq_export.models.loaded import LoadedModel
from tests.calibrate.conftest import loaded, seeded_convnet


def transformer() -> LoadedModel:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    return loaded(VisionTransformer(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, num_classes=3))


def tensor_bytes() -> int:
    """Memory of every tensor that is alive, each storage counted once.

    Not of tensors without memory, which tracing leaves behind: they all have the address 0, and the last one found
    would stand for them all.
    """
    storages = {
        part.untyped_storage().data_ptr(): part.untyped_storage().nbytes()
        for part in gc.get_objects()
        if isinstance(part, torch.Tensor)
        and not isinstance(part, FakeTensor)  # has no memory; other tests leave some behind
        and part.untyped_storage().data_ptr() != 0
    }
    return sum(storages.values())


@pytest.mark.parametrize("make", [seeded_convnet, transformer])
def test_a_pool_of_any_size_is_scored_in_the_same_memory(make: Callable[[], LoadedModel], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    model = make()
    peaks = []

    def watch(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        peaks.append(tensor_bytes())

    model.module.register_forward_hook(watch)
    paths = [tmp_path / "one.png"] * 320
    found = list(score(model, paths, CalibrateConfig(), "cpu", group=32, batch=8))  # type: ignore[call-arg]
    assert len(found) == 320 and len(peaks) == 40
    passes = 4  # of one group
    assert max(peaks[passes:]) <= max(peaks[:passes]) + 1024

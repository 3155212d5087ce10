"""Real images to quantize with."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

from genq_export import zoo
from genq_export.config.model import ModelConfig
from genq_export.models.source import load_model


@dataclass(frozen=True)
class Photographs:
    """64 of the zoo's images as files, and 16 of them as the embedded network takes them."""

    files: list[Path]
    batch: torch.Tensor


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    folder = tmp_path_factory.mktemp("images")
    pixels = zoo.few_shot_set()[0][:64]
    files = [folder / f"{number:03d}.png" for number in range(len(pixels))]
    for path, image in zip(files, pixels, strict=True):
        Image.fromarray(image).save(path)
    model = load_model(ModelConfig(name="fashion_resnet"))  # type: ignore[call-arg]
    return Photographs(files, model.normalize(torch.from_numpy(pixels[:16])))

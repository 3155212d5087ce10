"""Quantization on another device: the graph computes there, images stay on the CPU, the outcome is the CPU's."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from genq_export.network.files import load_reference
from genq_export.quantize import stage
from genq_export.zoo import few_shot_set


def quantized_on(device: str, folder: Path) -> dict[str, float]:
    """Quantize fashion_resnet on a device, a little of all that the stage can do; its errors by block."""
    settings = ["quantize.iterations=4", "quantize.batch_size=8"]
    config = BuildConfig.for_model(
        "fashion_resnet", preset="quick", qat_epochs=1, sensitivity=True, device=device, settings=settings
    )
    model, images = load_model(config.model), []
    folder.mkdir()
    for number, pixels in enumerate(few_shot_set()[0][:24]):
        images.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(images[-1])
    done = stage.run(Workspace(folder), config, model, images, folder / "partial", Progress(quiet=True))
    assert all(part.device.type == "cpu" for part in model.module.state_dict().values())
    return {name: error["after"] for name, error in done.summary["blocks"].items()}


@pytest.mark.slow
def test_a_graph_that_was_moved_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """`cpu:0` is a device like any other to the stage, and the CPU all the same."""
    assert quantized_on("cpu:0", tmp_path / "moved") == quantized_on("cpu", tmp_path / "here")
    first, second = ((tmp_path / name / "reference.safetensors").read_bytes() for name in ("moved", "here"))
    assert first == second


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_gpu_ends_where_the_cpu_does(tmp_path: Path) -> None:
    here, there = (quantized_on(device, tmp_path / device) for device in ("cpu", "cuda"))
    assert there == pytest.approx(here, rel=0.1)
    reference, other = load_reference(tmp_path / "cpu"), load_reference(tmp_path / "cuda")
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (reference(images).argmax(1) == other(images).argmax(1)).float().mean() > 0.9

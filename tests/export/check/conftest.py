"""A small build with its check folder."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from export.run import run as run_export
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from genq_export.quantization.run import run as run_quantize

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module", params=["onnxruntime", "tensorrt"])
def pristine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zoo's ResNet at 4 bits, ranges alone."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("check")
    images = []
    for number, pixels in enumerate(zoo.few_shot_set()[0][:12]):
        images.append(home / f"{number}.png")
        Image.fromarray(pixels).save(images[-1])
    config = BuildConfig.for_model(
        "fashion_resnet", bits=4, preset="quick", target=request.param, settings=["quantize.methods=[]"]
    )
    model = load_model(config.model)
    workspace = Workspace.open(home / "build")
    run_quantize(workspace, config, model, images, home / "partial", QUIET)
    run_export(workspace, config, model, QUIET, images)
    return workspace.folder


@pytest.fixture
def build(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "build"))

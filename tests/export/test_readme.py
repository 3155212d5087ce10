"""A build folder as `quantize` and `export` leave it: its README.md runs as it stands there, its scales are settled."""

import re
import subprocess
import sys
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
from genq_export.network.files import load_reference
from genq_export.quantization.rounding_ties import avoid_ties
from genq_export.quantization.run import run as run_quantize


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fashion_resnet W4A4 for ONNX Runtime, ranges on 64 images."""
    images = tmp_path_factory.mktemp("images")
    paths = [images / f"{number:03d}.png" for number in range(64)]
    for path, pixels in zip(paths, zoo.few_shot_set()[0], strict=False):
        Image.fromarray(pixels).save(path)
    config = BuildConfig.for_model("fashion_resnet", bits=4, preset="quick")
    model = load_model(config.model)
    workspace = Workspace.open(tmp_path_factory.mktemp("build") / "resnet")
    quiet = Progress(quiet=True)
    run_quantize(workspace, config, model, paths, workspace.folder / "partial", quiet)
    run_export(workspace, config, model, quiet)
    return workspace.folder


def test_five_lines_run_the_file_in_the_build_folder(folder: Path) -> None:
    """In a python of its own that knows neither this package nor any setting."""
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1 and len(blocks[0].splitlines()) == 5
    command = [sys.executable, "-I", "-c", blocks[0]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\[\(1, 10\)\]\n", done.stdout)


def test_the_saved_reference_keeps_clear_of_borders(folder: Path) -> None:
    reference = load_reference(folder)
    saved = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    assert avoid_ties(reference) == 0
    assert all(torch.equal(tensor, saved[name]) for name, tensor in reference.state_dict().items())

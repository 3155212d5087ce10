"""A build folder as `quantize` and `export` leave it: its README.md runs as it stands there, its scales are settled."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from export.readme import build_readme
from export.stage import run as run_export
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from genq_export.network.files import load_reference
from genq_export.quantize.rounding_ties import avoid_ties
from genq_export.quantize.stage import run as run_quantize


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
    assert re.fullmatch(r"\[\d\]\n", done.stdout)


def test_no_name_breaks_the_page() -> None:
    config = BuildConfig.for_model("fashion_resnet", bits=4, preset="quick")
    model = replace(load_model(config.model), name="a|b\n# Built by nobody\n```<b>[x](y)\x1b[31m", std=(0.5, 0.25, 0.5))
    facts = {"opset": 21, "ir_version": 10, "bytes": 12345, "weight_storage": "int8"}
    lines = build_readme(config, model, facts, "Run it with `|`.").splitlines()
    escaped = r"a\|b \# Built by nobody \`\`\`\<b\>\[x\](y) \[31m"
    assert lines[0] == f"# {escaped}, W4A4 for onnxruntime"
    assert f"| network | {escaped}, 10 classes |" in lines
    assert [line for line in lines if line.startswith("#")] == [lines[0], "## Run it"]
    assert "minus 0.5, over (0.5, 0.25, 0.5);" in "\n".join(lines) and "12,345 bytes" in "\n".join(lines)
    assert "Run it with `|`." in lines


def test_the_saved_reference_keeps_clear_of_borders(folder: Path) -> None:
    reference = load_reference(folder)
    saved = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    assert avoid_ties(reference) == 0
    assert all(torch.equal(tensor, saved[name]) for name, tensor in reference.state_dict().items())

"""Packages in Optimum and transformers.js, each in an environment of its own: equal tensors give equal outputs.

The environments are made here, which takes minutes, or named:
OPTIMUM_PYTHON=…/bin/python, TRANSFORMERS_JS=…/node_modules
"""

import argparse
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hub_libraries.compare import rows
from genq_export import BuildConfig, build
from tests.environments import own_python

SMALL = ("calibrate.images=12", "verify.latency_runs=10", "verify.fidelity_images=4", "verify.latency_batches=[1]")


def segformer(folder: Path) -> str:
    """Random weights, and a processor that knows segmentation."""
    import transformers

    sizes = {"hidden_sizes": [16, 16, 32, 32], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}
    labels = {number: f"part{number}" for number in range(5)}
    settings = transformers.SegformerConfig(**sizes, decoder_hidden_size=32, num_labels=5, id2label=labels)
    transformers.SegformerForSemanticSegmentation(settings).save_pretrained(folder)
    transformers.SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return str(folder)


def dinov2(folder: Path) -> str:
    """Random weights; the class token is the embedding."""
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    transformers.Dinov2Model(transformers.Dinov2Config(**sizes, mlp_ratio=2)).save_pretrained(folder)
    size, crop = {"shortest_edge": 64}, {"height": 56, "width": 56}
    transformers.BitImageProcessor(size=size, crop_size=crop).save_pretrained(folder)
    return str(folder)


NETWORKS = {"fashion_resnet": lambda _: "fashion_resnet", "segformer": segformer, "dinov2": dinov2}


@pytest.fixture(scope="module", params=NETWORKS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    name = NETWORKS[request.param](folder / request.param)
    source = {} if name == "fashion_resnet" else {"generator": "leaves"}
    config = BuildConfig.for_model(name, bits=8, preset="quick", settings=SMALL, **source)
    build(config, folder / "build")
    return folder / "build"


@pytest.fixture(scope="module")
def optimum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "OPTIMUM_PYTHON" in os.environ:
        return Path(os.environ["OPTIMUM_PYTHON"])
    import torch

    wanted = [
        f"torch=={torch.__version__.partition('+')[0]}",
        "optimum-onnx[onnxruntime]",
        "transformers<4.58",
        "pillow",
    ]
    return own_python(tmp_path_factory.mktemp("optimum"), *wanted)


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "TRANSFORMERS_JS" in os.environ:
        return Path(os.environ["TRANSFORMERS_JS"])
    if shutil.which("npm") is None:
        pytest.skip("no npm")
    place = tmp_path_factory.mktemp("node")
    # Its install script fetches GPU libraries from elsewhere; the CPU's are in the package.
    command = ["npm", "install", "--silent", "--ignore-scripts", "@huggingface/transformers", "onnxruntime-node"]
    subprocess.run(command, cwd=place, check=True)
    return place / "node_modules"


def compared(built: Path, **libraries: Any) -> Any:
    given = {"optimum_python": None, "node_modules": None, "model_type": None, "photographs": None, "images": 8}
    (row,) = rows(built, argparse.Namespace(**(given | libraries)))
    return row


@pytest.mark.slow
def test_optimum_gives_equal_outputs_and_its_pipeline_answers(built: Path, optimum: Path) -> None:
    row = compared(built, optimum_python=optimum)
    assert row.equal == row.images and row.piped == 1 and row.preprocessing_db > 60


@pytest.mark.slow
def test_transformers_js_gives_equal_outputs_and_its_pipeline_answers(built: Path, modules: Path) -> None:
    """The zoo's type is timm's wrapper, which its pipeline of classifiers does not know."""
    row = compared(built, node_modules=modules)
    assert row.equal == row.images
    if row.network == "fashion_resnet":
        assert row.piped is None and "timm_wrapper" in row.refused
        row = compared(built, node_modules=modules, model_type="resnet")
    assert row.piped is not None and row.piped > 0.99

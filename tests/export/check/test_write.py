"""The check is made of the images as the network takes them, whatever their size and its channels."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from export.check.write import write_check
from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export.config.build import BuildConfig
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for


@pytest.mark.parametrize(("channels", "layout"), [(1, "RGB"), (3, "BGR")])
def test_images_come_through_the_networks_own_preprocessing(tmp_path: Path, channels: int, layout: str) -> None:
    torch.manual_seed(0)
    size = (channels, 16, 12)
    net = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    model = LoadedModel(
        "net", net.eval(), size, (0.5,) * channels, (0.25,) * channels, 1.0, "bilinear", None, 3, layout=layout
    )  # type: ignore[arg-type]
    config = BuildConfig.for_model("fashion_resnet", bits=8, settings=["export.check_images=2"])
    network, _ = prepare(net, size, config.quantize, rule_for("onnxruntime"))
    calibrate_ranges(network, [torch.randn(2, *size)])
    integer = fold(network)
    workspace = Workspace.open(tmp_path / "build")
    export_onnx(integer, size, rule_for("onnxruntime"), workspace.path("model.onnx"), int4_storage=False)
    colours = np.random.default_rng(0).integers(0, 256, (3, 40, 30, 3), np.uint8)
    images = [tmp_path / f"{number}.png" for number in range(3)]
    for path, pixels in zip(images, colours, strict=True):
        Image.fromarray(pixels).save(path)
    write_check(workspace, config, model, integer, images)
    result = tmp_path / "result.json"
    program = workspace.path("check", "check.py")
    subprocess.run([sys.executable, program, "--runs", "0", "--output", result], check=True, capture_output=True)
    found = json.loads(result.read_text())
    assert found["verdict"] == "same codes" and found["images"] == 2, "as many as were asked for"

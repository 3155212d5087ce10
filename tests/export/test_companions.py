"""Files beside model.onnx give what it gives: from pixels, and in ONNX Runtime's own format."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import genq_export
from export.from_pixels import from_pixels, output_grids
from export.run import run as run_export
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model
from genq_export.quantization.run import run as run_quantize
from genq_export.runtimes.onnxruntime import plain_options, sums_saturate
from genq_export.targets import target

QUIET = Progress(quiet=True)


def built(folder: Path, name: str, bits: int, settings: list[str]) -> Path:
    config = BuildConfig.for_model(name, bits=bits, preset="quick", settings=settings)
    paths = [folder / f"{number:02d}.png" for number in range(16)]
    for path, pixels in zip(paths, zoo.few_shot_set()[0], strict=False):
        Image.fromarray(pixels).save(path)
    model, workspace = load_model(config.model), Workspace.open(folder / "build")
    run_quantize(workspace, config, model, paths, folder / "partial", QUIET)
    workspace.record("export", "fingerprint", run_export(workspace, config, model, QUIET, paths), 0)
    return workspace.folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = ["export.input=uint8-nhwc", "export.ort_file=true"]
    return built(tmp_path_factory.mktemp("build"), "fashion_mobilenet", 4, settings)


def test_pixels_give_the_very_outputs_of_their_preprocessing(folder: Path) -> None:
    run = genq_export.load(folder)
    pixels = zoo.test_set()[0][:32]
    numbers = load_model(BuildConfig.for_model("fashion_mobilenet").model).normalize(torch.from_numpy(pixels)).numpy()
    assert np.array_equal(run(pixels), run(numbers))
    with pytest.raises(UserError, match="failed on a batch of shape"):
        run(np.ascontiguousarray(pixels[:, :8]))


def test_its_layers_compute_in_integers(folder: Path) -> None:
    audit = target("onnxruntime").audit(folder / "model.uint8.onnx")
    assert audit and all(layer.integer for layer in audit)


def test_the_check_and_the_readme_know_of_it(folder: Path) -> None:
    subprocess.run([sys.executable, folder / "check" / "check.py", "--runs", "0"], check=True, capture_output=True)
    assert re.search(r"`pixels` is uint8,\s\[N, H, W, C\]", (folder / "README.md").read_text())


PROGRAM = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
np.save(sys.argv[3], session.run(None, {"input": np.load(sys.argv[2])})[0])
"""


def test_the_ort_file_gives_the_same_in_a_python_that_knows_nothing_of_this_package(folder: Path) -> None:
    images = np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
    channels = genq_export.load(folder)
    images = images[:, : load_model(BuildConfig.for_model("fashion_mobilenet").model).input_size[0]]
    np.save(folder.parent / "images.npy", images)
    command = [sys.executable, "-I", "-c", PROGRAM, folder / "model.ort", "images.npy", "found.npy"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder.parent)
    if sums_saturate():  # no option changes that in this format
        plain = onnxruntime.InferenceSession(folder / "model.onnx", plain_options(1))
        expected = plain.run(None, {plain.get_inputs()[0].name: images})[0]
    else:
        expected = channels(images)
    assert np.array_equal(np.load(folder.parent / "found.npy"), expected)


def test_outputs_are_codes_where_they_are_asked_for(tmp_path: Path) -> None:
    settings = ["export.input=uint8", "quantize.output_codes=true"]
    folder = built(tmp_path, "fashion_mobilenet", 8, settings)
    run = genq_export.load(folder)
    pixels = zoo.test_set()[0][:32]
    numbers = load_model(BuildConfig.for_model("fashion_mobilenet").model).normalize(torch.from_numpy(pixels)).numpy()
    codes = run(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    ((scale, zero),) = output_grids(onnx.load(folder / "model.onnx")).values()
    assert codes.dtype == np.uint8 and len(np.unique(codes)) > 20
    assert np.array_equal((codes.astype(np.float32) - np.float32(zero)) * np.float32(scale), run(numbers))
    assert re.search(rf"`logits` is \(code - {zero}\)", (folder / "README.md").read_text())
    subprocess.run([sys.executable, folder / "check" / "check.py", "--runs", "0"], check=True, capture_output=True)
    report = json.loads((folder / "check" / "golden.json").read_text())
    assert report["quantizers"][-1]["shape"] == [1, 10], "its codes are compared like any other"


def test_pixels_without_a_file_for_them_are_refused_in_a_line(folder: Path, tmp_path: Path) -> None:
    run = genq_export.load(built(tmp_path, "fashion_mobilenet", 4, []))
    with pytest.raises(UserError, match=r"no file for uint8 pixels: build it with --input uint8, or"):
        run(zoo.test_set()[0][:1])
    assert not (tmp_path / "build" / "model.uint8.onnx").exists()


@pytest.mark.parametrize("setting", ["export.input=uint8", "export.ort_file=true"])
def test_they_are_for_onnx_runtime_alone(setting: str) -> None:
    settings = BuildConfig.for_model("fashion_resnet", settings=[setting]).export
    assert any("for ONNX Runtime: leave it out" in line for line in target("tensorrt").problems(settings))
    assert target("onnxruntime").problems(settings) == []


def network(*readers: onnx.NodeProto, scale: float = 1 / 255) -> onnx.ModelProto:
    """float32 [N, 3, 4, 4] -> a quantizer and what else reads the input."""
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["y"]),
        *readers,
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, 4, 4])
        for name in ("y", *(node.output[0] for node in readers))
    ]
    constants = [numpy_helper.from_array(np.float32(scale), "scale"), numpy_helper.from_array(np.uint8(0), "zero")]
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 4, 4])
    graph = helper.make_graph(nodes, "graph", [source], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


LEVELS = np.arange(256, dtype=np.float32)
TABLES = {
    "the grid of pixels": (np.tile(LEVELS / np.float32(255), (3, 1)), ["Identity"]),
    "one table": (np.tile(LEVELS / np.float32(300), (3, 1)), ["Cast", "Gather"]),
    "a table a channel": (
        np.stack([LEVELS / (255 + step) - np.float32(0.1) for step in range(3)]),
        ["Cast", "Add", "Gather"],
    ),
}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("case", TABLES)
def test_every_pixel_of_every_channel_has_its_code(case: str, channels_last: bool) -> None:
    import onnxruntime

    table, operators = TABLES[case]
    before = network(helper.make_node("Neg", ["input"], ["negative"]))
    after = from_pixels(before, table.astype(np.float32), channels_last)
    kinds = [node.op_type for node in after.graph.node]
    assert kinds[channels_last:][: len(operators)] == operators and "QuantizeLinear" not in kinds
    pixels = np.arange(256, dtype=np.uint8).reshape(-1, 1, 4, 4).repeat(3, 1)
    numbers = np.stack([table.astype(np.float32)[channel][pixels[:, channel]] for channel in range(3)], 1)
    given = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)) if channels_last else pixels
    feeds = ({"input": numbers}, {"pixels": given})
    one, other = (
        onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)
        for model, feed in zip((before, after), feeds, strict=True)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

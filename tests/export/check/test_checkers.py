"""The programs of the check folder: they pass on the file that was built, and name what is wrong with any other."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from genq_export.config.build import BuildConfig
from genq_export.core.workspace import Workspace
from genq_export.models.source import load_model


def run_check(build: Path) -> tuple[int, dict[str, object], str]:
    """Run `check.py` as a person does; exit code, result, and what was said on the error stream."""
    result = build / "result.json"
    command = [sys.executable, build / "check" / "check.py", "--runs", "3", "--output", result]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(result.read_text()) if result.is_file() else {}, done.stderr


def test_the_file_that_was_built_has_the_same_codes(build: Path) -> None:
    code, result, _ = run_check(build)
    assert code == 0
    assert result["verdict"] == "same codes"
    assert result["outputs_equal"] or result["outputs_largest_gap"] < 1e-3  # type: ignore[operator]
    assert result["note"] == ""
    assert sum(path.stat().st_size for path in (build / "check").iterdir()) < 1_000_000


def flip_weight(model: onnx.ModelProto) -> str:
    """One code of the second quantized convolution moves by 7; returns a part of the name of what must differ."""
    weights = [t for t in model.graph.initializer if len(t.dims) == 4 and t.data_type in (onnx.TensorProto.INT8, 22)]
    tensor = weights[1]
    if tensor.data_type == onnx.TensorProto.INT8:
        codes = numpy_helper.to_array(tensor).copy()
        codes.flat[4] = 7 if codes.flat[4] <= 0 else -7
        tensor.CopyFrom(numpy_helper.from_array(codes, tensor.name))
    else:
        raw = bytearray(tensor.raw_data)
        raw[2] ^= 0x44
        tensor.raw_data = bytes(raw)
    return ""


def remove_clip(model: onnx.ModelProto) -> str:
    """A Clip in front of or behind a quantizer is bypassed."""
    clip = [node for node in model.graph.node if node.op_type == "Clip"][2]
    if clip.output[0].endswith("/codes"):
        source = next(node for node in model.graph.node if clip.input[0] in node.output)
        source.output[0] = clip.output[0]
        name = clip.output[0].removesuffix("/codes")
    else:
        reader = next(node for node in model.graph.node if clip.output[0] in node.input)
        reader.input[0] = clip.input[0]
        name = reader.output[0].removesuffix("/codes")
    model.graph.node.remove(clip)
    return name


@pytest.mark.parametrize("damage", [flip_weight, remove_clip])
def test_a_changed_file_is_told_with_the_first_quantizer(build: Path, damage: Callable[[onnx.ModelProto], str]) -> None:
    model = onnx.load(build / "model.onnx")
    name = damage(model)
    onnx.save(model, build / "model.onnx")
    code, result, _ = run_check(build)
    assert code == 1 or result["verdict"] == "same within its tolerance"
    assert result["quantizers_unlike"]
    assert name in str(result["first_unlike"])
    assert result["note"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda check: cut(check / "golden.bin"),
        lambda check: cut(check / "golden.json"),
        lambda check: (check / "golden.bin").write_bytes(np.zeros(10, np.uint8).tobytes()),
        lambda check: (check / "probes.bin").unlink(),
    ],
)
def test_golden_data_that_is_not_whole_is_told(build: Path, spoil: Callable[[Path], object]) -> None:
    spoil(build / "check")
    code, result, said = run_check(build)
    assert code == 1 and not result
    assert "copy the whole check folder again" in said
    assert "Traceback" not in said


def test_no_room_no_check(tmp_path: Path, pristine: Path) -> None:
    config = BuildConfig.for_model("fashion_resnet", bits=4, preset="quick", settings=["export.check_size=0"])
    build = Path(shutil.copytree(pristine, tmp_path / "without", ignore=shutil.ignore_patterns("check")))
    from export.check.write import write_check
    from genq_export.network.files import load_integer_model

    model = load_model(config.model)
    assert write_check(Workspace.existing(build), config, model, load_integer_model(build), []) == []
    assert not (build / "check").exists()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [None, flip_weight, remove_clip])
def test_node_says_the_same(build: Path, damage: Callable[[onnx.ModelProto], str] | None) -> None:
    """Needs `npm install onnxruntime-node` in the current folder or above it."""
    found = shutil.which("node") and subprocess.run(["node", "-e", "require('onnxruntime-node')"], capture_output=True)
    if not found or found.returncode:
        pytest.skip("node or its package onnxruntime-node is not installed")
    if damage is not None:
        model = onnx.load(build / "model.onnx")
        damage(model)
        onnx.save(model, build / "model.onnx")
    _, expected, _ = run_check(build)
    result = build / "node.json"
    subprocess.run(["node", build / "check" / "check.mjs", "--runs", "1", "--output", result], capture_output=True)
    told = json.loads(result.read_text())
    for name in ("verdict", "quantizers_unlike", "first_unlike", "first_unlike_codes", "first_unlike_by"):
        assert told[name] == expected[name]

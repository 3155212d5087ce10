"""`genq_export.load`: which runtime it takes, and which files and engines it refuses, each with the reason."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from genq_export import load
from genq_export.core.errors import UserError
from genq_export.core.workspace import StageResult, Workspace
from genq_export.runtimes.engine_file import check_fits, read_engine_facts, versions_that_run
from tests.runtimes.stand_ins import Engine, stand_in_modules

SIZE = (3, 4, 4)


def tiny_onnx(opset: int = 21) -> bytes:
    """input [N, 3, 4, 4] -> logits [N, 2]: means of channels times a constant."""
    weight = numpy_helper.from_array(np.array([[1, 0], [0, 1], [1, 1]], np.float32), "w")
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [weight, axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return bytes(model.SerializeToString())


def write_build(folder: Path, content: bytes) -> Path:
    workspace = Workspace.open(folder)
    workspace.write_bytes("model.onnx", content)
    workspace.record("export", "fingerprint", StageResult(["model.onnx"]), 1.0)
    return folder


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build folder with an ONNX file and an engine of fifty bytes that no GPU can run."""
    folder = write_build(tmp_path / "build", tiny_onnx())
    write_engine(folder)
    return folder


def write_engine(folder: Path, plan: bytes = b"fifty bytes " * 4, **changed: Any) -> None:
    (folder / "model.engine").write_bytes(plan)
    facts = {
        "builder": "tensorrt_rtx",
        "version": "1.7.1.116",
        "compute_capabilities": ["SM86", "SM89"],
        "engine_sha256": hashlib.sha256(plan).hexdigest(),
        "onnx_sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        "batches": {"min": 1, "opt": 2, "max": 4},
        **changed,
    }
    (folder / "engine.json").write_text(json.dumps(facts))


IMAGES = np.arange(2 * 48, dtype=np.float32).reshape(2, *SIZE)
EXPECTED = np.stack([IMAGES.mean((2, 3)) @ np.array([[1, 0], [0, 1], [1, 1]], np.float32)])[0]


@pytest.mark.parametrize("runtime", [None, "onnxruntime", "openvino"])
def test_every_runtime_gives_the_same_logits(build: Path, runtime: Any) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    assert np.allclose(load(build, threads=1, runtime=runtime)(IMAGES), EXPECTED)


def test_a_model_of_a_later_opset_than_the_runtime_knows_is_refused(tmp_path: Path) -> None:
    folder = write_build(tmp_path / "build", tiny_onnx(opset=99))
    with pytest.raises(UserError, match=r"build: ONNX Runtime [\d.]+ does not load model\.onnx: .*[Oo]pset 99"):
        load(folder)


def test_a_changed_onnx_file_is_refused(build: Path) -> None:
    (build / "model.onnx").write_bytes(tiny_onnx() + b"\x00")
    with pytest.raises(UserError, match="not the file that this build exported"):
        load(build)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "model.engine").unlink(), r"has no model\.engine"),
        (lambda folder: (folder / "model.engine").write_bytes(b"other bytes"), "is corrupt"),
        (lambda folder: (folder / "engine.json").unlink(), "does not describe an engine"),
        (lambda folder: (folder / "engine.json").write_text("{"), "does not describe an engine"),
        (lambda folder: (folder / "engine.json").write_text("[]"), "does not describe an engine"),
        (lambda folder: write_engine(folder, onnx_sha256="0" * 64), "was not built from"),
    ],
)
def test_an_engine_that_is_not_that_of_the_model_is_refused(build: Path, spoil: Any, reason: str) -> None:
    spoil(build)
    for read in (read_engine_facts, lambda folder: load(folder, runtime="tensorrt")):
        with pytest.raises(UserError, match=reason):
            read(build)


@pytest.mark.parametrize(
    ("module", "version", "capability", "reason"),
    [
        ("tensorrt_rtx", "1.7.1.116", "SM90", "built for SM86, SM89, and this GPU is SM90"),
        ("tensorrt_rtx", "1.8.0", "SM86", r"built by TensorRT-RTX 1\.7\.1\.116, this machine has 1\.8\.0"),
        ("tensorrt", "11.0.0", "SM86", r"built by TensorRT-RTX 1\.7\.1\.116, and TensorRT 11\.0\.0 is installed here"),
    ],
)
def test_an_engine_for_another_gpu_or_version_is_refused_with_the_reason(
    build: Path, module: str, version: str, capability: str, reason: str
) -> None:
    facts = read_engine_facts(build)
    check_fits(facts, "tensorrt_rtx", "1.7.1.116", "SM89")
    with pytest.raises(UserError, match=reason):
        check_fits(facts, module, version, capability)


def test_compatible_engines_run_on_later_versions_and_gpus(build: Path) -> None:
    write_engine(build, builder="tensorrt", version="10.1", version_compatible=True, hardware_compatible=True)
    facts = read_engine_facts(build)
    check_fits(facts, "tensorrt", "11.0", "SM90")
    with pytest.raises(UserError, match="this GPU is SM75"):
        check_fits(facts, "tensorrt", "11.0", "SM75")
    for version in ("10.0.1", "9.9", "12.0"):
        with pytest.raises(UserError, match=f"this machine has {version}: build it again"):
            check_fits(facts, "tensorrt", version, "SM90")


@pytest.mark.parametrize(
    ("builder", "version", "compatible", "newest"),
    [
        ("tensorrt", "11.4.1", False, "11.4.1"),
        ("tensorrt", "11.4.1", True, "11.*"),
        ("tensorrt", "10.3.0", True, "11.*"),
        ("tensorrt_rtx", "1.7.1.116", True, "1.7.1.116"),
    ],
)
def test_the_versions_that_run_an_engine(builder: str, version: str, compatible: bool, newest: str) -> None:
    assert versions_that_run(builder, version, compatible) == {"oldest": version, "newest": newest}


def test_an_engine_without_a_gpu_says_so(build: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="needs an NVIDIA GPU"):
        load(build, runtime="tensorrt")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with TensorRT 11 and one SM86; tensors stay where they are."""
    trt, gpu_torch = stand_in_modules(capability=(8, 6), largest=4)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setitem(sys.modules, "torch", gpu_torch)


@pytest.mark.usefixtures("gpu")
def test_a_build_with_an_engine_runs_it_in_pieces_that_it_takes(build: Path) -> None:
    write_engine(build, builder="tensorrt", version="11.0")
    many = np.repeat(IMAGES, 5, axis=0)
    assert np.array_equal(load(build)(many), np.full((10, 3), Engine.answer))


@pytest.mark.usefixtures("gpu")
def test_an_engine_for_another_gpu_is_refused_on_loading_the_build(build: Path) -> None:
    write_engine(build, builder="tensorrt", version="11.0", compute_capabilities=["SM120"])
    with pytest.raises(UserError, match="built for SM120, and this GPU is SM86"):
        load(build)


def test_a_runtime_that_is_not_known_or_images_that_do_not_fit_are_one_line(build: Path) -> None:
    with pytest.raises(UserError, match="runtime 'tvm' is not known: give one of onnxruntime, "):
        load(build, runtime="tvm")
    with pytest.raises(UserError, match=r"ONNX Runtime [\d.]+ failed on a batch of shape \(1, 3, 4\): .*"):
        load(build)(np.zeros((1, 3, 4), np.float32))

"""Latency and size of the deployed file: against what it is timed, and what is said where it is not."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from genq_export.config.build import BuildConfig
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.runtimes.onnxruntime import ONNXRUNTIME
from runtime_tests.verify import speed
from runtime_tests.verify.float_baseline import export_float
from runtime_tests.verify.speed import measure_speed

QUIET = Progress(quiet=True)


def test_float_baseline_of_a_gpu_is_half_precision(model: LoadedModel, tmp_path: Path) -> None:
    export_float(model, tmp_path / "half.onnx", half=True)
    graph = onnx.load(tmp_path / "half.onnx").graph
    kinds = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) > 1 and tensor.dims[0] > 8}
    assert kinds == {onnx.TensorProto.FLOAT16}
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = model.module(images).numpy()
    found = ONNXRUNTIME.open(tmp_path / "half.onnx", 1).outputs(images.numpy())["logits"]
    assert found.dtype == np.float32 and np.abs(found - expected).max() < 0.05
    assert next(model.module.parameters()).dtype == torch.float32, "the network itself is left as it is"
    trt = pytest.importorskip("tensorrt_rtx")
    from export.engine import build_engine

    assert len(build_engine(tmp_path / "half.onnx", model.input_size, trt.__name__).plan) > 1000


class Asked:
    """Stands for the timing process and for those that measure memory: keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def measure(self, request: dict[str, Any], *_: object) -> dict[str, Any]:
        self.requests.append(request)
        times = {"float": 2.0, "deployed": 1.0, "deployed again": 1.01}
        row = {"batch": 1, "threads": 1, "runs": 10, "p90_ms": 1, "p99_ms": 1, "images_per_second": 1}
        return {
            "rows": [
                row | {"runtime": item["runtime"], "variant": item["variant"], "median_ms": times[item["variant"]]}
                for item in request["sessions"]
            ]
        }

    def sessions(self) -> list[tuple[str, str, str]]:
        (request,) = self.requests
        return [(item["runtime"], item["variant"], Path(item["path"]).name) for item in request["sessions"]]


class Memory:
    """A process with one session."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def outputs(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        return batch

    def peak_memory_mib(self) -> float:
        return 12.0

    def load_ms(self) -> float:
        return 3.5

    def close(self) -> None:
        pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    stand_in = Asked()
    monkeypatch.setattr(speed, "measure", stand_in.measure)
    monkeypatch.setattr(speed, "IsolatedBackend", Memory)
    monkeypatch.setattr(speed.float_baseline, "export_float", lambda _, path, half=False: path.write_bytes(b"graph"))
    monkeypatch.setattr(speed, "read_clocks", lambda: "SM 1755 of 1980 MHz, memory 2619 MHz, 41 °C")
    return stand_in


def test_a_target_on_a_gpu_is_timed_there(
    asked: Asked, pristine_build: Path, config: BuildConfig, model: LoadedModel
) -> None:
    changed = config.model_copy(update={"target": "tensorrt"})
    found = measure_speed(Workspace.existing(pristine_build), changed, model, ("oracle", "tensorrt"), QUIET)
    assert found.notes == () and found.size is not None and found.latency is not None
    assert asked.sessions() == [
        ("tensorrt", "float", "half.onnx"),
        ("tensorrt", "deployed", "model.onnx"),
        ("tensorrt", "deployed again", "model.onnx"),
    ]
    latency = found.latency
    assert (latency.speedup, latency.significant, latency.deployed_memory_mib) == (2.0, True, 12.0)
    assert (latency.float_load_ms, latency.deployed_load_ms) == (3.5, 3.5)
    assert latency.clocks is not None and latency.clocks.endswith("none was set")


def test_a_target_on_the_cpu_is_timed_beside_every_runtime_that_users_may_choose(
    asked: Asked, pristine_build: Path, config: BuildConfig, model: LoadedModel
) -> None:
    found = measure_speed(Workspace.existing(pristine_build), config, model, (), QUIET)
    assert found.latency is not None and found.latency.clocks is None
    assert [item[:2] for item in asked.sessions()] == [
        ("onnxruntime", "float"), ("onnxruntime", "deployed"), ("onnxruntime", "deployed again"),
        ("openvino", "float"), ("openvino", "deployed"),
    ]  # fmt: skip
    assert asked.sessions()[0][2] == "float.onnx"


def test_where_the_target_does_not_run_nothing_is_timed(
    asked: Asked, pristine_build: Path, config: BuildConfig, model: LoadedModel
) -> None:
    changed = config.model_copy(update={"target": "tensorrt"})
    found = measure_speed(Workspace.existing(pristine_build), changed, model, ("onnxruntime-unfused",), QUIET)
    assert found.latency is None and found.size is not None and asked.requests == []
    assert found.notes == (
        "latency was not measured on the target: this machine has no GPU that TensorRT runs on; ONNX Runtime computes"
        " the TensorRT file in float and only checks its numbers",
    )


def test_a_build_without_its_file_is_not_timed(
    asked: Asked, tmp_path: Path, config: BuildConfig, model: LoadedModel
) -> None:
    found = measure_speed(Workspace.open(tmp_path / "build"), config, model, (), QUIET)
    assert (found.latency, found.size) == (None, None) and "no model.onnx" in found.notes[0]

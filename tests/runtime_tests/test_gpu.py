"""What runs on a GPU, as far as a machine without one can tell: real code over stand-ins for CUDA and TensorRT."""

import hashlib
import json
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genq_export.core.errors import BackendError
from genq_export.core.progress import Progress
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.names import codes_tensor
from genq_export.runtimes import gpu_timing, tensorrt
from runtime_tests.verify import latency, speed
from runtime_tests.verify.results import LatencyRow


class Event:
    """A CUDA event whose time is a counter that calls advance."""

    now = 0.0

    def __init__(self) -> None:
        self.at: float | None = None
        self.waited = False

    def record(self) -> None:
        self.at = Event.now

    def synchronize(self) -> None:
        self.waited = True

    def elapsed_time(self, other: "Event") -> float:
        assert self.at is not None and other.at is not None and other.waited
        return other.at - self.at


def test_events_time_each_call_in_turn() -> None:
    def spend(milliseconds: float) -> None:
        Event.now += milliseconds

    watch = gpu_timing.EventStopwatch(lambda: (Event(), Event()))
    times = latency.time_in_turns([lambda: spend(0.25), lambda: spend(2)], 3, watch)
    assert times.tolist() == [[0.25, 2]] * 3


def test_clocks_are_read_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert gpu_timing.describe_clocks("1755, 1980, 2619, 41\n") == "SM 1755 of 1980 MHz, memory 2619 MHz, 41 °C"
    assert gpu_timing.describe_clocks("[N/A], 1980, 2619, 41") is None
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "$@" > ' + str(tmp_path / "asked") + "\necho '1755, 1980, 2619, 41'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpu_timing.read_clocks() == "SM 1755 of 1980 MHz, memory 2619 MHz, 41 °C"
    assert "--query-gpu" in (tmp_path / "asked").read_text(), "asks, and sets nothing"
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert gpu_timing.read_clocks() is None


class Engine:
    """One float input, float logits of three classes and int8 codes; computes the mean of its input."""

    names = ("input", "logits", codes_tensor("act"))
    num_io_tensors = 3

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "input" else "out"

    def get_tensor_dtype(self, name: str) -> str:
        return "int8" if name.endswith("codes") else "float"

    def create_execution_context(self) -> "Context":
        return Context()


class Context:
    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.calls = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        assert shape[0] <= 64, "beyond the engine's profile"
        self.shape = shape

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.shape[0], 3)

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        self.calls += 1
        assert self.addresses.keys() == set(Engine.names)
        for name, kind in (("logits", np.float32), (codes_tensor("act"), np.int8)):
            size = int(np.prod(self.get_tensor_shape(name)))
            view = (np.ctypeslib.ctypes.c_char * (size * np.dtype(kind).itemsize)).from_address(self.addresses[name])
            np.frombuffer(view, kind)[:] = 7
        return True


def fakes(
    monkeypatch: pytest.MonkeyPatch,
    capturable: bool = True,
    deserialize: Callable[[bytes], Any] = lambda _: Engine(),
) -> None:
    """TensorRT and CUDA as the backend meets them: tensors stay on the CPU, a captured graph repeats what it saw."""

    class Stream:
        cuda_stream = 0

        def synchronize(self) -> None:
            pass

    class Nothing:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __enter__(self) -> None:
            if not capturable and self.__class__.__name__ == "Capture":
                raise RuntimeError("operation not permitted when stream is capturing")

        def __exit__(self, *_: object) -> None:
            pass

    class Graph:
        replays = 0

        def replay(self) -> None:
            Graph.replays += 1

    capture = type("Capture", (Nothing,), {})
    cuda = types.SimpleNamespace(
        get_device_name=lambda _: "a GPU", get_device_capability=lambda _: (9, 0), mem_get_info=lambda: (1000, 2000),
        current_stream=Stream, Stream=Stream,
        stream=Nothing, graph=capture, CUDAGraph=Graph,
    )  # fmt: skip
    fake_torch = types.SimpleNamespace(
        cuda=cuda, float32=torch.float32, int8=torch.int8, float16=torch.float16,
        from_numpy=lambda array: types.SimpleNamespace(cuda=lambda: torch.from_numpy(array)),
        empty=lambda shape, dtype, device: torch.empty(shape, dtype=dtype),
    )  # fmt: skip
    trt = types.SimpleNamespace(
        __name__="tensorrt", __version__="11.0", Logger=type("Logger", (), {"ERROR": 0, "__init__": lambda *_: None}),
        Runtime=lambda _: types.SimpleNamespace(deserialize_cuda_engine=deserialize),
        DataType=types.SimpleNamespace(FLOAT="float", INT8="int8", HALF="half"),
        TensorIOMode=types.SimpleNamespace(INPUT="in"),
    )  # fmt: skip
    monkeypatch.setattr(tensorrt, "_import", lambda: trt)
    monkeypatch.setattr(tensorrt, "_cuda", lambda: fake_torch)


@pytest.fixture
def engine_file(tmp_path: Path) -> Path:
    """`model.onnx` of a folder whose engine fits the stand-ins: TensorRT 11.0 on an SM90."""
    write_engine(tmp_path)
    return tmp_path / "model.onnx"


def write_engine(folder: Path, **changed: Any) -> None:
    """An ONNX file, the engine built from it, and `engine.json`."""
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "model.engine").write_bytes(b"plan")
    facts = {
        "builder": "tensorrt",
        "version": "11.0",
        "compute_capabilities": ["SM90"],
        "batches": {"min": 1, "opt": 8, "max": 64},
        "onnx_sha256": hashlib.sha256(b"graph").hexdigest(),
        "engine_sha256": hashlib.sha256(b"plan").hexdigest(),
    }
    (folder / "engine.json").write_text(json.dumps(facts | changed))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"compute_capabilities": ["SM86", "SM89"]}, "built for SM86, SM89, and this GPU is SM90"),
        ({"version": "10.9"}, "built by TensorRT 10.9, this machine has 11.0"),
        ({"builder": "tensorrt_rtx", "version": "1.7"}, "built by TensorRT-RTX 1.7, and TensorRT 11.0 is installed"),
        ({"engine_sha256": "0" * 64}, "model.engine is corrupt"),
    ],
)
def test_an_engine_that_does_not_belong_here_never_reaches_tensorrt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    seen: list[bytes] = []
    fakes(monkeypatch, deserialize=seen.append)
    write_engine(tmp_path, **changed)
    with pytest.raises(BackendError, match=reason) as caught:
        tensorrt.TensorRtBackend(tmp_path / "model.onnx")
    assert "\n" not in str(caught.value) and seen == []


def test_an_engine_that_tensorrt_does_not_load_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch, engine_file: Path
) -> None:
    fakes(monkeypatch, deserialize=lambda _: None)
    with pytest.raises(BackendError, match=r"TensorRT 11\.0 does not load model\.engine on a GPU"):
        tensorrt.TensorRtBackend(engine_file)


def test_an_engine_takes_any_number_of_images(monkeypatch: pytest.MonkeyPatch, engine_file: Path) -> None:
    fakes(monkeypatch)
    backend = tensorrt.TensorRtBackend(engine_file)
    assert (backend.title, backend.device) == ("TensorRT 11.0", "a GPU")
    assert backend.logits(np.zeros((130, 3, 4, 4), np.float32)).shape == (130, 3)
    assert (backend.logits(np.zeros((2, 3, 4, 4), np.float32)) == 7).all()


@pytest.mark.parametrize("capturable", [True, False])
def test_a_call_replays_a_graph_or_enqueues(
    monkeypatch: pytest.MonkeyPatch, engine_file: Path, capturable: bool
) -> None:
    fakes(monkeypatch, capturable)
    backend = tensorrt.TensorRtBackend(engine_file)
    call, captured = backend.captured(np.zeros((2, 3, 4, 4), np.float32))
    assert captured == capturable
    before = backend._context.calls
    call()
    assert backend._context.calls == before + (not capturable)


def test_sessions_on_a_gpu_are_timed_by_events(monkeypatch: pytest.MonkeyPatch, engine_file: Path) -> None:
    fakes(monkeypatch)
    monkeypatch.setattr(gpu_timing, "_cuda_events", lambda: (Event(), Event()))
    monkeypatch.setattr(latency, "warm_up", lambda *_: 0)
    monkeypatch.setattr(Event, "elapsed_time", lambda *_: 0.5)
    names = ("float", "deployed", "deployed again")
    sessions = [{"runtime": "tensorrt", "variant": name, "path": str(engine_file)} for name in names]
    rows = latency.time_sessions(sessions, [3, 4, 4], [1, 8], [1], 10, 0.01)
    assert [(row["batch"], row["variant"], row["cuda_graph"], row["median_ms"]) for row in rows] == [
        (batch, name, True, 0.5) for batch in (1, 8) for name in names
    ]
    result = latency.summarise(tuple(LatencyRow.model_validate(row) for row in rows), "tensorrt")
    assert not result.significant
    assert "FP16 engine of the same graph" in result.method and "CUDA graph" in result.method
    assert "thread" not in result.method


def test_float_baseline_of_a_gpu_is_half_precision(model: LoadedModel, tmp_path: Path) -> None:
    import onnx

    from genq_export.runtimes.backends import OnnxRuntimeBackend
    from runtime_tests.verify.float_baseline import export_float

    export_float(model, tmp_path / "half.onnx", half=True)
    graph = onnx.load(tmp_path / "half.onnx").graph
    kinds = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) > 1 and tensor.dims[0] > 8}
    assert kinds == {onnx.TensorProto.FLOAT16}
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = model.module(images).numpy()
    found = OnnxRuntimeBackend(tmp_path / "half.onnx", threads=1).logits(images.numpy())
    assert found.dtype == np.float32 and np.abs(found - expected).max() < 0.05
    assert next(model.module.parameters()).dtype == torch.float32, "the network itself is left as it is"
    trt = pytest.importorskip("tensorrt_rtx")
    from export.engine import build_engine

    assert len(build_engine(tmp_path / "half.onnx", model.input_size, trt.__name__).plan) > 1000


def test_a_target_on_a_gpu_is_timed_there(
    monkeypatch: pytest.MonkeyPatch, pristine_build: Path, config: Any, model: LoadedModel
) -> None:
    asked = []

    def measure(request: dict[str, Any], *_: object) -> dict[str, Any]:
        asked.append(request)
        row = {
            "runtime": "tensorrt",
            "batch": 1,
            "threads": 1,
            "runs": 10,
            "p90_ms": 1,
            "p99_ms": 1,
            "cuda_graph": True,
        }
        times = {"float": 2.0, "deployed": 1.0, "deployed again": 1.01}
        return {
            "rows": [{**row, "variant": name, "median_ms": ms, "images_per_second": 1} for name, ms in times.items()]
        }

    monkeypatch.setattr(speed, "measure", measure)
    monkeypatch.setattr(speed, "_peak_memory", lambda *_: 12.0)
    monkeypatch.setattr(speed.floats, "export_float", lambda _, path, half=False: path.write_bytes(b"graph"))
    monkeypatch.setattr(speed, "read_clocks", lambda: "SM 1755 of 1980 MHz, memory 2619 MHz, 41 °C")
    notes: list[str] = []
    changed = config.model_copy(update={"target": "tensorrt"})
    timed, size = speed.speed_and_size(
        Workspace.existing(pristine_build), changed, model, True, Progress(quiet=True), notes
    )
    assert notes == [] and size is not None and timed is not None
    assert [session["variant"] for session in asked[0]["sessions"]] == ["float", "deployed", "deployed again"]
    assert asked[0]["sessions"][0]["path"].endswith("half.onnx")
    assert (timed.speedup, timed.significant, timed.deployed_memory_mib) == (2.0, True, 12.0)
    assert timed.clocks is not None and timed.clocks.endswith("none was set")

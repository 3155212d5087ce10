"""What runs on a GPU, as far as a machine without one can tell: real code over stand-ins for CUDA and TensorRT."""

import hashlib
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genq_export.models import LoadedModel
from genq_export.workspace import Workspace
from runtime_tests import gpu_check, gpu_latency, latency, speed, tensorrt_backend
from runtime_tests.errors import BackendError
from runtime_tests.gpu_check import Row
from runtime_tests.gpu_generation import Shape, images_per_second
from runtime_tests.results import LatencyRow, VerifyFile


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

    watch = gpu_latency.EventStopwatch(lambda: (Event(), Event()))
    times = latency.time_in_turns([lambda: spend(0.25), lambda: spend(2)], 3, watch)
    assert times.tolist() == [[0.25, 2]] * 3


def test_clocks_are_read_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert gpu_latency.describe_clocks("1755, 1980, 2619, 41\n") == "SM 1755 of 1980 MHz, memory 2619 MHz, 41 °C"
    assert gpu_latency.describe_clocks("[N/A], 1980, 2619, 41") is None
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "$@" > ' + str(tmp_path / "asked") + "\necho '1755, 1980, 2619, 41'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpu_latency.read_clocks() == "SM 1755 of 1980 MHz, memory 2619 MHz, 41 °C"
    assert "--query-gpu" in (tmp_path / "asked").read_text(), "asks, and sets nothing"
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert gpu_latency.read_clocks() is None


class Engine:
    """One float input, float logits of three classes and int8 codes; computes the mean of its input."""

    names = ("input", "logits", "act/codes")
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
        for name, kind in (("logits", np.float32), ("act/codes", np.int8)):
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
    monkeypatch.setattr(tensorrt_backend, "_import", lambda: trt)
    monkeypatch.setattr(tensorrt_backend, "_cuda", lambda: fake_torch)


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
        tensorrt_backend.TensorRtBackend(tmp_path / "model.onnx")
    assert "\n" not in str(caught.value) and seen == []


def test_an_engine_that_tensorrt_does_not_load_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch, engine_file: Path
) -> None:
    fakes(monkeypatch, deserialize=lambda _: None)
    with pytest.raises(BackendError, match=r"TensorRT 11\.0 does not load model\.engine on a GPU"):
        tensorrt_backend.TensorRtBackend(engine_file)


def test_an_engine_takes_any_number_of_images(monkeypatch: pytest.MonkeyPatch, engine_file: Path) -> None:
    fakes(monkeypatch)
    backend = tensorrt_backend.TensorRtBackend(engine_file)
    assert (backend.title, backend.device) == ("TensorRT 11.0", "a GPU")
    assert backend.logits(np.zeros((130, 3, 4, 4), np.float32)).shape == (130, 3)
    assert (backend.logits(np.zeros((2, 3, 4, 4), np.float32)) == 7).all()


@pytest.mark.parametrize("capturable", [True, False])
def test_a_call_replays_a_graph_or_enqueues(
    monkeypatch: pytest.MonkeyPatch, engine_file: Path, capturable: bool
) -> None:
    fakes(monkeypatch, capturable)
    backend = tensorrt_backend.TensorRtBackend(engine_file)
    call, captured = backend.captured(np.zeros((2, 3, 4, 4), np.float32))
    assert captured == capturable
    before = backend._context.calls
    call()
    assert backend._context.calls == before + (not capturable)


def test_sessions_on_a_gpu_are_timed_by_events(monkeypatch: pytest.MonkeyPatch, engine_file: Path) -> None:
    fakes(monkeypatch)
    monkeypatch.setattr(gpu_latency, "_cuda_events", lambda: (Event(), Event()))
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

    from runtime_tests.backends import OnnxRuntimeBackend
    from runtime_tests.floats import export_float

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
    from export.tensorrt import build_engine

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
        Workspace.existing(pristine_build), changed, model, True, gpu_check_quiet(), notes
    )
    assert notes == [] and size is not None and timed is not None
    assert [session["variant"] for session in asked[0]["sessions"]] == ["float", "deployed", "deployed again"]
    assert asked[0]["sessions"][0]["path"].endswith("half.onnx")
    assert (timed.speedup, timed.significant, timed.deployed_memory_mib) == (2.0, True, 12.0)
    assert timed.clocks is not None and timed.clocks.endswith("none was set")


def gpu_check_quiet() -> Any:
    from genq_export.progress import Progress

    return Progress(quiet=True)


def test_without_a_gpu_the_page_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    page = tmp_path / "gpu.md"
    page.write_text("as it was")
    assert gpu_check.main(["--page", str(page)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: the checks need an NVIDIA GPU")
    assert page.read_text() == "as it was"


def test_the_oracle_check_compares_every_code(pristine_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = gpu_check.oracle_row(pristine_build, "cpu", 16)
    assert row.passed and row.figure.startswith("0 of ") and "on 16 images" in row.figure
    from runtime_tests import backends

    honest = backends.oracle_backend

    def off_by_one(folder: Path, device: str = "cpu") -> Any:
        backend = honest(folder)
        if device != "cpu":
            next(part for part in backend.module.modules() if hasattr(part, "weight_codes")).weight_codes[0] += 1
        return backend

    monkeypatch.setattr(backends, "oracle_backend", off_by_one)
    assert gpu_check.oracle_row(pristine_build, "other", 16).passed is False


def test_a_check_is_a_process_that_prints_its_rows(pristine_build: Path) -> None:
    command = [sys.executable, "-m", "runtime_tests.gpu_check", "--only", "oracle", "--device", "cpu", "--images", "16"]
    code, output, error = gpu_check._run([*command, "--build", str(pristine_build)], time.monotonic() + 100)
    assert code == 0, error
    (row,) = json.loads(output)
    assert row["passed"] and "codes differ on 16 images" in row["figure"]


def test_checks_that_crash_or_hang_are_rows_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], deadline: float) -> tuple[int | None, str, str]:
        if "genq_export" in command:
            (Path(command[-1])).mkdir()
            (Path(command[-1]) / "model.onnx").touch()
            return 1, "", "a gate failed"
        name = command[command.index("--only") + 1]
        if name == "oracle":
            return -6, "", "Aborted"
        if name == "engine":
            return None, "", "stopped at the end of the 480 s of all checks"
        return 0, json.dumps([{"check": name, "figure": "1", "passed": True}]), ""

    monkeypatch.setattr(gpu_check, "_run", run)
    rows = gpu_check.run_all(time.monotonic() + 480)
    assert [(row.check, row.passed) for row in rows[1:]] == [
        ("oracle", False), ("int8", True), ("engine", False), ("generation", True)
    ]  # fmt: skip
    assert rows[1].figure == "Aborted"


def test_time_runs_out_for_a_check_and_is_said() -> None:
    assert gpu_check._run([sys.executable, "-c", "import time; time.sleep(60)"], time.monotonic() + 0.3)[0] is None
    code, _, error = gpu_check._run(["never"], time.monotonic() - 1)
    assert code is None and "not run within the 480 s" in error


def test_the_table_replaces_only_what_lies_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    page.write_text(gpu_check.PAGE.read_text())
    rows = [Row("a|b", "0 of 9", True), Row("c", "no", False), Row("d", "missing", None)]
    gpu_check.write_page(page, rows, 12.3)
    text = page.read_text()
    assert "| a/b | 0 of 9 | ok |" in text and "| c | no | FAILED |" in text and "| d | missing | – |" in text
    assert gpu_check.COMMAND in text and f"torch {torch.__version__}" in text
    assert "No figure was measured" not in text and "## What is checked" in text
    gpu_check.write_page(page, rows[:1], 1)
    assert page.read_text().count(gpu_check.BEGIN) == 1 and "| c |" not in page.read_text()
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="lost the marks"):
        gpu_check.write_page(page, rows, 1)


def test_engine_rows_say_what_verification_measured(tmp_path: Path) -> None:
    from runtime_tests.results import BackendFidelity, BackendRun, Evaluation
    from tests.runtime_tests.test_gates_and_compare import run

    workspace = Workspace.open(tmp_path / "build")

    def rows(**changes: Any) -> list[Row]:
        measured = run(deployed="tensorrt", **changes)
        workspace.write_json("verify.json", VerifyFile(runs=(measured,)).model_dump(mode="json"))
        return gpu_check.engine_rows(workspace.folder)

    backend = BackendRun(name="tensorrt", title="TensorRT 11.0", device="a GPU", status="ok")
    missing = backend.model_copy(update={"status": "missing", "detail": "TensorRT is not installed"})
    assert rows(backends=(missing,)) == [Row("TensorRT engine", "TensorRT is not installed", None)]
    broken = backend.model_copy(update={"status": "failed", "detail": "was stopped by SIGABRT"})
    assert rows(backends=(broken,)) == [Row("TensorRT engine", "was stopped by SIGABRT", False)]
    fidelity = BackendFidelity(
        backend="tensorrt", against="oracle", images=256, codes=1000, differing=1, largest=1, first_diverging="x",
        logits_largest=0, quantizers=(), explanation="why",
    )  # fmt: skip
    found = rows(
        backends=(backend,), fidelity=(fidelity,), agreement={"tensorrt_vs_reference": 0.99},
        evaluation=Evaluation(name="test", n=10000, labelled=True), notes=("latency was not measured",),
    )  # fmt: skip
    assert [row.passed for row in found] == [True, False, False, False]
    assert found[1].figure == "1 of 1,000 codes differ, by at most 1; first at x: why"


def test_generation_is_timed_on_any_device_and_shape() -> None:
    tiny = Shape(
        unet={
            "sample_size": 8, "block_out_channels": (32, 64), "cross_attention_dim": 16, "attention_head_dim": 8,
            "layers_per_block": 1, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        },
        vae={
            "sample_size": 16, "block_out_channels": (32, 32), "latent_channels": 4,
            "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
        },
        text_width=16, text_length=5,
    )  # fmt: skip
    assert images_per_second("cpu", torch.float32, tiny, 16, 3, 2) > 0


def test_the_timed_architecture_is_stable_diffusions() -> None:
    """The published sizes: 859.5 million parameters in the U-Net, 83.7 million in the autoencoder."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.device("meta"):
        sizes = [
            sum(part.numel() for part in network.parameters())
            for network in (UNet2DConditionModel(**Shape().unet), AutoencoderKL(**Shape().vae))
        ]
    assert sizes == [859_520_964, 83_653_863]


def test_the_int8_check_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime_tests import gpu_int8

    monkeypatch.setattr(gpu_int8, "check", lambda device: [(f"int8 on {device}", "0 of 5 codes differ", True)])
    assert gpu_check.run_check("int8", None, "cpu", 1) == [Row("int8 on cpu", "0 of 5 codes differ", True)]


def test_the_command_says_two_without_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = subprocess.run(
        [sys.executable, "-m", "runtime_tests.gpu_check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1

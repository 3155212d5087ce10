"""Sessions on a GPU, as far as a machine without one can tell: real code over stand-ins for CUDA and TensorRT."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genq_export.core.errors import BackendError, BackendMissing
from genq_export.runtimes.tensorrt import TENSORRT, TensorRtSession
from genq_export.runtimes.timing import time_sessions
from tests.runtimes.stand_ins import Engine, stand_in_modules


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
    tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    seen: list[bytes] = []
    write_engine(tmp_path, **changed)
    with pytest.raises(BackendError, match=reason) as caught:
        TensorRtSession(tmp_path / "model.onnx", *stand_in_modules(deserialize=seen.append))
    assert "\n" not in str(caught.value) and seen == []


def test_an_engine_that_tensorrt_does_not_load_is_not_replaced(engine_file: Path) -> None:
    with pytest.raises(BackendError, match=r"TensorRT 11\.0 does not load model\.engine on a GPU"):
        TensorRtSession(engine_file, *stand_in_modules(deserialize=lambda _: None))


@pytest.mark.parametrize("largest", [64, 4])
def test_an_engine_takes_any_number_of_images(engine_file: Path, largest: int) -> None:
    write_engine(engine_file.parent, batches={"min": 1, "opt": 2, "max": largest})
    session = TensorRtSession(engine_file, *stand_in_modules(largest=largest))
    assert (session.title, session.device) == ("TensorRT 11.0", "a GPU")
    assert session.outputs(np.zeros((130, 3, 4, 4), np.float32))["logits"].shape == (130, 3)
    assert (session.outputs(np.zeros((2, 3, 4, 4), np.float32))["logits"] == Engine.answer).all()


@pytest.mark.parametrize("capturable", [True, False])
def test_a_call_replays_a_graph_or_enqueues(engine_file: Path, capturable: bool) -> None:
    engine = Engine()
    session = TensorRtSession(engine_file, *stand_in_modules(capturable, deserialize=lambda _: engine))
    call, captured = session.prepared(np.zeros((2, 3, 4, 4), np.float32))
    assert captured == capturable
    before = engine.calls
    call()
    assert engine.calls == before + (not capturable)


def test_sessions_on_a_gpu_are_timed_by_events(engine_file: Path) -> None:
    names = ("float", "deployed", "deployed again")
    sessions = [{"runtime": "tensorrt", "variant": name, "path": str(engine_file)} for name in names]
    rows = time_sessions(
        lambda _, path, __: TensorRtSession(path, *stand_in_modules()), sessions, [3, 4, 4], [1, 8], [1], 10, 0.01
    )
    assert [(row["batch"], row["variant"], row["cuda_graph"], row["median_ms"]) for row in rows] == [
        (batch, name, True, 0.5) for batch in (1, 8) for name in names
    ]


def test_without_its_package_or_a_gpu_it_is_missing_not_failed(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BackendMissing, match=r"TensorRT (is not installed|needs an NVIDIA GPU)"):
        TENSORRT.open(tmp_path / "model.onnx")
    assert not TENSORRT.preferred(tmp_path)

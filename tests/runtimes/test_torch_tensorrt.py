"""An engine through torch-tensorrt, where that is installed: a stand-in for its module, real code around it."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from genq_export import load
from genq_export.core.errors import BackendError, UserError
from genq_export.runtimes.torch_tensorrt import TorchTensorRtSession
from tests.runtimes.test_load import IMAGES, tiny_onnx, write_build, write_engine


class Module:
    """In the place of `torch_tensorrt.dynamo.runtime.TorchTensorRTModule`; an engine of batches up to four."""

    given: dict[str, Any]

    def __init__(self, **given: Any) -> None:
        if given["serialized_engine"] == b"refused":
            raise RuntimeError("version mismatch\nand more")
        Module.given = given

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        assert len(batch) <= 4, "the engine's largest batch"
        return batch.mean((2, 3))[:, :2]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build with an engine of TensorRT 11, on a machine with torch-tensorrt and one SM86; tensors stay on the CPU."""
    runtime = SimpleNamespace(TorchTensorRTModule=Module)
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="11.0", __spec__=SimpleNamespace()))
    monkeypatch.setitem(sys.modules, "torch_tensorrt", SimpleNamespace(__spec__=SimpleNamespace()))
    monkeypatch.setitem(sys.modules, "torch_tensorrt.dynamo.runtime", runtime)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 6))
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    folder = write_build(tmp_path / "build", tiny_onnx())
    write_engine(folder, builder="tensorrt", version="11.0")
    return folder


def test_load_runs_the_engine_through_torch_tensorrt_in_pieces(build: Path) -> None:
    many = np.repeat(IMAGES, 5, axis=0)
    assert np.allclose(load(build)(many), many.mean((2, 3))[:, :2])
    assert Module.given["serialized_engine"] == (build / "model.engine").read_bytes()
    assert Module.given["input_binding_names"] == ["input"] and Module.given["output_binding_names"] == ["logits"]


def test_an_engine_for_another_gpu_is_refused_before_torch_tensorrt_sees_it(build: Path) -> None:
    write_engine(build, builder="tensorrt", version="11.0", compute_capabilities=["SM120"])
    with pytest.raises(UserError, match="built for SM120, and this GPU is SM86"):
        load(build)


def test_what_torch_tensorrt_refuses_is_one_line(build: Path) -> None:
    write_engine(build, plan=b"refused", builder="tensorrt", version="11.0")
    with pytest.raises(UserError, match=r"torch-tensorrt does not load the engine: version mismatch$"):
        load(build)


@pytest.mark.usefixtures("build")
def test_codes_are_not_to_be_had_from_it() -> None:
    with pytest.raises(BackendError, match="gives no codes"):
        TorchTensorRtSession(b"plan", 4, ["logits"], torch).codes(IMAGES)

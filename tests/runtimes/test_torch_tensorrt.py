"""An engine through torch-tensorrt, where that is installed: a stand-in for its module, real code around it."""

import ast
import subprocess
import sys
import zipfile
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

    def __init__(
        self,
        serialized_engine: bytes | None = None,
        input_binding_names: list[str] | None = None,
        output_binding_names: list[str] | None = None,
        *,
        name: str = "",
        settings: object = None,
        requires_output_allocator: bool = False,
        requires_native_multidevice: bool = False,
        symbolic_shape_expressions: dict[str, Any] | None = None,
    ) -> None:
        if serialized_engine == b"refused":
            raise RuntimeError("version mismatch\nand more")
        names = {"input_binding_names": input_binding_names, "output_binding_names": output_binding_names}
        Module.given = {"serialized_engine": serialized_engine, **names}

    def forward(self, *inputs: Any) -> torch.Tensor:
        (batch,) = inputs
        assert len(batch) <= 4, "the engine's largest batch"
        return batch.mean((2, 3))[:, :2]  # type: ignore[no-any-return]

    __call__ = forward


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


WHEEL = "torch-tensorrt==2.13.0"


def parameters(function: ast.FunctionDef) -> list[tuple[str, ...]]:
    """Names of those that stand in place, of the rest in place, and of those given by name alone."""
    rest = function.args.vararg
    groups = (function.args.args, [rest] if rest else [], function.args.kwonlyargs)
    return [tuple(argument.arg for argument in group) for group in groups]


def methods(source: str, name: str) -> dict[str, list[tuple[str, ...]]]:
    (found,) = (part for part in ast.parse(source).body if isinstance(part, ast.ClassDef) and part.name == name)
    return {part.name: parameters(part) for part in found.body if isinstance(part, ast.FunctionDef)}


@pytest.mark.slow
def test_the_stand_in_has_the_signatures_of_the_real_module(tmp_path: Path) -> None:
    """Read from the wheel: to import it needs TensorRT."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", WHEEL, "-d", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{WHEEL} cannot be had here")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        source = content.read("torch_tensorrt/dynamo/runtime/_TorchTensorRTModule.py").decode()
        exported = content.read("torch_tensorrt/dynamo/runtime/__init__.py").decode()
    real, ours = methods(source, "TorchTensorRTModule"), methods(Path(__file__).read_text(), "Module")
    assert ours.keys() == {"__init__", "forward"} and {name: real[name] for name in ours} == ours
    assert "TorchTensorRTModule" in exported

"""Run `model.engine` on the GPU at hand: through torch-tensorrt's module where installed, else an execution context."""

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genq_export.core.errors import UserError, reason_of
from genq_export.runtimes.engine_file import ENGINE_FILE, check_fits, read_engine_facts

Images = NDArray[np.float32]
Forward = Callable[[Any], Any]


def load_engine(folder: Path) -> Callable[[Images], Images]:
    """A callable from float32 [N, C, H, W] to float32 [N, classes]; batches above the engine's largest run in pieces.

    Raises UserError where there is no GPU or no TensorRT, or the engine is corrupt, of another model, or built for
    another GPU or version.
    """
    facts = read_engine_facts(folder)
    name = str(facts["builder"])
    trt = _import(name, facts)
    import torch

    if not torch.cuda.is_available():
        raise UserError(f"{folder / ENGINE_FILE} needs an NVIDIA GPU, and this machine or this torch has none")
    major, minor = torch.cuda.get_device_capability()
    check_fits(facts, name, str(trt.__version__), f"SM{major}{minor}")
    plan = (folder / ENGINE_FILE).read_bytes()
    through_torch = name == "tensorrt" and find_spec("torch_tensorrt") is not None
    forward = _torch_module(plan) if through_torch else _execution_context(trt, plan, folder)
    largest = int(facts["batches"]["max"])

    def run(images: Images) -> Images:
        parts = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).split(largest)
        return np.concatenate([forward(part.cuda()).float().cpu().numpy() for part in parts])

    return run


def _import(name: str, facts: dict[str, Any]) -> Any:
    if name not in ("tensorrt", "tensorrt_rtx"):
        raise UserError(f"engine.json names no builder that is known: '{name}'")
    try:
        return importlib.import_module(name)
    except ImportError:
        other = next((here for here in ("tensorrt", "tensorrt_rtx") if find_spec(here)), None)
        if other is not None:
            check_fits(facts, other, str(importlib.import_module(other).__version__), facts["compute_capabilities"][0])
        remedy = f"pip install 'genq-export[{name.replace('_', '-')}]'"
        raise UserError(f"the engine needs {name}, which is not installed: {remedy}") from None


def _torch_module(plan: bytes) -> Forward:
    """torch-tensorrt's runtime module: streams and devices are torch's business."""
    runtime = importlib.import_module("torch_tensorrt.dynamo.runtime")
    try:
        module = runtime.TorchTensorRTModule(
            serialized_engine=plan, input_binding_names=["input"], output_binding_names=["logits"], name="model"
        )
    except Exception as error:  # whatever the runtime behind it raises
        raise UserError(f"torch-tensorrt does not load the engine: {reason_of(error)}") from None
    return lambda batch: module(batch)


def _execution_context(trt: Any, plan: bytes, folder: Path) -> Forward:
    import torch

    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(plan)
    if engine is None:
        raise UserError(f"{trt.__name__} {trt.__version__} does not load {folder / ENGINE_FILE} on this GPU")
    context = engine.create_execution_context()

    def forward(batch: Any) -> Any:
        context.set_input_shape("input", tuple(batch.shape))
        logits = torch.empty(tuple(context.get_tensor_shape("logits")), dtype=torch.float32, device=batch.device)
        context.set_tensor_address("input", batch.data_ptr())
        context.set_tensor_address("logits", logits.data_ptr())
        stream = torch.cuda.current_stream()
        if not context.execute_async_v3(stream.cuda_stream):
            raise UserError(f"the engine failed on a batch of shape {tuple(batch.shape)}")
        stream.synchronize()
        return logits

    return forward

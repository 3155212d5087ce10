"""TensorRT and TensorRT-RTX on the GPU: the engine of the build, or one made here from its ONNX file.

Both packages have the same Python interface. Neither is needed to import this module.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from runtime_tests.backends import Batch, Codes
from runtime_tests.errors import BackendError, BackendMissing
from runtime_tests.graph import CODES, quantizers, read_model, with_code_outputs

_MODULES = ("tensorrt", "tensorrt_rtx")
_LARGEST_BATCH = 256


class TensorRtBackend:
    """An engine on the current CUDA device.

    Uses `model.engine` beside the ONNX file where it fits this GPU and this version; codes come from a second engine
    that is built from a copy of the graph with every code tensor as an output.
    """

    def __init__(self, path: Path, name: str = "tensorrt") -> None:
        self._trt = _import()
        self._torch = _cuda()
        self.name, self.device = name, self._torch.cuda.get_device_name(0)
        self.title = f"{'TensorRT-RTX' if self._trt.__name__ == 'tensorrt_rtx' else 'TensorRT'} {self._trt.__version__}"
        self._path = path
        self._logger = self._trt.Logger(self._trt.Logger.ERROR)
        self._runtime = self._trt.Runtime(self._logger)
        self._engine = self._load_engine() or self._build(path.read_bytes())
        self._context = self._engine.create_execution_context()
        self._probe: Any = None
        self._probe_context: Any = None
        self._probed: list[str] = []

    def logits(self, batch: Batch) -> Batch:
        """float32 [B, C, H, W] -> float32 [B, K]."""
        logits: Batch = self._run(self._engine, self._context, batch, ["logits"])["logits"]
        return logits

    def codes(self, batch: Batch) -> tuple[Batch, Codes]:
        """Logits and codes of an engine that has every code tensor as an output."""
        if self._probe is None:
            model = read_model(self._path)
            self._probed = [quantizer.tensor for quantizer in quantizers(model)]
            self._probe = self._build(with_code_outputs(model))
            self._probe_context = self._probe.create_execution_context()
        found = self._run(self._probe, self._probe_context, batch, ["logits", *self._probed])
        return found["logits"], {tensor.removesuffix(CODES): found[tensor] for tensor in self._probed}

    def close(self) -> None:
        """Drop contexts and engines."""
        self._context = self._probe_context = self._engine = self._probe = None

    def _load_engine(self) -> Any:
        plan = self._path.with_suffix(".engine")
        # An engine for another GPU or version gives None: then one is built here from the same ONNX file.
        return self._runtime.deserialize_cuda_engine(plan.read_bytes()) if plan.is_file() else None

    def _build(self, onnx_bytes: bytes) -> Any:
        trt = self._trt
        builder = trt.Builder(self._logger)
        flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(flag)
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(onnx_bytes):
            reason = parser.get_error(0).desc() if parser.num_errors else "no reason given"
            raise BackendError(f"{self.title} does not read {self._path.name}: {reason}")
        config = builder.create_builder_config()
        profile = builder.create_optimization_profile()
        source = network.get_input(0)
        shape = tuple(source.shape)[1:]
        profile.set_shape(source.name, (1, *shape), (32, *shape), (_LARGEST_BATCH, *shape))
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        engine = None if plan is None else self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(f"{self.title} builds no engine of {self._path.name} for {self.device}")
        return engine

    def _run(self, engine: Any, context: Any, batch: Batch, outputs: list[str]) -> dict[str, Any]:
        torch = self._torch
        if len(batch) > _LARGEST_BATCH:
            parts = [self._run(engine, context, part, outputs) for part in np.array_split(batch, -(-len(batch) // 256))]
            return {name: np.concatenate([part[name] for part in parts]) for name in outputs}
        images = torch.from_numpy(np.array(batch, np.float32, order="C")).cuda()
        source = engine.get_tensor_name(0)
        context.set_input_shape(source, tuple(images.shape))
        context.set_tensor_address(source, images.data_ptr())
        kinds = {self._trt.DataType.FLOAT: torch.float32, self._trt.DataType.INT8: torch.int8}
        kinds[self._trt.DataType.HALF] = torch.float16
        held = {}
        for name in (engine.get_tensor_name(index) for index in range(1, engine.num_io_tensors)):
            kind = kinds[engine.get_tensor_dtype(name)]
            held[name] = torch.empty(tuple(context.get_tensor_shape(name)), dtype=kind, device="cuda")
            context.set_tensor_address(name, held[name].data_ptr())
        stream = torch.cuda.current_stream()
        if not context.execute_async_v3(stream.cuda_stream):
            raise BackendError(f"{self.title} failed on a batch of shape {batch.shape}")
        stream.synchronize()
        found = {name: held[name].cpu().numpy() for name in outputs}
        return {**found, "logits": found["logits"].astype(np.float32)}


def _import() -> Any:
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise BackendMissing("TensorRT is not installed (pip install 'genq-export[tensorrt]' or '[tensorrt-rtx]')")


def _cuda() -> Any:
    import torch

    if not torch.cuda.is_available():
        raise BackendMissing("TensorRT needs an NVIDIA GPU, and this machine or this torch has none")
    return torch

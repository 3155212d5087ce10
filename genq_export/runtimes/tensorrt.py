"""TensorRT and TensorRT-RTX on the GPU: the engine of the build, or one made here from its ONNX file.

Both packages have the same Python interface. Neither is needed to import this module.
"""

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genq_export.core.errors import BackendError, BackendMissing, UserError
from genq_export.network.names import quantizer_of
from genq_export.network.onnx_graph import quantizers, read_model, with_code_outputs
from genq_export.runtimes.backends import Batch, Codes
from genq_export.runtimes.engine_file import check_fits, read_engine_facts

_MODULES = ("tensorrt", "tensorrt_rtx")
_LARGEST_BATCH = 64  # that of the engines which the export builds


class TensorRtBackend:
    """An engine on the current CUDA device.

    Uses the engine beside the ONNX file where there is one: another would not be what is deployed, so one that was
    built for another GPU or version is refused with the reason. Codes come from a second engine that is built from a
    copy of the graph with every code tensor as an output. Raises BackendError (BackendMissing: for another machine).
    """

    def __init__(self, path: Path, name: str = "tensorrt") -> None:
        self._trt = _import()
        self._torch = _cuda()
        self.name, self.device = name, self._torch.cuda.get_device_name(0)
        self.title = f"{'TensorRT-RTX' if self._trt.__name__ == 'tensorrt_rtx' else 'TensorRT'} {self._trt.__version__}"
        self._free_before = self._torch.cuda.mem_get_info()[0]
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
        return found["logits"], {str(quantizer_of(tensor)): found[tensor] for tensor in self._probed}

    def close(self) -> None:
        """Drop contexts and engines."""
        self._context = self._probe_context = self._engine = self._probe = None

    def _load_engine(self) -> Any:
        """The build's own engine, None where there is none; one that does not belong here never reaches TensorRT."""
        plan = self._path.with_suffix(".engine")
        if not plan.is_file():
            return None
        major, minor = self._torch.cuda.get_device_capability(0)
        try:
            facts = read_engine_facts(plan.parent)
        except UserError as error:
            raise BackendError(str(error)) from None
        try:
            check_fits(facts, self._trt.__name__, str(self._trt.__version__), f"SM{major}{minor}")
        except UserError as error:
            raise BackendMissing(str(error)) from None
        engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if engine is None:
            raise BackendError(f"{self.title} does not load {plan.name} on {self.device}")
        return engine

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
        profile.set_shape(source.name, (1, *shape), (8, *shape), (_LARGEST_BATCH, *shape))
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        engine = None if plan is None else self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(f"{self.title} builds no engine of {self._path.name} for {self.device}")
        return engine

    def captured(self, batch: Batch) -> tuple[Callable[[], object], bool]:
        """A call that computes this very batch, already on the GPU, and whether it replays a CUDA graph.

        Where the engine cannot be captured, the call enqueues it. It does not wait for the result.
        """
        torch, context = self._torch, self._context
        held = self._bind(self._engine, context, batch)

        def enqueue() -> object:
            # `held` keeps the tensors alive whose addresses the context has.
            return held if context.execute_async_v3(torch.cuda.current_stream().cuda_stream) else None

        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            if enqueue() is None:  # also lets the engine finish what it does on its first call only
                raise BackendError(f"{self.title} failed on a batch of shape {batch.shape}")
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, stream=stream):
                    enqueue()
            except RuntimeError:
                return enqueue, False
        return functools.partial(_replay, graph, held), True

    def peak_memory_mib(self) -> float:
        """GPU memory that is taken now beyond what was taken before this engine was loaded, MiB."""
        return float(self._free_before - self._torch.cuda.mem_get_info()[0]) / 2**20

    def _bind(self, engine: Any, context: Any, batch: Batch) -> dict[str, Any]:
        """Tensors on the GPU by name, input and outputs, with their addresses given to the context."""
        torch = self._torch
        kinds = {self._trt.DataType.FLOAT: torch.float32, self._trt.DataType.INT8: torch.int8}
        kinds[self._trt.DataType.HALF] = torch.float16
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        source = next(name for name in names if engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT)
        held = {source: torch.from_numpy(np.array(batch, np.float32, order="C")).cuda()}
        context.set_input_shape(source, tuple(held[source].shape))
        for name in names:
            if name != source:
                kind = kinds[engine.get_tensor_dtype(name)]
                held[name] = torch.empty(tuple(context.get_tensor_shape(name)), dtype=kind, device="cuda")
            context.set_tensor_address(name, held[name].data_ptr())
        return held

    def _run(self, engine: Any, context: Any, batch: Batch, outputs: list[str]) -> dict[str, Any]:
        torch = self._torch
        if len(batch) > _LARGEST_BATCH:
            parts = np.array_split(batch, -(-len(batch) // _LARGEST_BATCH))
            done = [self._run(engine, context, part, outputs) for part in parts]
            return {name: np.concatenate([part[name] for part in done]) for name in outputs}
        held = self._bind(engine, context, batch)
        stream = torch.cuda.current_stream()
        if not context.execute_async_v3(stream.cuda_stream):
            raise BackendError(f"{self.title} failed on a batch of shape {batch.shape}")
        stream.synchronize()
        found = {name: held[name].cpu().numpy() for name in outputs}
        return {**found, "logits": found["logits"].astype(np.float32)}


def _replay(graph: Any, _held: object) -> None:
    graph.replay()


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

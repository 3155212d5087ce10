"""TensorRT and TensorRT-RTX on the GPU: the engine of a build, or one made here from its ONNX file.

Both packages have the same Python interface. Neither is needed to import this module.
"""

import functools
import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from genq_export.config.target import TargetRule
from genq_export.core.errors import BackendError, BackendMissing, UserError
from genq_export.network.names import quantizer_of
from genq_export.network.onnx_graph import deployed_outputs, read_model
from genq_export.runtimes import torch_tensorrt
from genq_export.runtimes.base import Batch, Codes, Outputs, Runtime, Session
from genq_export.runtimes.engine_file import ENGINE_FILE, check_fits, read_engine_facts
from genq_export.runtimes.probe import Probe
from genq_export.runtimes.tensorrt_packages import TENSORRT_PACKAGES
from genq_export.runtimes.timing import Call, Stopwatch, event_stopwatch

_LARGEST_BATCH = 64  # of an engine that is built here


class TensorRt(Runtime):
    """The build's own engine where there is one."""

    name = "tensorrt"
    product = "TensorRT"
    distributions = ("tensorrt", "tensorrt-rtx")
    on_gpu = True

    def open(self, path: Path, threads: int = 0) -> "TensorRtSession":
        """A session on the current CUDA device; threads do not matter there."""
        package = next((name for name in TENSORRT_PACKAGES if find_spec(name)), None)
        if package is None:
            raise BackendMissing("TensorRT is not installed (pip install 'genq-export[tensorrt]' or '[tensorrt-rtx]')")
        return TensorRtSession(path, importlib.import_module(package), _torch_with_gpu())

    def open_build(self, path: Path, threads: int, container: str | None) -> Session:
        """The engine beside the file, by the package that built it, through torch-tensorrt where that is installed."""
        facts = read_engine_facts(path.parent)
        trt, torch = _builder(facts), _torch_with_gpu()
        if facts["builder"] != "tensorrt" or not torch_tensorrt.is_installed():
            return TensorRtSession(path, trt, torch)
        check_fits(facts, "tensorrt", str(trt.__version__), _capability(torch))
        plan = (path.parent / ENGINE_FILE).read_bytes()
        largest = int(facts["batches"]["max"])
        return torch_tensorrt.TorchTensorRtSession(plan, largest, deployed_outputs(read_model(path)), torch)

    def preferred(self, folder: Path) -> bool:
        """Is there an engine, a package that runs one, and a GPU? Whether it fits this GPU is said on opening it."""
        if not (folder / ENGINE_FILE).is_file() or not any(find_spec(name) for name in TENSORRT_PACKAGES):
            return False
        import torch

        return torch.cuda.is_available()

    def reads(self, rule: TargetRule) -> bool:
        """It takes neither UINT8 nor zero-points."""
        return rule.activation_container == "int8" and rule.zero_points == "shifted"


TENSORRT = TensorRt()


class TensorRtSession(Session):
    """An engine on the current CUDA device.

    Uses the engine beside the ONNX file where there is one: another would not be what is deployed, so one that was
    built for another GPU or version is refused with the reason. Codes come from a second engine that is built from a
    copy of the graph with every code tensor as an output.

    Args:
        path: the ONNX file.
        trt: the module `tensorrt` or `tensorrt_rtx`.
        torch: the module, on a machine with a GPU.

    Raises:
        BackendMissing: where the engine is for another machine.
        BackendError: where it cannot be loaded or built.
    """

    def __init__(self, path: Path, trt: Any, torch: Any) -> None:
        self._trt, self._torch, self._path = trt, torch, path
        self.name, self.device = TENSORRT.name, torch.cuda.get_device_name(0)
        self.title = f"{'TensorRT-RTX' if trt.__name__ == 'tensorrt_rtx' else TENSORRT.product} {trt.__version__}"
        self._free_before = torch.cuda.mem_get_info()[0]
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._largest_batch = _LARGEST_BATCH
        engine = self._load_engine() or self._build(path.read_bytes())
        self._names = [name for name in self._outputs_of(engine) if quantizer_of(name) is None]
        self._loaded: Any = (engine, engine.create_execution_context())
        self._probe = Probe(path, self._load_probe, self._answer)

    def outputs(self, batch: Batch) -> Outputs:
        """float32 [B, C, H, W] -> float32 [B, ...] by name; batches above the engine's largest run in pieces."""
        return self._answer(self._loaded, batch, [])[0]

    def codes(self, batch: Batch) -> tuple[Outputs, Codes]:
        """Outputs and codes by quantizer name."""
        return self._probe.codes(batch)

    def close(self) -> None:
        """Drop contexts and engines."""
        self._loaded = None
        self._probe.close()

    def prepared(self, batch: Batch) -> tuple[Call, bool]:
        """A call that computes this very batch, already on the GPU, and whether it replays a CUDA graph.

        Where the engine cannot be captured, the call enqueues it. It does not wait for the result.
        """
        torch, (engine, context) = self._torch, self._loaded
        held = self._bind(engine, context, batch)

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

    def stopwatch(self) -> Stopwatch:
        """CUDA events: the wall clock would see the host only."""
        begin, end = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        return event_stopwatch(begin, end)

    def peak_memory_mib(self) -> float:
        """GPU memory that is taken now beyond what was taken before this engine was loaded, MiB."""
        return float(self._free_before - self._torch.cuda.mem_get_info()[0]) / 2**20

    def _load_engine(self) -> Any:
        """The build's own engine, None where there is none; one that does not belong here never reaches TensorRT."""
        plan = self._path.with_suffix(".engine")
        if not plan.is_file():
            return None
        try:
            facts = read_engine_facts(plan.parent)
        except UserError as error:
            raise BackendError(str(error)) from None
        try:
            check_fits(facts, self._trt.__name__, str(self._trt.__version__), _capability(self._torch))
        except UserError as error:
            raise BackendMissing(str(error)) from None
        engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if engine is None:
            raise BackendError(f"{self.title} does not load {plan.name} on {self.device}")
        self._largest_batch = int(facts["batches"]["max"])
        return engine

    def _load_probe(self, content: bytes) -> Any:
        engine = self._build(content)
        return engine, engine.create_execution_context()

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
        best = min(8, self._largest_batch)
        profile.set_shape(source.name, (1, *shape), (best, *shape), (self._largest_batch, *shape))
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        engine = None if plan is None else self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(f"{self.title} builds no engine of {self._path.name} for {self.device}")
        return engine

    def _outputs_of(self, engine: Any) -> list[str]:
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return [name for name in names if engine.get_tensor_mode(name) != self._trt.TensorIOMode.INPUT]

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

    def _answer(self, loaded: Any, batch: Batch, tensors: list[str]) -> tuple[Outputs, list[Any]]:
        """Outputs by name, and the tensors of these names."""
        engine, context = loaded
        pieces = np.array_split(batch, max(1, -(-len(batch) // self._largest_batch)))
        parts = [self._run(engine, context, piece, [*self._names, *tensors]) for piece in pieces]
        found = [np.concatenate(part) for part in zip(*parts, strict=True)]
        outputs = {name: np.asarray(part, np.float32) for name, part in zip(self._names, found, strict=False)}
        return outputs, found[len(self._names) :]

    def _run(self, engine: Any, context: Any, batch: Batch, outputs: list[str]) -> list[Any]:
        held = self._bind(engine, context, batch)
        stream = self._torch.cuda.current_stream()
        if not context.execute_async_v3(stream.cuda_stream):
            raise BackendError(f"{self.title} failed on a batch of shape {batch.shape}")
        stream.synchronize()
        return [held[name].cpu().numpy() for name in outputs]


def _replay(graph: Any, _held: object) -> None:
    graph.replay()


def _builder(facts: dict[str, Any]) -> Any:
    """The package that built an engine."""
    name = str(facts["builder"])
    if name not in TENSORRT_PACKAGES:
        raise UserError(f"engine.json names no builder that is known: '{name}'")
    try:
        return importlib.import_module(name)
    except ImportError:
        other = next((here for here in TENSORRT_PACKAGES if find_spec(here)), None)
        if other is not None:
            check_fits(facts, other, str(importlib.import_module(other).__version__), facts["compute_capabilities"][0])
        remedy = f"pip install 'genq-export[{name.replace('_', '-')}]'"
        raise BackendMissing(f"the engine needs {name}, which is not installed: {remedy}") from None


def _capability(torch: Any) -> str:
    """Compute capability of the GPU at hand, `SM86`."""
    major, minor = torch.cuda.get_device_capability(0)
    return f"SM{major}{minor}"


def _torch_with_gpu() -> Any:
    import torch

    if not torch.cuda.is_available():
        raise BackendMissing("TensorRT needs an NVIDIA GPU, and this machine or this torch has none")
    return torch

"""ONNX graphs written by hand for the tests of the importer, and what ONNX Runtime computes of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper, save
from torch import Tensor

from genq_export.models.onnx_import.assemble import Imported, assemble
from genq_export.models.onnx_import.reading import read_file

SIZE = (4, 6, 8)
Array = NDArray[Any]


def draw(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> Array:
    """float32, uniform."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def write(
    path: Path,
    nodes: Sequence[NodeProto],
    tensors: Mapping[str, Array] | None = None,
    opset: int = 17,
    shape: Sequence[int | str] = ("n", *SIZE),
    outputs: Sequence[str] = ("y",),
    **changes: Any,
) -> Path:
    """A file whose input is `x`. changes: `kind` of the input, `inputs` beside it, `imports` of operator sets."""
    graph = helper.make_graph(
        list(nodes),
        "by hand",
        [helper.make_tensor_value_info("x", changes.get("kind", TensorProto.FLOAT), shape), *changes.get("inputs", ())],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (tensors or {}).items()],
    )
    versions = changes.get("imports") or [helper.make_opsetid("", opset)]
    save(helper.make_model(graph, opset_imports=versions, ir_version=10 if opset >= 19 else 8), path)
    return path


def imported(path: Path, size: tuple[int, int, int] = SIZE) -> Imported:
    """The file as a network."""
    return assemble(read_file(path), size)


def runtime(path: Path, images: Tensor) -> list[Array]:
    """What ONNX Runtime computes, without its optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [np.asarray(part) for part in session.run(None, {"x": images.numpy()})]


def network(path: Path, images: Tensor, size: tuple[int, int, int] = SIZE) -> list[Array]:
    """What the imported network computes."""
    with torch.no_grad():
        return [part.numpy() for part in imported(path, size).network.run(images)]


def noise(count: int = 2, size: tuple[int, int, int] = SIZE, seed: int = 5) -> Tensor:
    """Images."""
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(seed))


def write_classifier(path: Path, shape: Sequence[int | str], seed: int = 0) -> Path:
    """A network of 3 channels and 7 classes: pooled channels times a matrix."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"]),
    ]
    return write(path, nodes, {"w": draw(3, 7, seed=seed)}, shape=shape)

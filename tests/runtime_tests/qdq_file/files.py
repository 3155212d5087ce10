"""Small files as ONNX Runtime's own tool quantizes them, made without torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

SIZE = (1, 3, 16, 16)


class Noise(CalibrationDataReader):  # type: ignore[misc]
    """16 images of noise."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._feeds: Iterator[Any] = iter([{"x": rng.standard_normal(SIZE).astype(np.float32)} for _ in range(16)])

    def get_next(self) -> Any:
        return next(self._feeds, None)


class Float:
    """A float network, written node by node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(1)

    def weight(self, name: str, *shape: int) -> str:
        fan = int(np.prod(shape[1:])) or 1
        return self.constant(name, (self._rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32))

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def conv(self, source: str, name: str, outputs: int, inputs: int) -> str:
        weights = [self.weight(f"{name}.w", outputs, inputs, 3, 3), self.weight(f"{name}.b", outputs)]
        return self.add("Conv", [source, *weights], name, pads=[1, 1, 1, 1])

    def save(self, path: Path, batch: int | str = 1) -> Path:
        graph = helper.make_graph(
            self.nodes, "float",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *SIZE[1:]])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 5])],
            self.constants,
        )  # fmt: skip
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path


def residual() -> Float:
    """Three convolutions with a residual addition, and a classifier."""
    net = Float()
    x = net.add("Relu", [net.conv("x", "stem", 8, 3)], "act")
    y = net.add("Relu", [net.conv(x, "first", 8, 8)], "act1")
    y = net.add("Relu", [net.add("Add", [net.conv(y, "second", 8, 8), x], "sum")], "act2")
    y = net.add("Flatten", [net.add("GlobalAveragePool", [y], "mean")], "flat")
    net.add("Gemm", [y, net.weight("head.w", 8, 5), net.weight("head.b", 5)], "logits")
    return net


def attention() -> Float:
    """Attention over 64 patches of 48 numbers, and a classifier."""
    net = Float()
    shape = net.constant("patches", np.asarray([1, 64, 12], np.int64))
    x = net.add("Reshape", ["x", shape], "tokens")
    q, k, v = (net.add("MatMul", [x, net.weight(f"{name}.w", 12, 16)], name) for name in "qkv")
    scores = net.add("MatMul", [q, net.add("Transpose", [k], "kt", perm=[0, 2, 1])], "scores")
    y = net.add("MatMul", [net.add("Softmax", [scores], "shares", axis=-1), v], "attended")
    y = net.add("ReduceMean", [y], "pooled", axes=[1], keepdims=0)
    net.add("MatMul", [y, net.weight("head.w", 16, 5)], "logits")
    return net


def quantized(net: Float, folder: Path, **settings: Any) -> Path:
    """QDQ, per channel, as ONNX Runtime's documentation advises for x86."""
    path = folder / "quantized.onnx"
    quantize_static(
        str(net.save(folder / "float.onnx")), str(path), Noise(), per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        **{"quant_format": QuantFormat.QDQ, **settings},
    )  # fmt: skip
    return path

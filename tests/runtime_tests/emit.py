"""A second, independent writer of the ONNX Runtime form of an integer model, for tests only.

Small on purpose: the operators of a residual convolutional network. Tests plant faults in what it writes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import fx

from export.integer_layers import IntegerLayer, IntegerQuantizer


class Emitter:
    """Collects nodes and initializers while walking the graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}:{op}", **attributes))
        return output

    def quantizer(self, part: IntegerQuantizer, source: str) -> str:
        name = part.name
        shift = 128 if part.signed else part.zero_point
        scale = self.constant(f"{name}/scale", part.scale.numpy())
        zero = self.constant(f"{name}/zero_point", np.uint8(shift))
        offset = 128 if part.signed else 0
        lo, hi = (np.uint8(code + offset) for code in (part.lo, part.hi))
        if (lo, hi) == (0, 255):
            codes = self.node("QuantizeLinear", [source, scale, zero], f"{name}/codes")
        else:
            raw = self.node("QuantizeLinear", [source, scale, zero], f"{name}/raw")
            limits = [self.constant(f"{name}/lo", lo), self.constant(f"{name}/hi", hi)]
            codes = self.node("Clip", [raw, *limits], f"{name}/codes")
        return self.node("DequantizeLinear", [codes, scale, zero], f"{name}/value")

    def layer(self, part: IntegerLayer, source: str) -> str:
        name = part.name
        weight = self.constant(f"{name}/weight", part.weight_codes.numpy())
        scale = self.constant(f"{name}/weight_scale", part.weight_scale.numpy())
        weight = self.node("DequantizeLinear", [weight, scale], f"{name}/weight_value", axis=0)
        bias = self.constant(f"{name}/bias", part.bias.numpy())
        scale = self.constant(f"{name}/bias_scale", part.bias_scale.numpy())
        bias = self.node("DequantizeLinear", [bias, scale], f"{name}/bias_value", axis=0)
        if part.op == "linear":
            return self.node("Gemm", [source, weight, bias], f"{name}/out", transB=1)
        pads = [*part.geometry["padding"], *part.geometry["padding"]]
        geometry = {"strides": part.geometry["stride"], "dilations": part.geometry["dilation"]}
        return self.node(
            "Conv", [source, weight, bias], f"{name}/out", pads=pads, group=part.geometry["groups"], **geometry
        )


def emit(gm: fx.GraphModule, path: Path, input_size: tuple[int, int, int]) -> None:
    """Write the integer model `gm` as QDQ ONNX."""
    out = Emitter()
    names: dict[fx.Node, str] = {}
    for node in gm.graph.nodes:
        if node.op == "placeholder":
            names[node] = "input"
        elif node.op == "call_module":
            part = gm.get_submodule(str(node.target))
            source = names[node.args[0]]
            names[node] = out.quantizer(part, source) if isinstance(part, IntegerQuantizer) else out.layer(part, source)
        elif node.op == "call_function":
            names[node] = _function(out, node, names)
        elif node.op == "output":
            result = node.args[0][0] if isinstance(node.args[0], tuple | list) else node.args[0]
            out.node("Identity", [names[result]], "logits")
    graph = helper.make_graph(
        out.nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *input_size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", None])],
        out.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _function(out: Emitter, node: fx.Node, names: dict[fx.Node, str]) -> str:
    name = str(node.target).split(".")[1]
    inputs = [names[source] for source in node.all_input_nodes if source in names]
    if name in ("relu", "relu_"):
        return out.node("Relu", inputs, f"{node.name}/out")
    if name in ("add", "add_"):
        return out.node("Add", inputs, f"{node.name}/out")
    if name == "max_pool2d":
        size, stride, padding = (list(value) for value in node.args[1:4])
        return out.node(
            "MaxPool", inputs, f"{node.name}/out", kernel_shape=size, strides=stride, pads=[*padding, *padding]
        )
    if name in ("adaptive_avg_pool2d", "mean"):
        return out.node("GlobalAveragePool", inputs, f"{node.name}/out")
    if name in ("flatten", "view", "reshape"):
        return out.node("Flatten", inputs, f"{node.name}/out")
    assert name in ("dropout", "contiguous", "clone"), f"test emitter knows no {node.target}"
    return inputs[0]


def onnx_constant(model: onnx.ModelProto, name: str) -> np.ndarray:
    """The value of an initializer, writable."""
    return numpy_helper.to_array(_initializer(model, name)).copy()


def set_onnx_constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    """Replace the value of an initializer."""
    _initializer(model, name).CopyFrom(numpy_helper.from_array(np.asarray(value), name))


def _initializer(model: onnx.ModelProto, name: str) -> Any:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)

"""A second file of the same network that takes pixels as cameras give them.

A uint8 pixel is one of 256 numbers in each channel, so what the network's preprocessing and its first quantizer make of
it is a table of codes. In place of the first quantizer the file looks pixels up in it:

    uint8 [N, C, H, W] -> Cast -> (+ 256 * channel) -> Gather (uint8 [C * 256]) -> DequantizeLinear

which gives the codes of every picture by construction, padding with zeros included. Where the table is that of one
channel for all, nothing is added; where it changes nothing (pixels over 255 and a scale of 1 / 255), the pixels are the
codes. What else reads the input gets float32 numbers from a table of those. [ours]
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PIXELS = "pixels"
LEVELS = 256


def from_pixels(
    model: onnx.ModelProto, table: NDArray[np.float32], channels_last: bool, codes_out: bool = False
) -> onnx.ModelProto:
    """A copy whose input is "pixels", uint8 [N, C, H, W] or, with `channels_last`, [N, H, W, C].

    Args:
        model: its input is float32 [N, C, H, W].
        table: float32 [C, 256], the number that the network takes for each pixel.
        channels_last: see above.
        codes_out: an output that a DequantizeLinear gives is its codes instead (`output_grids`).
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    (source,) = graph.input
    sizes = list(source.type.tensor_type.shape.dim)
    nodes: list[onnx.NodeProto] = []
    pixels = PIXELS
    if channels_last:
        sizes = [sizes[0], *sizes[2:], sizes[1]]
        pixels = _add(nodes, "Transpose", [PIXELS], f"{PIXELS}/channels_first", perm=[0, 3, 1, 2])
    for node in graph.node:
        if source.name not in node.input:
            continue
        if node.op_type == "QuantizeLinear":
            _look_up(graph, nodes, pixels, _codes(graph, node, table), node.output[0])
            node.op_type = ""
            continue
        numbers = f"{source.name}/numbers"
        if all(numbers not in other.output for other in nodes):
            _look_up(graph, nodes, pixels, table, numbers)
        node.input[:] = [numbers if name == source.name else name for name in node.input]
    kept = [node for node in graph.node if node.op_type]
    del graph.node[:]
    graph.node.extend([*nodes, *kept])
    source.CopyFrom(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, None))
    source.type.tensor_type.shape.dim.extend(sizes)
    if codes_out:
        _give_codes(graph)
    onnx.checker.check_model(made, full_check=True)
    return made


def output_grids(model: onnx.ModelProto) -> dict[str, tuple[float, int]]:
    """Scale and zero-point of the outputs that a DequantizeLinear gives, by name."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    outputs = {output.name for output in model.graph.output}
    return {
        node.output[0]: (constants[node.input[1]].item(), constants[node.input[2]].item())
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.output[0] in outputs
    }


def _give_codes(graph: onnx.GraphProto) -> None:
    zeros = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for output in graph.output:
        for node in graph.node:
            if node.op_type == "DequantizeLinear" and node.output[0] == output.name:
                output.type.tensor_type.elem_type = zeros[node.input[2]]
                node.CopyFrom(helper.make_node("Identity", [node.input[0]], [output.name], name=output.name))


def _codes(graph: onnx.GraphProto, quantizer: onnx.NodeProto, table: NDArray[np.float32]) -> NDArray[np.integer]:
    """What the first quantizer makes of every pixel, [C, 256] in its container."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    scale, zero = (numpy_helper.to_array(constants[name]) for name in quantizer.input[1:3])
    limits = np.iinfo(zero.dtype)
    codes: NDArray[np.integer] = np.clip(np.rint(table / scale) + zero, limits.min, limits.max).astype(zero.dtype)
    return codes


def _look_up(
    graph: onnx.GraphProto, nodes: list[onnx.NodeProto], pixels: str, table: NDArray[np.generic], result: str
) -> None:
    """Add what gives `result` from the table."""
    if table.dtype == np.uint8 and (table == np.arange(LEVELS)).all():
        _add(nodes, "Identity", [pixels], result)
        return
    index = _add(nodes, "Cast", [pixels], f"{result}/index", to=TensorProto.INT32)
    if (table != table[0]).any():
        first = np.arange(len(table), dtype=np.int32).reshape(1, -1, 1, 1) * LEVELS
        index = _add(nodes, "Add", [index, _constant(graph, f"{result}/first", first)], f"{result}/place")
    else:
        table = table[:1]
    _add(nodes, "Gather", [_constant(graph, f"{result}/table", table.reshape(-1)), index], result)


def _add(nodes: list[onnx.NodeProto], operator: str, inputs: list[str], result: str, **attributes: Any) -> str:
    nodes.append(helper.make_node(operator, inputs, [result], name=result, **attributes))
    return result


def _constant(graph: onnx.GraphProto, name: str, value: NDArray[np.generic]) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name

"""Ways in which a file may no longer be what was built; each says which quantizer a check must name first."""

from collections.abc import Callable

import onnx
from onnx import numpy_helper

Damage = Callable[[onnx.ModelProto], str]
_CODES = "/codes"


def flip_weight(model: onnx.ModelProto) -> str:
    """One code of the second quantized convolution moves by 7."""
    weights = [t for t in model.graph.initializer if len(t.dims) == 4 and t.data_type in (onnx.TensorProto.INT8, 22)]
    tensor = weights[1]
    if tensor.data_type == onnx.TensorProto.INT8:
        codes = numpy_helper.to_array(tensor).copy()
        codes.flat[4] = 7 if codes.flat[4] <= 0 else -7
        tensor.CopyFrom(numpy_helper.from_array(codes, tensor.name))
    else:
        raw = bytearray(tensor.raw_data)
        raw[2] ^= 0x44
        tensor.raw_data = bytes(raw)
    return _first_behind(model, tensor.name)


def remove_clip(model: onnx.ModelProto) -> str:
    """A Clip in front of or behind a quantizer is bypassed."""
    clip = [node for node in model.graph.node if node.op_type == "Clip"][2]
    if clip.output[0].endswith(_CODES):
        source = next(node for node in model.graph.node if clip.input[0] in node.output)
        source.output[0] = clip.output[0]
        name = clip.output[0]
    else:
        reader = next(node for node in model.graph.node if clip.output[0] in node.input)
        reader.input[0] = clip.input[0]
        name = reader.output[0]
    model.graph.node.remove(clip)
    return name.removesuffix(_CODES)


def _first_behind(model: onnx.ModelProto, tensor: str) -> str:
    """The first quantizer, in the order of the graph, whose codes depend on the tensor."""
    reached = {tensor}
    for node in model.graph.node:
        if reached & set(node.input):
            reached |= set(node.output)
            if node.output[0].endswith(_CODES):
                return str(node.output[0].removesuffix(_CODES))
    raise ValueError(f"no quantizer is behind {tensor}")

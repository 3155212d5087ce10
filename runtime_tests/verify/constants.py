"""The numbers in the deployed file held against those of the integer model.

These are codes, scales, biases, zero-points, the limits of codes, and the geometry of convolutions.

Codes tell that something differs and where it begins; the constants there tell what. Each mismatch carries the value
that would repair it, so that the suspicion can be tested on a copy of the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import fx

from export.passes.zero_point_shift import without_zero_points
from genq_export.network.aten import called_module, op_name
from genq_export.network.containers import container_shift, reciprocal
from genq_export.network.names import codes_tensor, product_tensor, weight_tensor

_MOVES_NOTHING = ("Cast", "Identity", "Neg", "Transpose", "Reshape", "Unsqueeze")


@dataclass(frozen=True)
class Mismatch:
    """One constant that is not what the integer model has.

    owner: layer or quantizer. tensor: the constant in the file. repaired: what it should be, in the file's own type;
    None where another number in its place would not do.
    """

    owner: str
    message: str
    tensor: str
    repaired: NDArray[Any] | None


class Constants:
    """Constants of an ONNX graph by tensor name, initializers and Constant nodes alike."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._tensors[node.output[0]] = node.attribute[0].t
        self._producer = {output: node for node in model.graph.node for output in node.output}
        self._nodes = model.graph.node

    def value(self, name: str) -> NDArray[Any] | None:
        """The constant called `name`, or None where this is no constant."""
        tensor = self._tensors.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def source(self, name: str) -> str | None:
        """The constant that `name` is, or is a cast or another view of."""
        while name not in self._tensors:
            node = self._producer.get(name)
            if node is None or node.op_type not in _MOVES_NOTHING:
                return None
            name = node.input[0]
        return name

    def is_turned(self, name: str) -> bool:
        """Does a Transpose stand between the constant and its use?"""
        while name not in self._tensors:
            node = self._producer.get(name)
            if node is None or node.op_type == "Transpose":
                return node is not None
            name = node.input[0]
        return False

    def replace(self, name: str, value: NDArray[Any]) -> None:
        """Put another value of the same type in the place of a constant, in the model itself."""
        tensor = self._tensors[name]
        kept = numpy_helper.to_array(tensor).dtype
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(value).astype(kept), tensor.name or name))

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a tensor."""
        return self._producer.get(name)

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor."""
        return [node for node in self._nodes if name in node.input]


def mismatches(model: onnx.ModelProto, oracle: Any) -> list[Mismatch]:
    """Find every constant of the file that differs from the integer model, and what it lacks of it.

    Args:
        model: The deployed file.
        oracle: The integer model, a `GraphNetwork` of the parts in `genq_export.network.integer`.

    Raises:
        UserError: The file holds INT8 activations, which the integer model cannot be shifted into.
    """
    constants = Constants(model)
    if _holds_int8(model, constants):
        oracle = without_zero_points(oracle)
    behind_relu, behind_convolution = _behind_relu(oracle)
    padded = _padded_with_zeros(oracle)
    found: list[Mismatch] = []
    for part in oracle.modules():
        if hasattr(part, "weight_codes"):
            found += _layer(model, constants, part, padded.get(part.name))
        elif hasattr(part, "scale") and hasattr(part, "zero_point"):
            found += _quantizer(constants, part, part.name in behind_relu, part.name in behind_convolution)
    return found


def _holds_int8(model: onnx.ModelProto, constants: Constants) -> bool:
    """Do activations travel in INT8 alone, shifted where they have a zero-point? Beside UINT8 they keep it."""
    zeros = [constants.value(node.input[2]) for node in model.graph.node if _has_zero_point(node)]
    return bool(zeros) and all(zero is not None and zero.dtype == np.int8 for zero in zeros)


def _has_zero_point(node: onnx.NodeProto) -> bool:
    return node.op_type == "QuantizeLinear" and len(node.input) > 2


def _behind_relu(oracle: Any) -> tuple[set[str], set[str]]:
    """Quantizers that alone read a ReLU, and those of them whose ReLU is a convolution's.

    A Clip may take in the one; codes may take in the other (`export.passes.relu_on_codes`).
    """
    import torch

    found, of_convolutions = set[str](), set[str]()
    for node in oracle.graph.nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if source is None or source.target is not torch.ops.aten.relu.default or len(source.users) > 1:
            continue
        name = str(getattr(called_module(oracle, node), "name", ""))
        found.add(name)
        layer = called_module(oracle, source.args[0])
        if source.args[0].target is torch.ops.aten.conv2d.default or getattr(layer, "op", "") == "conv2d":
            of_convolutions.add(name)
    return found, of_convolutions


def _padded_with_zeros(oracle: Any) -> dict[str, list[int]]:
    """What lies in front of layers as an operator of its own (top, left, bottom, right), which a Conv may take in."""
    found: dict[str, list[int]] = {}
    for node in oracle.graph.nodes:
        name = getattr(called_module(oracle, node), "name", None)
        source = node.args[0] if node.args else None
        if name is None or not isinstance(source, fx.Node) or op_name(source) not in ("pad", "constant_pad_nd"):
            continue
        arguments: list[Any] = list(source.args[1:])
        sides, how = arguments[0], [word for word in arguments[1:] if word not in ("constant", None, 0)]
        if len(sides) == 4 and not how:
            left, right, top, bottom = sides
            found[str(name)] = [top, left, bottom, right]
    return found


def _layer(model: onnx.ModelProto, constants: Constants, part: Any, padded: list[int] | None) -> Iterator[Mismatch]:
    dequantize = constants.producer(weight_tensor(part.name))
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        yield Mismatch(part.name, f"the file has no weight codes of {part.name}", "", None)
        return
    codes = part.weight_codes.cpu().numpy()
    transposed = codes.ndim == 2 and _axis(dequantize) == 1  # by its axis: a square weight shows it by nothing else
    yield from _compare(constants, dequantize.input[0], part.name, "weight codes", codes, transposed)
    yield from _compare(constants, dequantize.input[1], part.name, "weight scale", part.weight_scale.cpu().numpy())
    reader = next((node for node in model.graph.node if weight_tensor(part.name) in node.input), None)
    if reader is None:
        yield Mismatch(part.name, f"nothing in the file reads the weights of {part.name}", "", None)
        return
    if reader.op_type == "Conv":
        yield from _geometry(reader, part, padded)
    yield from _bias(model, constants, reader, part)


def _bias(model: onnx.ModelProto, constants: Constants, reader: onnx.NodeProto, part: Any) -> Iterator[Mismatch]:
    """On the accumulator grid or in float; behind a MatMul for ONNX Runtime the bias is subtracted, its sign turned."""
    expected = part.bias.cpu().numpy()
    tensor, subtracted = _bias_input(model, reader, part.name)
    if tensor is None:
        if expected.any():
            yield Mismatch(part.name, f"the file has no bias of {part.name}", "", None)
        return
    bias = constants.producer(tensor)
    if bias is not None and bias.op_type == "DequantizeLinear":
        yield from _compare(constants, bias.input[0], part.name, "bias", expected)
        yield from _compare(constants, bias.input[1], part.name, "bias scale", part.bias_scale.cpu().numpy())
    elif part.bias_on_grid:
        numbers = (expected.astype(np.float64) * part.bias_scale.cpu().numpy()).astype(np.float32)
        for mismatch in _compare(constants, tensor, part.name, "bias", numbers):
            yield Mismatch(mismatch.owner, f"the bias of {part.name} is not on the accumulator grid", *_tail(mismatch))
    else:
        turned = subtracted and (bias is None or bias.op_type != "Neg")
        yield from _compare(constants, tensor, part.name, "bias", -expected if turned else expected)


def _bias_input(model: onnx.ModelProto, reader: onnx.NodeProto, name: str) -> tuple[str | None, bool]:
    """The tensor that a layer's bias comes from, and whether it is subtracted."""
    product = product_tensor(name)
    for node in model.graph.node:
        if product in node.input and node.op_type in ("Sub", "Add"):
            return next(tensor for tensor in node.input if tensor != product), node.op_type == "Sub"
    return (reader.input[2] if len(reader.input) > 2 and reader.input[2] else None), False


def _geometry(convolution: onnx.NodeProto, part: Any, padded: list[int] | None) -> Iterator[Mismatch]:
    """Strides, pads, dilations and groups of a convolution are constants of it; its pads may hold those in front."""
    found = {item.name: list(item.ints) or int(item.i) for item in convolution.attribute}
    geometry = part.geometry
    wanted: dict[str, Any] = {
        "strides": list(geometry["stride"]),
        "pads": [*geometry["padding"], *geometry["padding"]],
        "dilations": list(geometry["dilation"]),
        "group": geometry["groups"],
    }
    usual = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1}
    for name, value in wanted.items():
        there = found.get(name, usual[name])
        taken_in = (
            name == "pads" and padded is not None and there == [a + b for a, b in zip(value, padded, strict=True)]
        )
        if there != value and not taken_in:
            message = f"{name} of {part.name} is {there} in the file and {value} in the integer model"
            yield Mismatch(part.name, message, "", None)


def _quantizer(constants: Constants, part: Any, behind_relu: bool, behind_convolution: bool) -> Iterator[Mismatch]:
    node = constants.producer(codes_tensor(part.name))
    clip = node if node is not None and node.op_type == "Clip" else None
    if clip is not None:
        node = constants.producer(clip.input[0])
    if node is None or node.op_type != "QuantizeLinear":
        yield Mismatch(part.name, f"the file has no quantizer {part.name}", "", None)
        return
    name = part.name
    number = _number(constants, node)
    yield from _scale(constants, node, part)
    zero = constants.value(node.input[2]) if len(node.input) > 2 else None
    container = np.iinfo(np.uint8 if zero is None else zero.dtype)
    shift = container_shift(container.dtype.name, part.lo, part.hi)
    if zero is not None:
        yield from _compare(constants, node.input[2], name, "zero-point", np.asarray(part.zero_point + shift))
    elif part.zero_point + shift:
        yield Mismatch(name, f"the file has no zero-point of {name}, which is {part.zero_point + shift}", "", None)
    lo, hi = part.lo + shift, part.hi + shift
    relu = constants.producer(number)
    if behind_convolution and (relu is None or relu.op_type != "Relu"):
        lo = max(lo, part.zero_point + shift)  # the ReLU became the lower end of the codes
    if clip is not None:
        yield from _end(constants, clip, 1, name, "smallest code", np.asarray(lo))
        yield from _end(constants, clip, 2, name, "largest code", np.asarray(hi))
    elif container.min == 0:
        if (lo, hi) != (container.min, container.max):
            yield _unlimited(name, lo, hi)
    elif (lo, hi) != (container.min, container.max):
        yield from _number_limits(constants, node, part, (lo, hi), behind_relu)


def _scale(constants: Constants, node: onnx.NodeProto, part: Any) -> Iterator[Mismatch]:
    """Where a number is rounded first (`export.passes.round_in_float`), the scale is what it is multiplied by."""
    name, scale = part.name, part.scale.cpu().numpy()
    if node.input[0] == _number(constants, node):
        yield from _compare(constants, node.input[1], name, "scale", scale)
        return
    steps = constants.producer(constants.producer(node.input[0]).input[0])  # type: ignore[union-attr]
    zero = constants.value(node.input[2])
    ends = (-128 - int(zero or 0), 127 - int(zero or 0))
    yield from _compare(constants, node.input[1], name, "scale behind the rounding", np.ones((), np.float32))
    factor = np.asarray(reciprocal(np.float32(scale), ends))
    yield from _compare(constants, steps.input[1], name, "reciprocal of the scale", factor)  # type: ignore[union-attr]
    for reader in constants.readers(codes_tensor(name)):
        if reader.op_type == "DequantizeLinear":
            yield from _compare(constants, reader.input[1], name, "scale", scale)


def _number(constants: Constants, quantizer: onnx.NodeProto) -> str:
    """The tensor that a quantizer rounds, or that is rounded in front of it."""
    rounded = constants.producer(quantizer.input[0])
    steps = constants.producer(rounded.input[0]) if rounded is not None and rounded.op_type == "Round" else None
    if steps is None or steps.op_type != "Mul":
        return str(quantizer.input[0])
    clip = constants.producer(steps.input[0])
    return str(steps.input[0] if clip is None or clip.op_type != "Clip" else clip.input[0])


def _number_limits(
    constants: Constants, node: onnx.NodeProto, part: Any, ends: tuple[int, int], behind_relu: bool
) -> Iterator[Mismatch]:
    """In front of a quantizer to INT8 numbers are clipped, half a step inside the next code (`export.onnx_qdq`).

    With a ReLU in front of it the two are one Clip, from 0.
    """
    lo, hi = ends
    clip = constants.producer(node.input[0])
    if clip is None or clip.op_type != "Clip" or len(clip.input) < 3:
        yield _unlimited(part.name, lo, hi)
        return
    scale = part.scale.cpu().numpy().astype(np.float32)
    for position, end, what in ((1, lo - 0.25, "smallest number"), (2, hi + 0.25, "largest number")):
        product = constants.producer(clip.input[position])
        if position == 1 and behind_relu and constants.value(clip.input[position]) == 0:
            continue
        if product is not None and product.op_type == "Mul":
            yield from _compare(constants, product.input[1], part.name, what, np.asarray(end, np.float32))
            yield from _compare(constants, product.input[0], part.name, "scale", scale)
        else:
            yield from _end(constants, clip, position, part.name, what, scale * np.float32(end))


def _end(
    constants: Constants, clip: onnx.NodeProto, position: int, name: str, what: str, value: NDArray[Any]
) -> Iterator[Mismatch]:
    tensor = clip.input[position] if len(clip.input) > position else ""
    if constants.source(tensor) is None:
        yield Mismatch(name, f"the {what} of {name} is no constant in the file", "", None)
    yield from _compare(constants, tensor, name, what, value)


def _unlimited(name: str, lo: int, hi: int) -> Mismatch:
    return Mismatch(
        name, f"the file does not limit the codes of {name} to {lo} to {hi}, as the integer model does", "", None
    )


def _axis(dequantize: onnx.NodeProto) -> int:
    """The axis that the scales of a DequantizeLinear lie on."""
    return next((int(attribute.i) for attribute in dequantize.attribute if attribute.name == "axis"), 1)


def _compare(
    constants: Constants, tensor: str, owner: str, what: str, expected: NDArray[Any], transposed: bool = False
) -> Iterator[Mismatch]:
    """Nothing where the constant in the file equals `expected`, or its transpose where the file holds that.

    What the file transposes again before its use counts as it is used.
    """
    source = constants.source(tensor)
    found = constants.value(source) if source is not None else None
    if source is None or found is None:
        return
    if found.shape != expected.T.shape or constants.is_turned(tensor):
        transposed = False
    wanted = expected.T if transposed else expected
    if found.shape != wanted.shape:
        yield Mismatch(owner, f"the {what} of {owner} has shape {found.shape}, not {wanted.shape}", source, None)
    elif not np.array_equal(found.astype(np.float64), wanted.astype(np.float64)):
        rows = found.T if transposed else found
        yield Mismatch(owner, describe(owner, what, expected, rows), source, wanted)


def describe(owner: str, what: str, expected: NDArray[Any], found: NDArray[Any]) -> str:
    """In words how two constants of equal shape differ; axis 0 is the output channel."""
    a, b = expected.astype(np.float64), found.astype(np.float64)
    where = f"the {what} of {owner}"
    plural = what.endswith("codes")
    verb = "have" if plural else "has"
    if a.ndim == 0:
        return f"{where} is {b:.9g} in the file and {a:.9g} in the integer model{_ulps(expected, found)}"
    channels = np.flatnonzero((a != b).reshape(len(a), -1).any(axis=1))
    if len(channels) == 2 and np.array_equal(a[channels], b[channels[::-1]]):
        return f"{where} {verb} output channels {channels[0]} and {channels[1]} exchanged"
    count, shown = int((a != b).sum()), ", ".join(str(channel) for channel in channels[:4])
    more = f" and {len(channels) - 4} more" if len(channels) > 4 else ""
    values = f"{count} value{'' if count == 1 else 's'}"
    differ = "differ" if plural else "differs"
    return f"{where} {differ} in {values}, output channel{'' if len(channels) == 1 else 's'} {shown}{more}"


def _ulps(expected: NDArray[Any], found: NDArray[Any]) -> str:
    """How many float32 numbers apart two positive scalars are, where that is few."""
    if expected.dtype != np.float32 or found.dtype != np.float32:
        return ""
    apart = abs(int(expected.reshape(1).view(np.int32)[0]) - int(found.reshape(1).view(np.int32)[0]))
    return f" ({apart} ulp apart)" if apart <= 1000 else ""


def _tail(mismatch: Mismatch) -> tuple[str, NDArray[Any] | None]:
    return mismatch.tensor, mismatch.repaired

"""The numbers in the deployed file held against those of the integer model: codes, scales, biases, zero-points, limits.

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

from genq_export.network.names import codes_tensor, weight_tensor

_MOVES_NOTHING = ("Cast", "Identity", "Neg", "Transpose", "Reshape", "Unsqueeze")


@dataclass(frozen=True)
class Mismatch:
    """One constant that is not what the integer model has.

    owner: layer or quantizer. tensor: the constant in the file. repaired: what it should be, in the file's own type.
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


def mismatches(model: onnx.ModelProto, oracle: Any) -> list[Mismatch]:
    """Find every constant of the file that differs from the integer model.

    Args:
        model: The deployed file.
        oracle: The integer model, a module made of the parts in `genq_export.network.integer`.
    """
    constants = Constants(model)
    found: list[Mismatch] = []
    for part in oracle.modules():
        if hasattr(part, "weight_codes"):
            found += _layer(model, constants, part)
        elif hasattr(part, "scale") and hasattr(part, "zero_point"):
            found += _quantizer(constants, part)
    return found


def _layer(model: onnx.ModelProto, constants: Constants, part: Any) -> Iterator[Mismatch]:
    dequantize = constants.producer(weight_tensor(part.name))
    if dequantize is None or dequantize.op_type != "DequantizeLinear":
        return
    codes = part.weight_codes.cpu().numpy()
    transposed = codes.ndim == 2 and _axis(dequantize) == 1  # by its axis: a square weight shows it by nothing else
    yield from _compare(constants, dequantize.input[0], part.name, "weight codes", codes, transposed)
    yield from _compare(constants, dequantize.input[1], part.name, "weight scale", part.weight_scale.cpu().numpy())
    reader = next((node for node in model.graph.node if weight_tensor(part.name) in node.input), None)
    if reader is None or len(reader.input) < 3 or not reader.input[2]:
        return
    bias = constants.producer(reader.input[2])
    if bias is not None and bias.op_type == "DequantizeLinear":
        yield from _compare(constants, bias.input[0], part.name, "bias", part.bias.cpu().numpy())
        yield from _compare(constants, bias.input[1], part.name, "bias scale", part.bias_scale.cpu().numpy())
    elif part.bias_on_grid:
        expected = part.bias.cpu().numpy().astype(np.float64) * part.bias_scale.cpu().numpy()
        for mismatch in _compare(constants, reader.input[2], part.name, "bias", expected.astype(np.float32)):
            yield Mismatch(mismatch.owner, f"the bias of {part.name} is not on the accumulator grid", *_tail(mismatch))


def _quantizer(constants: Constants, part: Any) -> Iterator[Mismatch]:
    node = constants.producer(codes_tensor(part.name))
    clip = node if node is not None and node.op_type == "Clip" else None
    if clip is not None:
        node = constants.producer(clip.input[0])
    if node is None or node.op_type != "QuantizeLinear":
        return
    name = part.name
    yield from _compare(constants, node.input[1], name, "scale", part.scale.cpu().numpy())
    zero = constants.value(node.input[2]) if len(node.input) > 2 else None
    shift = 128 if zero is not None and zero.dtype == np.uint8 and part.lo < 0 else 0
    native = zero is None or zero.dtype == np.uint8  # INT8 containers know no zero-point: the numbers are shifted
    zero_point = part.zero_point + shift if native else 0
    yield from _compare(constants, node.input[2], name, "zero-point", np.asarray(zero_point))
    if clip is not None and len(clip.input) == 3:
        if constants.value(clip.input[1]) != zero_point:  # a ReLU in front became the lower end
            yield from _compare(constants, clip.input[1], name, "smallest code", np.asarray(part.lo + shift))
        yield from _compare(constants, clip.input[2], name, "largest code", np.asarray(part.hi + shift))


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

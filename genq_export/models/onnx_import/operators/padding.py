"""Padding with a number, by mirroring, repeating the edge, or wrapping around."""

from torch.nn import functional as F

from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.operators.windows import sides_of
from genq_export.models.onnx_import.values import Value

_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def pad(node: Node) -> Value:
    """On all axes; negative numbers cut off."""
    x = node.input(0)
    pads = node.listed("pads", 1) or []
    value = node.attribute("value", node.number(2, 0.0) if node.opset >= 11 else 0.0)
    mode = _MODES.get(str(node.attribute("mode", "constant")))
    if mode is None:
        raise node.refuse(f"mode '{node.attribute('mode')}' is not taken")
    before, after = _by_axis(node, x, pads)
    first = next((axis for axis in range(x.rank) if before[axis] or after[axis]), None)
    if first is None:
        return x
    if mode == "constant":
        sides = sides_of(before[first:], after[first:])
        return node.emit(lambda x: F.pad(x, sides, value=value), x)
    if first < 2 or x.rank > 5:
        raise node.refuse(f"padding of images or channels by mode '{node.attribute('mode')}' is not taken")
    sides = sides_of(before[2:], after[2:])
    return node.emit(lambda x: F.pad(x, sides, mode=mode), x)


def _by_axis(node: Node, x: Value, pads: list[int]) -> tuple[list[int], list[int]]:
    axes = [x.axis(axis) for axis in node.integers(3)] if node.has(3) else list(range(x.rank))
    if len(pads) != 2 * len(axes):
        raise node.refuse(f"its pads {pads} are not those of {len(axes)} axes")
    before, after = [0] * x.rank, [0] * x.rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[place + len(axes)]
    if x.grows(0) and (before[0] or after[0]):
        raise node.refuse("it adds images to a batch")
    return before, after

"""Windows that slide over the spatial axes of a tensor: sizes, steps, padding, in the terms of the standard."""

import math
from dataclasses import dataclass

from torch.nn import functional as F

from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.values import Value


@dataclass(frozen=True)
class Windows:
    """Kernel, stride and dilation by spatial axis, and how far the padding goes before and behind the tensor.

    beyond: how many places more behind the padding the last window covers where sizes are rounded up.
    """

    kernel: list[int]
    stride: list[int]
    dilation: list[int]
    before: list[int]
    after: list[int]
    beyond: list[int]

    @classmethod
    def of(cls, node: Node, x: Value, kernel: list[int]) -> "Windows":
        """As a node describes them."""
        rank = len(kernel)
        if x.rank != rank + 2 or not 1 <= rank <= 3:
            raise node.refuse(f"a kernel of {rank} axes over a tensor of {x.rank} is not taken")
        stride = [int(step) for step in node.attribute("strides", [1] * rank)]
        dilation = [int(step) for step in node.attribute("dilations", [1] * rank)]
        sizes = [int(size) for size in x.shape[2:]]
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        before, after = _padding(node, sizes, spans, stride)
        padded = [size + a + b for size, a, b in zip(sizes, before, after, strict=True)]
        beyond = [0] * rank
        if node.attribute("ceil_mode", 0):
            around = zip(padded, sizes, before, spans, stride, strict=True)
            beyond = [_beyond(*part) for part in around]
        return cls(kernel, stride, dilation, before, after, beyond)

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel)

    @property
    def symmetric(self) -> bool:
        """Is the padding the same on both sides, and inside all windows?"""
        return self.before == self.after and not any(self.beyond)

    @property
    def padded(self) -> bool:
        """Is there any padding?"""
        return any((*self.before, *self.after, *self.beyond))

    @property
    def behind(self) -> list[int]:
        """Padding behind the tensor with what rounding up adds."""
        return [a + b for a, b in zip(self.after, self.beyond, strict=True)]


def pad_sides(
    node: Node, x: Value, before: list[int], after: list[int], value: float = 0.0, mode: str = "constant"
) -> Value:
    """The tensor with more around its spatial axes."""
    sides = sides_of(before, after)
    return node.emit(lambda x: F.pad(x, sides, mode, value if mode == "constant" else None), x, part_of="padding")


def sides_of(before: list[int], after: list[int]) -> list[int]:
    """Padding in the order that torch takes: the last axis first."""
    return [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]


def _padding(node: Node, sizes: list[int], spans: list[int], stride: list[int]) -> tuple[list[int], list[int]]:
    rank, mode = len(sizes), node.attribute("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        around = zip(sizes, spans, stride, strict=True)
        total = [max((math.ceil(size / step) - 1) * step + span - size, 0) for size, span, step in around]
        smaller, larger = [part // 2 for part in total], [part - part // 2 for part in total]
        return (smaller, larger) if mode == "SAME_UPPER" else (larger, smaller)
    pads = [0] * (2 * rank) if mode == "VALID" else [int(size) for size in node.attribute("pads", [0] * (2 * rank))]
    if len(pads) != 2 * rank:
        raise node.refuse(f"its pads {pads} are not those of {rank} axes")
    return pads[:rank], pads[rank:]


def _beyond(padded: int, size: int, before: int, span: int, step: int) -> int:
    """Places that the last window covers behind the padding; a window that begins behind the tensor there is none."""
    count = math.ceil((padded - span) / step) + 1
    if (count - 1) * step >= size + before:
        count -= 1
    return max((count - 1) * step + span - padded, 0)

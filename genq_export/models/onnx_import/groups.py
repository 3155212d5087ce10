"""Nodes of a file that one operator computes, found by what they compute and written as that operator.

Exporters write layers out: a GELU as five nodes, a linear layer as a product and a sum. As one operator each has a
module of its own, its sums one integer layer with a bias, and its output the grid that fits it.

    x * (1 + erf(x / sqrt 2)) / 2                              Gelu
    x * sigmoid(x)                                             Swish
    x * clip(x + 3, 0, 6) / 6, x * hardsigmoid(x)              HardSwish
    clip(x + 3, 0, 6) / 6                                      HardSigmoid
    (x - mean) / sqrt(mean((x - mean)^2) + e) * g + b          LayerNormalization
    conv(x) + b, x W + b                                       Conv, ConvTranspose with a bias; Gemm of any rank
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from onnx import NodeProto, helper
from torch import Tensor

from genq_export.models.onnx_import.reading import OnnxFile

_CLOSE = 1e-5


@dataclass(frozen=True, eq=False)
class Group:
    """Nodes of the file, and the one node that is translated for them. node: the last of `members`, or made here."""

    node: NodeProto
    members: tuple[NodeProto, ...]


def grouped(file: OnnxFile) -> list[Group]:
    """The nodes of a file in order, those that are one operator as one."""
    graph = _Graph(file)
    taken: set[str] = set()
    found: list[Group] = []
    for node in reversed(file.nodes):
        if node.output[0] in taken:
            continue
        group = next(filter(None, (match(graph, node) for match in _MATCHES)), None) or Group(node, (node,))
        taken.update(member.output[0] for member in group.members)
        found.append(group)
    return found[::-1]


class _Graph:
    """Who gives a tensor, how often it is read, and the numbers that the file holds."""

    def __init__(self, file: OnnxFile) -> None:
        self._tensors = file.tensors
        self._giver = {name: node for node in file.nodes for name in node.output}
        self._read = Counter(name for node in file.nodes for name in node.input) + Counter(file.results)

    def giver(self, name: str, *kinds: str) -> NodeProto | None:
        """The node that gives a tensor, where it is of such a kind and only one node reads it."""
        node = self._giver.get(name)
        return node if node is not None and node.op_type in kinds and self.read_once(name) else None

    def read_once(self, name: str) -> bool:
        """Does one node read it, and is it no output?"""
        return self._read[name] == 1

    def tensor(self, name: str) -> Tensor | None:
        """What the file holds under a name, through Identity and Reshape nodes."""
        node = self._giver.get(name)
        if name in self._tensors or node is None:
            return self._tensors.get(name)
        if node.op_type == "Identity":
            return self.tensor(node.input[0])
        return self._reshaped(node) if node.op_type == "Reshape" else None

    def _reshaped(self, node: NodeProto) -> Tensor | None:
        """A stored tensor in another shape, as exporters of Paddle write the bias of a convolution."""
        tensor, shape = self.tensor(node.input[0]), self._tensors.get(node.input[1])
        if tensor is None or shape is None or 0 in shape:
            return None
        try:
            return tensor.reshape(shape.tolist())
        except RuntimeError:  # which translating the node will say
            return None

    def number(self, name: str) -> float | None:
        """The number that the file holds under a name."""
        tensor = self.tensor(name)
        if tensor is None or tensor.numel() != 1 or tensor.dim() > 1:
            return None
        return float(tensor.flatten()[0])


@dataclass
class _Product:
    """coefficient * factors, and the nodes that multiply them."""

    coefficient: float = 1.0
    factors: list[str] = field(default_factory=list)
    members: list[NodeProto] = field(default_factory=list)


def _product(graph: _Graph, node: NodeProto) -> _Product:
    """A node that multiplies or divides by a number, with all such nodes in front that nothing else reads."""
    found, waiting = _Product(), [node]
    while waiting:
        node = waiting.pop(0)
        found.members.append(node)
        first, second = node.input
        numbers = [graph.number(name) for name in (first, second)]
        if node.op_type == "Div":
            if not numbers[1]:
                return _Product()
            found.coefficient /= numbers[1]
            parts = [first]
        else:
            found.coefficient *= math.prod(number for number in numbers if number is not None)
            parts = [name for name, number in zip((first, second), numbers, strict=True) if number is None]
        for name in parts:
            inner = graph.giver(name, "Mul", "Div")
            if inner is None or (inner.op_type == "Div" and graph.number(inner.input[1]) is None):
                found.factors.append(name)
            else:
                waiting.append(inner)
    return found


def _gated(graph: _Graph, node: NodeProto) -> Group | None:
    """x times something of x: Gelu, Swish, HardSwish; the gate alone: HardSigmoid."""
    if node.op_type not in ("Mul", "Div"):
        return None
    product = _product(graph, node)
    if len(product.factors) == 1:
        return _hard_gate_alone(graph, node, product)
    if len(product.factors) != 2:
        return None
    for x, gate in (product.factors, product.factors[::-1]):
        for kind, match in _GATES.items():
            members = match(graph, x, gate, product.coefficient)
            if members is not None:
                return _as_one(node, kind, [x], [*product.members, *members])
    return None


def _hard_gate_alone(graph: _Graph, node: NodeProto, product: _Product) -> Group | None:
    clip = graph.giver(product.factors[0], "Clip")
    add = None if clip is None else graph.giver(clip.input[0], "Add")
    for x in () if add is None else add.input:
        members = _hard_gate(graph, x, product.factors[0], product.coefficient)
        if members is not None:
            return _as_one(node, "HardSigmoid", [x], [*product.members, *members], alpha=1 / 6, beta=0.5)
    return None


def _erf_gate(graph: _Graph, x: str, gate: str, coefficient: float) -> list[NodeProto] | None:
    """1 + erf(x / sqrt 2), halved."""
    add = graph.giver(gate, "Add")
    erf = None if add is None else _other(graph, add, 1.0, "Erf")
    if add is None or erf is None or not _close(coefficient, 0.5):
        return None
    scaled = graph.giver(erf.input[0], "Mul", "Div")
    product = _Product() if scaled is None else _product(graph, scaled)
    if product.factors != [x] or not _close(product.coefficient, math.sqrt(0.5)):
        return None
    return [add, erf, *product.members]


def _sigmoid_gate(graph: _Graph, x: str, gate: str, coefficient: float) -> list[NodeProto] | None:
    node = graph.giver(gate, "Sigmoid")
    return [node] if node is not None and node.input[0] == x and _close(coefficient, 1) else None


def _hard_gate(graph: _Graph, x: str, gate: str, coefficient: float) -> list[NodeProto] | None:
    node = graph.giver(gate, "HardSigmoid")
    if node is not None and node.input[0] == x and _close(coefficient, 1):
        given = {part.name: part.f for part in node.attribute}
        return [node] if _close(given.get("alpha", 0.2), 1 / 6) and _close(given.get("beta", 0.5), 0.5) else None
    clip = graph.giver(gate, "Clip")
    add = None if clip is None else graph.giver(clip.input[0], "Add")
    if clip is None or add is None or x not in add.input or not _close(coefficient, 1 / 6):
        return None
    others = [name for name in add.input if name != x]
    limits = _limits(graph, clip)
    return [clip, add] if limits == (0, 6) and len(others) == 1 and graph.number(others[0]) == 3 else None


_GATES: dict[str, Callable[[_Graph, str, str, float], list[NodeProto] | None]] = {
    "Gelu": _erf_gate,
    "Swish": _sigmoid_gate,
    "HardSwish": _hard_gate,
}


def _limits(graph: _Graph, clip: NodeProto) -> tuple[float | None, float | None]:
    given = {part.name: float(part.f) for part in clip.attribute}
    if given:
        return given.get("min"), given.get("max")
    found = [graph.number(name) if name else None for name in (*clip.input, "", "")[1:3]]
    return found[0], found[1]


def _layer_norm(graph: _Graph, node: NodeProto) -> Group | None:
    """Read backwards from its last node, with its weight and bias where it has them."""
    members, bias, weight, last = list[NodeProto](), "", "", node
    if last.op_type == "Add":
        bias, inner = _affine(graph, last, "Mul")
        if inner is None:
            return None
        members, last = [last], inner
    if last.op_type == "Mul":
        weight, inner = _affine(graph, last, "Div")
        if inner is None:
            return None
        members, last = [*members, last], inner
    core = _normalised(graph, last)
    if core is None or (bias and not weight):
        return None
    x, epsilon, inside = core
    shape = None if not weight else graph.tensor(weight)
    if shape is None or shape.dim() != 1:
        return None
    inputs = [x, weight, bias] if bias else [x, weight]
    return _as_one(node, "LayerNormalization", inputs, [*members, *inside], axis=-1, epsilon=epsilon)


def _affine(graph: _Graph, node: NodeProto, kind: str) -> tuple[str, NodeProto | None]:
    """A vector of the file's, and the node of a kind that it is joined to."""
    for vector, other in (tuple(node.input), tuple(node.input)[::-1]):
        tensor, inner = graph.tensor(vector), graph.giver(other, kind)
        if tensor is not None and tensor.dim() == 1 and inner is not None:
            return vector, inner
    return "", None


def _normalised(graph: _Graph, div: NodeProto) -> tuple[str, float, list[NodeProto]] | None:
    """x, epsilon and the nodes of (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon), along the last axis."""
    if div.op_type != "Div":
        return None
    root = graph.giver(div.input[1], "Sqrt")
    add = None if root is None else graph.giver(root.input[0], "Add")
    variance = None if add is None else _mean_of(graph, add.input[0]) or _mean_of(graph, add.input[1])
    if root is None or add is None or variance is None:
        return None
    epsilon = next((found for name in add.input if (found := graph.number(name)) is not None), None)
    square = graph.giver(variance.input[0], "Pow", "Mul")
    if epsilon is None or square is None or not _squares(graph, square):
        return None
    centred = graph._giver.get(square.input[0])
    again = graph._giver.get(div.input[0])
    if centred is None or again is None or centred.op_type != "Sub" or list(centred.input) != list(again.input):
        return None
    x, mean_name = centred.input
    mean = graph._giver.get(mean_name)
    if mean is None or mean.op_type != "ReduceMean" or mean.input[0] != x or not _last_axis(graph, mean):
        return None
    inside = {node.output[0]: node for node in (div, root, add, variance, square, centred, again, mean)}
    reads = Counter(name for node in inside.values() for name in node.input)
    closed = all(graph._read[name] == reads[name] for name in inside if name != div.output[0])
    return (x, epsilon, list(inside.values())) if closed else None


def _mean_of(graph: _Graph, name: str) -> NodeProto | None:
    node = graph.giver(name, "ReduceMean")
    return node if node is not None and _last_axis(graph, node) else None


def _last_axis(graph: _Graph, node: NodeProto) -> bool:
    given = {part.name: part for part in node.attribute}
    axes = list(given["axes"].ints) if "axes" in given else None
    if len(node.input) > 1:
        tensor = graph.tensor(node.input[1])
        axes = None if tensor is None else [int(axis) for axis in tensor.flatten().tolist()]
    return axes == [-1] and ("keepdims" not in given or given["keepdims"].i == 1)


def _squares(graph: _Graph, node: NodeProto) -> bool:
    return graph.number(node.input[1]) == 2 if node.op_type == "Pow" else node.input[0] == node.input[1]


def _biased(graph: _Graph, node: NodeProto) -> Group | None:
    """A sum of a layer and a tensor of the file's that has one number for each of its channels."""
    if node.op_type != "Add":
        return None
    for bias, other in (tuple(node.input), tuple(node.input)[::-1]):
        tensor, layer = graph.tensor(bias), graph.giver(other, "Conv", "ConvTranspose", "MatMul")
        weight = None if layer is None else graph.tensor(layer.input[1])
        if tensor is None or layer is None or weight is None or len([*filter(None, layer.input)]) != 2:
            continue
        if layer.op_type == "MatMul":
            fits = weight.dim() == 2 and tuple(tensor.shape) == (weight.shape[1],)
        else:
            channels = weight.shape[0] if layer.op_type == "Conv" else weight.shape[1] * _of_groups(layer)
            spatial = [1] * (weight.dim() - 2)
            fits = list(tensor.shape) in ([1, channels, *spatial], [channels, *spatial])
        if fits:
            made = _as_one(node, layer.op_type, [*layer.input[:2], bias], [node, layer])
            made.node.attribute.extend(layer.attribute)
            made.node.name = layer.name
            return made
    return None


def _of_groups(node: NodeProto) -> int:
    return next((int(part.i) for part in node.attribute if part.name == "group"), 1)


def _other(graph: _Graph, node: NodeProto, number: float, kind: str) -> NodeProto | None:
    """The node of a kind that a number is added to."""
    for name, other in (tuple(node.input), tuple(node.input)[::-1]):
        if graph.number(name) == number:
            return graph.giver(other, kind)
    return None


def _as_one(last: NodeProto, kind: str, inputs: list[str], members: list[NodeProto], **attributes: Any) -> Group:
    """A node of the standard's that stands for others; it gives what the last of them gives."""
    unique = {member.output[0]: member for member in members}
    return Group(helper.make_node(kind, inputs, [last.output[0]], name=last.name, **attributes), tuple(unique.values()))


def _close(found: float, wanted: float) -> bool:
    return math.isclose(found, wanted, rel_tol=_CLOSE)


_MATCHES: tuple[Callable[[_Graph, NodeProto], Group | None], ...] = (_gated, _layer_norm, _biased)

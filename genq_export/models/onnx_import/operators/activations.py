"""Activation functions, each element by itself or along one axis."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.values import Value

_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": F.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Softplus": F.softplus,
    "Softsign": lambda x: x / (1 + x.abs()),
    "Mish": F.mish,
    "HardSwish": F.hardswish,
    "Selu": F.selu,
}
_SIXTH = 1 / 6


def plain(node: Node) -> Value:
    """Those without attributes; what Identity gives is its input itself."""
    if node.kind == "Identity":
        return node.input(0)
    if node.kind == "Selu" and (node.attribute("alpha") is not None or node.attribute("gamma") is not None):
        alpha, gamma = float(node.attribute("alpha", 1.6732632)), float(node.attribute("gamma", 1.050701))
        return node.emit(lambda x: gamma * F.elu(x, alpha), node.input(0))
    return node.emit(_PLAIN[node.kind], node.input(0))


def leaky_relu(node: Node) -> Value:
    """x, or alpha x below zero."""
    alpha = float(node.attribute("alpha", 0.01))
    return node.emit(lambda x: F.leaky_relu(x, alpha), node.input(0))


def elu(node: Node) -> Value:
    """x, or alpha (exp x - 1) below zero."""
    alpha = float(node.attribute("alpha", 1.0))
    return node.emit(lambda x: F.elu(x, alpha), node.input(0))


def celu(node: Node) -> Value:
    """x, or alpha (exp(x / alpha) - 1) below zero."""
    alpha = float(node.attribute("alpha", 1.0))
    return node.emit(lambda x: F.celu(x, alpha), node.input(0))


def thresholded_relu(node: Node) -> Value:
    """x above alpha, else zero."""
    alpha = float(node.attribute("alpha", 1.0))
    return node.emit(lambda x: F.threshold(x, alpha, 0.0), node.input(0))


def hard_sigmoid(node: Node) -> Value:
    """clip(alpha x + beta, 0, 1)"""
    alpha, beta = float(node.attribute("alpha", 0.2)), float(node.attribute("beta", 0.5))
    if abs(alpha - _SIXTH) < 1e-6 and beta == 0.5:
        return node.emit(F.hardsigmoid, node.input(0))
    return node.emit(lambda x: torch.clamp(x * alpha + beta, 0, 1), node.input(0))


def gelu(node: Node) -> Value:
    """Exact, or by tanh where the file says so."""
    approximate = str(node.attribute("approximate", "none"))
    return node.emit(lambda x: F.gelu(x, approximate=approximate), node.input(0))


def swish(node: Node) -> Value:
    """x sigmoid(alpha x)"""
    alpha = float(node.attribute("alpha", 1.0))
    return node.emit(F.silu if alpha == 1 else lambda x: x * torch.sigmoid(alpha * x), node.input(0))


def prelu(node: Node) -> Value:
    """x, or slope x below zero; one slope for all, or one for each channel, is a layer of torch's."""
    x, slope = node.input(0), node.input(1)
    channels = int(x.shape[1]) if x.rank > 1 else 1
    each = x.rank >= 2 and list(slope.shape) == [channels, *[1] * (x.rank - 2)]
    if slope.weight and (each or slope.tried[0].numel() == 1):
        layer = nn.PReLU(int(slope.tried[0].numel()), device="meta")
        flat = slope.parameter
        layer.weight = flat if flat.dim() == 1 else nn.Parameter(flat.detach().flatten())
        return node.emit(layer, x, weight=1)
    return node.emit(lambda x, slope: F.relu(x) - slope * F.relu(-x), x, slope)


def clip(node: Node) -> Value:
    """Between two numbers, either of which may be left out."""
    x = node.input(0)
    low = node.attribute("min", node.number(1, None))
    high = node.attribute("max", node.number(2, None))
    if low is None and high is None:
        return x
    if low == 0 and high == 6 and x.dtype == torch.float32:
        return node.emit(F.relu6, x)
    if low == 0 and high is None and x.dtype == torch.float32:
        return node.emit(F.relu, x)
    return node.emit(lambda x: torch.clamp(x, low, high), x)


def softmax(node: Node) -> Value:
    """Along one axis; before opset 13 over all axes from it on."""
    return _soft(node, nn.Softmax)


def log_softmax(node: Node) -> Value:
    """The logarithm of `softmax`."""
    return _soft(node, nn.LogSoftmax)


def _soft(node: Node, kind: type[nn.Softmax | nn.LogSoftmax]) -> Value:
    x = node.input(0)
    axis = x.axis(int(node.attribute("axis", -1 if node.opset >= 13 else 1)))
    inner, soft = [int(size) for size in x.shape[axis + 1 :]], kind(axis)
    if node.opset >= 13 or all(size == 1 for size in inner):
        return node.emit(soft, x)
    sizes = [int(size) for size in x.shape[axis:]]
    return node.emit(lambda x: soft(x.flatten(axis)).unflatten(axis, sizes), x)


def dropout(node: Node) -> Value:
    """Nothing in a network that is evaluated."""
    if node.has(2) and node.number(2, False):
        raise node.refuse("it is in training mode: export the network in eval mode")
    return node.input(0)

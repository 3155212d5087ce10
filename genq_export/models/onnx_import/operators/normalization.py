"""Normalisations over a batch's statistics, channels, groups and last axes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.values import Value

_BATCH: dict[int, Any] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def batch_normalization(node: Node) -> Value:
    """By its running statistics, which are buffers."""
    x = node.input(0)
    if node.attribute("training_mode", 0):
        raise node.refuse("it is in training mode: export the network in eval mode")
    if x.rank not in _BATCH or not all(node.input(index).weight for index in range(1, 5)):
        raise node.refuse("its statistics are computed, or its input is no image")
    weight, bias, mean, variance = (node.input(index).parameter for index in range(1, 5))
    layer = _BATCH[x.rank](int(weight.shape[0]), eps=float(node.attribute("epsilon", 1e-5)), device="meta")
    layer.weight, layer.bias = weight, bias
    layer.running_mean, layer.running_var = mean.detach().clone(), variance.detach().clone()
    layer.num_batches_tracked = torch.tensor(0)
    return node.emit(layer.eval(), x, weight=1)


def instance_normalization(node: Node) -> Value:
    """Each channel of each image by itself."""
    epsilon = float(node.attribute("epsilon", 1e-5))
    return node.emit(
        lambda x, weight, bias: F.instance_norm(x, None, None, weight, bias, eps=epsilon),
        *(node.input(index) for index in range(3)),
        weight=1,
    )


def layer_normalization(node: Node) -> Value:
    """Over the last axes."""
    x, scale = node.input(0), node.input(1)
    axis = x.axis(int(node.attribute("axis", -1)))
    sizes = [int(size) for size in x.shape[axis:]]
    epsilon = float(node.attribute("epsilon", 1e-5))
    bias = node.input(2) if node.has(2) else None
    stored = scale.weight and (bias is None or bias.weight)
    if stored and list(scale.shape) == sizes and (bias is None or list(bias.shape) == sizes):
        layer = nn.LayerNorm(sizes, epsilon, bias=bias is not None, device="meta")
        layer.register_parameter("weight", scale.parameter)
        layer.register_parameter("bias", None if bias is None else bias.parameter)
        return node.emit(layer, x, weight=1)
    normal = node.emit(lambda x: F.layer_norm(x, sizes, eps=epsilon), x)
    scaled = node.emit(torch.mul, normal, scale, part_of="scale")
    return scaled if bias is None else node.emit(torch.add, scaled, bias, part_of="bias")


def group_normalization(node: Node) -> Value:
    """Groups of channels; before opset 21 the file has one weight for each group."""
    x, groups = node.input(0), int(node.attribute("num_groups"))
    epsilon = float(node.attribute("epsilon", 1e-5))
    channels = int(x.shape[1])

    def normalised(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        repeats = channels // weight.shape[0]
        weight, bias = (part.repeat_interleave(repeats) if repeats > 1 else part for part in (weight, bias))
        return F.group_norm(x, groups, weight, bias, epsilon)

    return node.emit(normalised, x, node.input(1), node.input(2), weight=1)


def rms_normalization(node: Node) -> Value:
    """x / sqrt(mean(x^2) + e) * g over the last axes."""
    x = node.input(0)
    axes = list(range(x.axis(int(node.attribute("axis", -1))), x.rank))
    epsilon = float(node.attribute("epsilon", 1e-5))
    return node.emit(
        lambda x, weight: x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon) * weight,
        x,
        node.input(1),
        weight=1,
    )


def lp_normalization(node: Node) -> Value:
    """x / |x|, by the sum of absolute values or of squares."""
    axis, order = int(node.attribute("axis", -1)), int(node.attribute("p", 2))
    if order == 1:
        return node.emit(lambda x: x / x.abs().sum(axis, keepdim=True), node.input(0))
    return node.emit(lambda x: x / x.square().sum(axis, keepdim=True).sqrt(), node.input(0))


def local_response_normalization(node: Node) -> Value:
    """x / (k + alpha / n * the sum of squares over n channels) ^ beta."""
    size = int(node.attribute("size"))
    alpha, beta = float(node.attribute("alpha", 1e-4)), float(node.attribute("beta", 0.75))
    k, channels = float(node.attribute("bias", 1.0)), int(node.input(0).shape[1])
    before = (size - 1) // 2

    def normalised(x: Tensor) -> Tensor:
        squares = F.pad(x.square(), [0, 0] * (x.dim() - 2) + [before, size - 1 - before])
        total = squares[:, :channels]
        for shift in range(1, size):
            total = total + squares[:, shift : shift + channels]
        return x / (k + alpha / size * total) ** beta

    return node.emit(normalised, node.input(0))

"""Does a folded network lower to ExecuTorch's XNNPACK, and with which codes?

    python -m benchmarks.edge.executorch_spike BUILD

In an environment of `pip install executorch` beside this package's. BUILD is for ONNX Runtime, at W8A8: XNNPACK has
int8 alone, whole. Prints codes that differ for a convolution and for an addition behind it, by random numbers; then the
build's logits against its integer model's.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from torch import Tensor, nn
from torch.nn import functional as F

from genq_export import zoo
from genq_export.models.description import read_description
from genq_export.network.files import load_integer_model
from genq_export.network.integer import IntegerLayer, IntegerQuantizer
from genq_export.network.outputs import by_name

IMAGES = 32
_LOW, _HIGH = -128, 127


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    build = parser.parse_args().build
    torch.manual_seed(0)
    for added in (False, True):
        part, x = OneLayer(added).eval(), 5 * torch.rand(1, 8, 16, 16)
        differing = torch.round((lowered(part, x)(x) - part(x)) / OneLayer.step).abs()
        what = "an addition" if added else "a convolution"
        print(
            f"{what}: {int((differing > 0).sum())} of {differing.numel()} codes differ, by at most {differing.max():g}"
        )
    network = InParts(build).eval()
    described = read_description(build)
    pixels = torch.from_numpy(zoo.test_set()[0][:IMAGES]).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (described.mean, described.std))
    images = (pixels - mean) / std
    call = lowered(network, images[:1])
    found = torch.cat([call(image[None].contiguous()) for image in images])
    with torch.no_grad():
        expected = next(iter(by_name(load_integer_model(build)(images)).values()))
    same = int((found.argmax(1) == expected.argmax(1)).sum())
    print(
        f"{described.name}: logits off by at most {(found - expected).abs().max():.3g}, {same} of {IMAGES} same class"
    )


def quantized(x: Tensor, scale: float, zero_point: int, low: int = _LOW, high: int = _HIGH) -> Tensor:
    """Q/DQ in int8, in the form that XNNPACK's partitioner looks for."""
    grid = (scale, zero_point, low, high, torch.int8)
    codes = torch.ops.quantized_decomposed.quantize_per_tensor.default(x, *grid)
    result: Tensor = torch.ops.quantized_decomposed.dequantize_per_tensor.default(codes, *grid)
    return result


def numbers(codes: Tensor, scale: Tensor, zeros: Tensor) -> Tensor:
    """Weights by channel; zeros: int64 [C], a buffer of the module, as the partitioner wants it."""
    result: Tensor = torch.ops.quantized_decomposed.dequantize_per_channel.default(
        codes, scale, zeros, 0, _LOW, _HIGH, torch.int8
    )
    return result


class OneLayer(nn.Module):
    """A convolution with ReLU; its input is added to it where `added`."""

    step = 0.05

    def __init__(self, added: bool) -> None:
        super().__init__()
        self.added = added
        self.register_buffer("codes", torch.randint(-127, 128, (8, 8, 3, 3), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(8) * 0.002 + 0.001)
        self.register_buffer("zeros", torch.zeros(8, dtype=torch.int64))
        self.register_buffer("bias", torch.randn(8) / 2)

    def forward(self, x: Tensor) -> Tensor:
        x = quantized(x, 0.02, _LOW)
        y = F.conv2d(x, numbers(self.codes, self.scale, self.zeros), self.bias, 1, 1)
        y = quantized(F.relu(y), self.step, _LOW)
        return quantized(y + x, self.step, _LOW) if self.added else y


class InParts(nn.Module):
    """A build's integer model in torch's own quantized operators; its linear layers in float."""

    def __init__(self, build: Path) -> None:
        super().__init__()
        self.network = load_integer_model(build)
        for node in list(self.network.graph.nodes):
            part = self.network.get_submodule(node.target) if node.op == "call_module" else None
            if isinstance(part, IntegerQuantizer):
                self.network.replace(node.target, _Quantizer(part))
            elif isinstance(part, IntegerLayer):
                self.network.replace(node.target, _Layer(part))

    def forward(self, x: Tensor) -> Tensor:
        return next(iter(by_name(self.network(x)).values()))


class _Quantizer(nn.Module):
    def __init__(self, part: IntegerQuantizer) -> None:
        super().__init__()
        shift = 0 if part.lo < 0 else _LOW
        self.register_buffer("scale", part.scale.clone())
        self.grid = (float(part.scale), part.zero_point + shift, part.lo + shift, part.hi + shift)

    def forward(self, x: Tensor) -> Tensor:
        return quantized(x, *self.grid)


class _Layer(nn.Module):
    def __init__(self, part: IntegerLayer) -> None:
        super().__init__()
        self.op, self.geometry = part.op, part.geometry
        self.register_buffer("codes", part.weight_codes.clone())
        self.register_buffer("scale", part.weight_scale.clone())
        bias = part.bias.float() * part.bias_scale if part.bias.dtype == torch.int32 else part.bias
        self.register_buffer("bias", bias.clone())
        self.register_buffer("zeros", torch.zeros(len(part.weight_scale), dtype=torch.int64))
        steps = part.weight_scale.view(-1, *[1] * (part.weight_codes.dim() - 1))
        self.register_buffer("weight", part.weight_codes.float() * steps)

    def forward(self, x: Tensor, input_scale: Tensor) -> Tensor:
        if self.op == "linear":
            return F.linear(x, self.weight, self.bias)
        return F.conv2d(x, numbers(self.codes, self.scale, self.zeros), self.bias, **self.geometry)


def lowered(module: nn.Module, example: Tensor) -> Callable[[Tensor], Tensor]:
    """The module in ExecuTorch, its layers in XNNPACK where that takes them."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    exported: Any = torch.export.export(module, (example,))
    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    content = edge.to_executorch().buffer
    program = Runtime.get().load_program(content)
    method = program.load_method("forward")

    def call(x: Tensor) -> Tensor:
        assert content and program  # which the method reads as long as it is called
        result: Tensor = method.execute([x])[0].clone()
        return result

    return call


if __name__ == "__main__":
    main()

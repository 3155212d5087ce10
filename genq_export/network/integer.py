"""The modules of the folded, integer model: int8 codes, float32 scales, no float weight left.

Each calls one `torch.library.custom_op` of `genq_export.network.operators`: run eagerly it is the exact integer
oracle, exported it becomes the QDQ form of the target (`export.onnx_qdq`).
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor, nn

from genq_export.network import operators
from genq_export.network.float_weight import FloatWeight
from genq_export.network.grid import Grid, check_codes, check_scale
from genq_export.network.specs import FloatWeightSpec, ProductSpec, QuantizerSpec, WeightedSpec, layer_spec


class IntegerQuantizer(nn.Module):
    """Activation codes: q = clip(round(x / scale) + zero_point, lo, hi)."""

    scale: Tensor

    def __init__(self, name: str, bits: int, signed: bool, zero_point: int, lo: int, hi: int) -> None:
        super().__init__()
        self.name, self.bits, self.signed = name, bits, signed
        self.zero_point, self.lo, self.hi = zero_point, lo, hi
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """float32 -> float32 of the same shape, on the grid."""
        arguments = (x, self.scale, self.zero_point, self.lo, self.hi, self.name)
        result: Tensor = operators.quantize_dequantize(*arguments)
        return result

    def spec(self) -> QuantizerSpec:
        """What rebuilds this module, less its tensors."""
        return QuantizerSpec(
            name=self.name,
            bits=self.bits,
            signed=self.signed,
            zero_point=self.zero_point,
            lo=self.lo,
            hi=self.hi,
        )

    def check(self) -> None:
        """Raise ValueError where the scale makes no sense."""
        check_scale(self.scale, self.name)


class IntegerLayer(nn.Module):
    """A convolution or linear layer on codes.

    Buffers: weight_codes int8 [C, ...], weight_scale float32 [C], and either bias_codes int32 [C] on the accumulator
    grid, or bias float32 [C].
    """

    weight_codes: Tensor
    weight_scale: Tensor
    bias: Tensor
    bias_scale: Tensor

    def __init__(
        self,
        name: str,
        op: Literal["conv2d", "linear"],
        bits: int,
        shape: list[int],
        bias_on_grid: bool,
        geometry: dict[str, Any],
    ) -> None:
        super().__init__()
        self.name, self.op, self.bits, self.bias_on_grid, self.geometry = name, op, bits, bias_on_grid, geometry
        self.register_buffer("weight_codes", torch.zeros(shape, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.ones(shape[0]))
        self.register_buffer("bias", torch.zeros(shape[0], dtype=torch.int32 if bias_on_grid else torch.float32))
        self.register_buffer("bias_scale", torch.ones(shape[0]))

    def forward(self, x: Tensor, input_scale: Tensor) -> Tensor:
        """x float32 on the input's grid, input_scale scalar -> float32."""
        arguments = (x, input_scale, self.weight_codes, self.weight_scale, self.bias, self.bias_scale)
        result: Tensor
        if self.op == "conv2d":
            result = operators.conv2d(*arguments, **self.geometry, name=self.name)
        else:
            result = operators.linear(*arguments, self.name)
        return result

    def spec(self) -> WeightedSpec:
        """What rebuilds this module, less its tensors."""
        return layer_spec(self.name, self.op, self.bits, self.bias_on_grid, self.geometry, self.weight_codes.shape)

    def check(self) -> None:
        """Raise ValueError where codes or scales make no sense."""
        check_scale(self.weight_scale, self.name)
        check_codes(self.weight_codes, Grid(self.bits, signed=True), self.name)


class IntegerMatMul(nn.Module):
    """The product of two activations on codes."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, a: Tensor, a_scale: Tensor, b: Tensor, b_scale: Tensor) -> Tensor:
        """a [..., M, K], b [..., K, N] on their grids -> float32 [..., M, N]."""
        result: Tensor = operators.matmul(a, a_scale, b, b_scale, self.name)
        return result

    def spec(self) -> ProductSpec:
        """What rebuilds this module."""
        return ProductSpec(name=self.name)

    def check(self) -> None:
        """It has no tensors."""


_SPEC: TypeAdapter[QuantizerSpec | WeightedSpec | ProductSpec | FloatWeightSpec] = TypeAdapter(
    Annotated[QuantizerSpec | WeightedSpec | ProductSpec | FloatWeightSpec, Field(discriminator="kind")]
)


def build_module(document: object) -> nn.Module:
    """The module of a `spec()` from a file, with tensors of the right shape still to be loaded.

    Raises:
        ValueError: for anything that is no such spec (pydantic's ValidationError).
    """
    spec = _SPEC.validate_python(document)
    match spec:
        case QuantizerSpec():
            return IntegerQuantizer(spec.name, spec.bits, spec.signed, spec.zero_point, spec.lo, spec.hi)
        case ProductSpec():
            return IntegerMatMul(spec.name)
        case FloatWeightSpec():
            return FloatWeight(spec.name, torch.zeros(spec.shape))
    shape, geometry = spec.weight_shape, spec.geometry_arguments()
    return IntegerLayer(spec.name, spec.op, spec.bits, shape, spec.bias_on_grid, geometry)

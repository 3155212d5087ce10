"""The modules of the fake-quant reference: activation quantizers and quantized layers.

In eval mode a layer computes on codes, as an integer kernel does:

    y = float32(sum q_w * q_x + q_b) * float32(s_x * s_w[c])          bias on the accumulator grid
    y = float32(sum q_w * q_x) * float32(s_x * s_w[c]) + b            float bias

so that its output can be compared with the deployed file code by code. With `enabled = False` every module computes in
float32, which makes the same graph the float network (BatchNorm folded). While a block is reconstructed, a layer's
`learner` and a quantizer's `learner` take over with differentiable forms (quantization/algorithms).
"""

from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor, nn
from torch.nn import functional as F

from genq_export.network import grid, integer_arithmetic
from genq_export.network.float_weight import FloatWeight
from genq_export.network.grid import Grid, weight_grid
from genq_export.network.specs import ActivationSpec, FloatWeightSpec, ProductSpec, WeightedSpec, layer_spec

INPUT_NAME = "input"  # of the quantizer of what the network is given


class ActivationLearner(Protocol):
    """Differentiable stand-in for a quantizer while its scale is learned."""

    def __call__(self, x: Tensor) -> Tensor: ...


class WeightLearner(Protocol):
    """Differentiable stand-in for a layer's fake-quantized weight."""

    def __call__(self) -> Tensor: ...


class ActivationQuantizer(nn.Module):
    """Puts one activation tensor on its grid.

    name: path of the module that made the tensor. lo, hi: the codes in use (hi shrinks where a ReLU6 ends earlier).
    pow2: its scale is kept a power of two while ranges are searched and scales learned. leader: the quantizer whose
    scale it shares, itself where it has its own.
    Buffers: scale float32 scalar; zero_point int32 scalar.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, name: str, bits: int, signed: bool, asymmetric: bool = False, hi: int | None = None) -> None:
        super().__init__()
        self.name = name
        self.grid = Grid(bits, signed)
        self.asymmetric = asymmetric
        self.hi = self.grid.hi if hi is None else hi
        self.enabled = True
        self.pow2 = False
        self._leader: list[ActivationQuantizer] = []  # in a list: not a child of this module
        self.learner: ActivationLearner | None = None
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero_point", torch.zeros((), dtype=torch.int32))

    @property
    def leader(self) -> "ActivationQuantizer":
        """The quantizer whose scale and zero-point this one shares."""
        return self._leader[0] if self._leader else self

    def follow(self, leader: "ActivationQuantizer") -> None:
        """Share the scale of `leader`, which must have the same grid."""
        assert (leader.grid, leader.asymmetric) == (self.grid, self.asymmetric)
        self._leader = [] if leader is self else [leader]

    def forward(self, x: Tensor) -> Tensor:
        """float32 of any shape -> float32 of the same shape, on the grid."""
        if not self.enabled:
            return x
        if self.learner is not None:
            return self.learner(x)
        return grid.fake_quantize(x, self.scale, self.grid.lo, self.hi, int(self.zero_point))

    def spec(self) -> ActivationSpec:
        """What rebuilds this module, less its tensors."""
        return ActivationSpec(
            name=self.name, bits=self.grid.bits, signed=self.grid.signed, asymmetric=self.asymmetric, hi=self.hi
        )

    def check(self) -> None:
        """Raise ValueError where scale or zero-point make no sense."""
        grid.check_scale(self.scale, self.name)
        if not self.grid.lo <= int(self.zero_point) <= self.grid.hi:
            raise ValueError(f"the zero-point of '{self.name}' is not on its grid")


class QuantizedLayer(nn.Module):
    """A convolution or linear layer with per-channel weights on a grid.

    Takes the input (on its grid) and the input's scale. Buffers: weight float32 [C, ...] (BatchNorm folded),
    codes int8 [C, ...], weight_scale float32 [C], bias float32 [C] (zeros where the layer has none), which bias
    correction moves, and float_bias, which belongs to the float weight.
    """

    weight: Tensor
    float_bias: Tensor
    codes: Tensor
    weight_scale: Tensor
    bias: Tensor

    def __init__(
        self,
        name: str,
        op: Literal["conv2d", "linear"],
        bits: int,
        weight: Tensor,
        bias: Tensor | None,
        bias_on_grid: bool,
        **geometry: Any,
    ) -> None:
        super().__init__()
        self.name = name
        self.op = op
        self.grid = weight_grid(bits)
        self.bias_on_grid = bias_on_grid
        self.geometry = geometry
        self.enabled = True
        self.learner: WeightLearner | None = None
        self.register_buffer("weight", weight.detach().clone().contiguous())
        self.register_buffer("codes", torch.zeros(weight.shape, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.ones(weight.shape[0]))
        self.register_buffer("float_bias", torch.zeros(weight.shape[0]) if bias is None else bias.detach().clone())
        self.register_buffer("bias", self.float_bias.clone())

    def forward(self, x: Tensor, input_scale: Tensor) -> Tensor:
        """x float32 [B, ...], input_scale float32 scalar -> float32 [B, C, ...] (linear: [..., C])."""
        if not self.enabled:
            return self._apply_in_float(x, self.weight, self.float_bias)
        if self.learner is not None:
            return self._apply_in_float(x, self.learner(), self.bias)
        return self._on_codes(grid.centered_codes(x, input_scale), input_scale)

    def _apply_in_float(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if self.op == "conv2d":
            return F.conv2d(x, weight, bias, **self.geometry)
        return F.linear(x, weight, bias)

    def round_weight(self) -> None:
        """Codes of the float weight by plain rounding, with the current weight scale."""
        scale = grid.per_channel(self.weight_scale, self.weight)
        self.codes.copy_(grid.quantize(self.weight, scale, self.grid.lo, self.grid.hi).to(torch.int8))

    def spec(self) -> WeightedSpec:
        """What rebuilds this module, less its tensors."""
        return layer_spec(self.name, self.op, self.grid.bits, self.bias_on_grid, self.geometry, self.weight.shape)

    def check(self) -> None:
        """Raise ValueError where codes or scales make no sense."""
        grid.check_scale(self.weight_scale, self.name)
        grid.check_codes(self.codes, Grid(self.grid.bits, signed=True), self.name)

    def _on_codes(self, codes: Tensor, input_scale: Tensor) -> Tensor:
        shape = [1, -1, 1, 1] if self.op == "conv2d" else [-1]
        step = (input_scale * self.weight_scale).view(shape)
        bias = None
        if self.bias_on_grid:
            bias = grid.bias_codes(self.bias, input_scale, self.weight_scale).view(shape)
        if self.op == "conv2d":
            sums = integer_arithmetic.conv2d_codes(codes, self.codes.float(), **self.geometry, bias=bias)
        else:
            sums = integer_arithmetic.linear_codes(codes, self.codes.float(), bias)
        y = sums.float() * step
        return y if self.bias_on_grid else y + self.bias.view(shape)


class QuantizedMatMul(nn.Module):
    """The product of two activations, both on a grid (attention)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.enabled = True

    def forward(self, a: Tensor, a_scale: Tensor, b: Tensor, b_scale: Tensor) -> Tensor:
        """a [..., M, K] and b [..., K, N] with their scalar scales -> float32 [..., M, N]."""
        if not self.enabled or torch.is_grad_enabled():
            return a @ b
        sums = integer_arithmetic.matmul_codes(grid.centered_codes(a, a_scale), grid.centered_codes(b, b_scale))
        return sums.float() * (a_scale * b_scale)

    def spec(self) -> ProductSpec:
        """What rebuilds this module."""
        return ProductSpec(name=self.name)

    def check(self) -> None:
        """It has no tensors."""


_SPEC: TypeAdapter[ActivationSpec | WeightedSpec | ProductSpec | FloatWeightSpec] = TypeAdapter(
    Annotated[ActivationSpec | WeightedSpec | ProductSpec | FloatWeightSpec, Field(discriminator="kind")]
)


def build_module(document: object) -> nn.Module:
    """The module of a `spec()` from a file, with tensors of the right shape still to be loaded.

    Raises:
        ValueError: for anything that is no such spec (pydantic's ValidationError).
    """
    spec = _SPEC.validate_python(document)
    match spec:
        case ActivationSpec():
            return ActivationQuantizer(spec.name, spec.bits, spec.signed, spec.asymmetric, spec.hi)
        case ProductSpec():
            return QuantizedMatMul(spec.name)
        case FloatWeightSpec():
            return FloatWeight(spec.name, torch.zeros(spec.shape))
    weight, geometry = torch.zeros(spec.weight_shape), spec.geometry_arguments()
    return QuantizedLayer(spec.name, spec.op, spec.bits, weight, None, spec.bias_on_grid, **geometry)

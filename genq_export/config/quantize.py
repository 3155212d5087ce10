"""Grids, and how they are found."""

from typing import Annotated, Literal, Self

from pydantic import ByteSize, Field, model_validator

from genq_export.config.base import Bytes, Formerly, Frozen, Option

Scales = Literal["float", "pow2"]

BITS = Option(
    ("build", "calibrate", "quantize"), "bits", help="bits of weights and activations", shorthand=True, always_told=True
)


class LayerOverride(Frozen):
    """Bits of the layers that one pattern fits; what is not given stays as for the others."""

    weight_bits: int | None = Field(None, ge=2, le=8, description="of the layer's weights")
    activation_bits: int | None = Field(None, ge=2, le=8, description="of the layer's input")


class QuantizeConfig(Frozen):
    """Grids and the block reconstruction that learns them."""

    weight_bits: Annotated[int, BITS, Option(("build",), help="bits of weights, where they differ")] = Field(
        4, ge=2, le=8, description="bits of weights"
    )
    activation_bits: Annotated[int, BITS, Option(("build",), help="bits of activations, where they differ")] = Field(
        4, ge=2, le=8, description="bits of activations"
    )
    first_last_bits: Annotated[int, Option(("build",))] = Field(
        8, ge=2, le=8, description="bits of the first and the last layer"
    )
    layers: dict[str, LayerOverride] = Field({}, description="bits by layer name or pattern; the last that fits wins")
    keep_float: Annotated[tuple[str, ...], Option(("build",))] = Field(
        (), description="names or patterns of layers that are not quantized at all"
    )
    sensitivity: Annotated[bool, Option(("build",))] = Field(
        False, description="measure what every layer's quantization costs, for the report"
    )
    average_bits: Annotated[float | None, Option(("build",))] = Field(
        None, ge=2, le=8, description="mixed precision: mean bits of the layers between the first and the last"
    )
    size_budget: Annotated[Bytes | None, Option(("build",))] = Field(
        None, ge=1, le=10**15, description="mixed precision: bytes that all weights may take, `20MB`"
    )
    layernorm_equalization: Annotated[bool, Formerly("quantize.even_layer_norms")] = Field(
        True, description="one range for all channels of a LayerNorm output (RepQ-ViT)"
    )
    bias_correction: bool = Field(True, description="at 8 bits without learning: channels keep their means")
    compensation: bool = Field(True, description="below 8 bits: rounding in closed form (GPTQ), to learn from")
    range: Literal["search", "percentile"] = Field("search", description="activation ranges: L2.4 search or percentile")
    percentile: float = Field(99.99, gt=50, le=100, description="of range: percentile")
    scales: Annotated[Scales, Option(("build",))] = Field(
        "float", description="activation scales: any number, or powers of two (shifts)"
    )
    iterations: int = Field(
        1000, ge=0, le=10_000_000, description="reconstruction steps a block; 0: nothing is learned"
    )
    memory_budget: Annotated[Bytes, Option(("build",))] = Field(
        ByteSize(2 * 10**9),
        ge=0,
        le=10**15,
        description="images, block inputs and targets kept in memory; the rest goes to disk",
    )
    batch_size: int = Field(32, ge=1, le=65536, description="images of a step of reconstruction and QAT")
    rounding_lr: float = Field(1e-2, gt=0, le=10, description="Adam rate of learned rounding; larger below 1,000 steps")
    weight_scale_lr: float = Field(1e-4, ge=0, le=10, description="Adam rate of the logarithms of weight scales")
    activation_lr: float = Field(1e-3, ge=0, le=10, description="of activation scales; larger below 1,000 steps")
    rounding_weight: float = Field(0.01, ge=0, le=1000, description="lambda of the AdaRound regulariser")
    drop_probability: float = Field(0.5, ge=0, le=1, description="QDrop: share of activations left unquantized")
    qat_epochs: Annotated[int, Option(("build",))] = Field(
        0, ge=0, le=100_000, description="epochs of QAT behind the reconstruction; 0: PTQ only"
    )
    qat_method: Literal["cascade", "lsq"] = Field(
        "cascade", description="cascade: from the PTQ solution (GenQ); lsq: from rounded weights, no reconstruction"
    )
    qat_autocast: bool = Field(False, description="QAT steps in bfloat16 where the operator allows it (GPU)")
    qat_frozen_share: float = Field(
        0.5, ge=0, lt=1, description="cascade: share of the blocks, from the input on, that stay as PTQ made them"
    )
    qat_weight_lr: float = Field(
        3e-3, gt=0, le=10, description="Adam rate of weight corrections, in steps of the weight grid"
    )
    qat_scale_lr: float = Field(1e-4, ge=0, le=10, description="Adam rate of the logarithms of scales")

    @property
    def grid_name(self) -> str:
        """`W4A4`; with mixed precision what decides it: `mixed-5bits`, `mixed-20.0MB`."""
        if self.average_bits is not None:
            return f"mixed-{self.average_bits:g}bits"
        if self.size_budget is not None:
            return f"mixed-{self.size_budget.human_readable(decimal=True)}"
        return f"W{self.weight_bits}A{self.activation_bits}"

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.average_bits is not None and self.size_budget is not None:
            raise ValueError("give average_bits or size_budget, not both")
        return self

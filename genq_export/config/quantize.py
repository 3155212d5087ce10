"""Grids, and the methods that find good ones: a section of settings for each method, under its name."""

from typing import Annotated, Any, Literal, Self

from pydantic import ByteSize, Field, field_validator, model_validator

from genq_export.config.base import Bytes, Formerly, Frozen, OneOf, Option
from genq_export.config.registry import METHODS

Scales = Literal["float", "pow2"]
Method = Annotated[str, OneOf("method", lambda: METHODS)]

AUTOMATIC = "auto"
NEAR_FLOAT = 25.0  # dB of answers that are held for the float network's

BITS = Option(
    ("build", "calibrate", "quantize"), "bits", help="bits of weights and activations", shorthand=True, always_told=True
)

# What a build applies unless its config names others; in this order.
DEFAULT_METHODS = (
    "relu_refit",
    "layernorm_equalization",
    "channel_equalization",
    "mixed_precision",
    "wide_activations",
    "float_layers",
    "output_ranges",
    "gptq",
    "reconstruction",
    "bias_correction",
    "qat",
    "rounding_ties",
)


class LayerOverride(Frozen):
    """Bits of the layers that one pattern fits; what is not given stays as for the others."""

    weight_bits: int | None = Field(None, ge=2, le=8, description="of the layer's weights")
    activation_bits: int | None = Field(None, ge=2, le=8, description="of the layer's input")


class MethodConfig(Frozen):
    """Settings of one method; its section has the method's name."""

    @property
    def is_on(self) -> bool:
        """Do these settings ask for anything?"""
        return True


class SwitchConfig(MethodConfig):
    """A method that is on or off. The section may be given as true or false, as version 1 had it."""

    enabled: bool = Field(True, description="whether it is applied")

    @property
    def is_on(self) -> bool:
        """Do these settings ask for anything?"""
        return self.enabled

    @model_validator(mode="before")
    @classmethod
    def _from_switch(cls, values: Any) -> Any:
        return {"enabled": values} if isinstance(values, bool) else values


class ReluRefitConfig(MethodConfig):
    """ReLU in the place of GELU in the MLPs of transformers, whose weights are learned anew; off by itself."""

    steps: int = Field(
        0, ge=0, le=10**6, description="steps an MLP in which ReLU learns to stand for GELU (APHQ-ViT); 0: GELU stays"
    )

    @property
    def is_on(self) -> bool:
        """Is anything replaced?"""
        return self.steps > 0


class LayernormEqualizationConfig(SwitchConfig):
    """LayerNorm outputs whose channels differ in range (RepQ-ViT)."""

    enabled: Annotated[bool, Formerly("quantize.even_layer_norms")] = Field(
        True, description="one range for all channels of a LayerNorm output (RepQ-ViT)"
    )


class ChannelEqualizationConfig(SwitchConfig):
    """Channels of one tensor that differ in range, evened out where that brings answers closer to float's."""

    enabled: bool = Field(True, description="channels of a tensor evened out by the weights around it, where it pays")


class MixedPrecisionConfig(MethodConfig):
    """Bits layer by layer under a budget; off without one."""

    average_bits: Annotated[float | None, Option(("build",)), Formerly("quantize.average_bits")] = Field(
        None, ge=2, le=8, description="mixed precision: mean bits of the layers between the first and the last"
    )
    size_budget: Annotated[Bytes | None, Option(("build",)), Formerly("quantize.size_budget")] = Field(
        None, ge=1, le=10**13, description="mixed precision: bytes that all weights may take, `20MB`"
    )

    @property
    def is_on(self) -> bool:
        """Is there a budget?"""
        return self.average_bits is not None or self.size_budget is not None

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.average_bits is not None and self.size_budget is not None:
            raise ValueError("give average_bits or size_budget, not both")
        return self


class WideActivationsConfig(MethodConfig):
    """Activations of 8 bits where fewer cost most: containers have 8 bits anyway; off without a mean."""

    mean_bits: float | None = Field(
        None,
        ge=2,
        le=8,
        description="mean bits of the tensors that layers read; `--activation-bits auto`: one more than weights have",
    )

    @property
    def is_on(self) -> bool:
        """Is there a mean?"""
        return self.mean_bits is not None


class FloatLayersConfig(MethodConfig):
    """The layers that cost most stay in float; off without a distance to reach."""

    sqnr_db: float | None = Field(
        None,
        gt=0,
        le=100,
        description="the fewest layers in float with which answers are so many dB from float's;"
        f" `--keep-float auto`: {NEAR_FLOAT:g}",
    )

    @property
    def is_on(self) -> bool:
        """Is there a distance?"""
        return self.sqnr_db is not None


class OutputRangesConfig(SwitchConfig):
    """Ranges by what they do to the answers, where 8-bit activations leave these far from float's."""

    enabled: bool = Field(True, description="where 8-bit answers are far from float's: ranges chosen by the answers")


class GptqConfig(SwitchConfig):
    """Rounding in closed form, block by block, from where a reconstruction learns on."""

    enabled: Annotated[bool, Formerly("quantize.compensation")] = Field(
        True, description="below 8 bits: rounding in closed form (GPTQ), to learn from"
    )


class ReconstructionConfig(MethodConfig):
    """Learned rounding and scales, block by block (AdaRound, BRECQ, QDrop, GENIE-M)."""

    iterations: Annotated[int, Formerly("quantize.iterations")] = Field(
        1000, ge=0, le=10**6, description="reconstruction steps a block; 0: nothing is learned"
    )
    rounding_lr: Annotated[float, Formerly("quantize.rounding_lr")] = Field(
        1e-2, gt=0, le=100, description="Adam rate of learned rounding; larger below 1,000 steps"
    )
    weight_scale_lr: Annotated[float, Formerly("quantize.weight_scale_lr")] = Field(
        1e-4, ge=0, le=100, description="Adam rate of the logarithms of weight scales"
    )
    activation_lr: Annotated[float, Formerly("quantize.activation_lr")] = Field(
        1e-3, ge=0, le=100, description="of activation scales; larger below 1,000 steps"
    )
    rounding_weight: Annotated[float, Formerly("quantize.rounding_weight")] = Field(
        0.01, ge=0, le=1000, description="lambda of the AdaRound regulariser"
    )
    drop_probability: Annotated[float, Formerly("quantize.drop_probability")] = Field(
        0.5, ge=0, le=1, description="QDrop: share of activations left unquantized"
    )
    loss: Literal["auto", "plain", "fisher"] = Field(
        "auto",
        description="of a block: squared error, plain or weighted by what the answers make of each number; auto:"
        " weighted behind transformers' blocks",
    )
    window: int | None = Field(
        7,
        ge=1,
        le=4096,
        description="a step learns from a random window of this many positions a side of every map that is larger;"
        " null: whole maps",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of convolutions and products in a step; codes and what is learned stay float32"
    )

    @property
    def is_on(self) -> bool:
        """Is anything learned?"""
        return self.iterations > 0


class BiasCorrectionConfig(SwitchConfig):
    """Biases moved so that channels keep their means."""

    enabled: bool = Field(True, description="at 8 bits without learning: channels keep their means")


class QatConfig(MethodConfig):
    """Quantization-aware training of the whole network against the float one."""

    epochs: Annotated[int, Option(("build",), name="qat_epochs"), Formerly("quantize.qat_epochs")] = Field(
        0, ge=0, le=10**5, description="epochs of QAT behind the reconstruction; 0: PTQ only"
    )
    method: Annotated[Literal["cascade", "lsq"], Formerly("quantize.qat_method")] = Field(
        "cascade", description="cascade: from the PTQ solution (GenQ); lsq: from rounded weights, no reconstruction"
    )
    autocast: Annotated[bool, Formerly("quantize.qat_autocast")] = Field(
        False, description="QAT steps in bfloat16 where the operator allows it (GPU)"
    )
    frozen_share: Annotated[float, Formerly("quantize.qat_frozen_share")] = Field(
        0.5, ge=0, lt=1, description="cascade: share of the blocks, from the input on, that stay as PTQ made them"
    )
    weight_lr: Annotated[float, Formerly("quantize.qat_weight_lr")] = Field(
        3e-3, gt=0, le=100, description="Adam rate of weight corrections, in steps of the weight grid"
    )
    scale_lr: Annotated[float, Formerly("quantize.qat_scale_lr")] = Field(
        1e-4, ge=0, le=100, description="Adam rate of the logarithms of scales"
    )

    @property
    def is_on(self) -> bool:
        """Is anything trained?"""
        return self.epochs > 0


class QuantizeConfig(Frozen):
    """Grids, and the methods that learn them."""

    weight_bits: Annotated[int, BITS, Option(("build",), help="bits of weights, where they differ")] = Field(
        4, ge=2, le=8, description="bits of weights"
    )
    activation_bits: Annotated[
        int,
        BITS,
        Option(
            ("build",),
            help="bits of activations, where they differ; auto: those of weights, and 8 where these cost most",
            words=("auto",),
        ),
    ] = Field(4, ge=2, le=8, description="bits of activations")
    first_last_bits: Annotated[int, Option(("build",))] = Field(
        8, ge=2, le=8, description="bits of the first and the last layer"
    )
    output_codes: Annotated[bool, Option(("build",))] = Field(
        False, description="outputs get an 8-bit grid, too; the file of --input uint8 gives their codes"
    )
    layers: dict[str, LayerOverride] = Field({}, description="bits by layer name or pattern; the last that fits wins")
    keep_float: Annotated[
        tuple[str, ...],
        Option(("build",), help="names or patterns of layers that stay in float; auto: those that cost most"),
    ] = Field((), description="names or patterns of layers that are not quantized at all")
    range: Literal["search", "percentile"] = Field("search", description="activation ranges: L2.4 search or percentile")
    percentile: float = Field(99.99, gt=50, le=100, description="of range: percentile")
    scales: Annotated[Scales, Option(("build",))] = Field(
        "float", description="activation scales: any number, or powers of two (shifts)"
    )
    sensitivity: Annotated[bool, Option(("build",))] = Field(
        False, description="measure what every layer's quantization costs, for the report"
    )
    methods: tuple[Method, ...] = Field(DEFAULT_METHODS, description="what is applied, in order")
    relu_refit: ReluRefitConfig = ReluRefitConfig()
    layernorm_equalization: LayernormEqualizationConfig = LayernormEqualizationConfig()
    channel_equalization: ChannelEqualizationConfig = ChannelEqualizationConfig()
    mixed_precision: MixedPrecisionConfig = MixedPrecisionConfig()
    wide_activations: WideActivationsConfig = WideActivationsConfig()
    float_layers: FloatLayersConfig = FloatLayersConfig()
    output_ranges: OutputRangesConfig = OutputRangesConfig()
    gptq: GptqConfig = GptqConfig()
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    bias_correction: BiasCorrectionConfig = BiasCorrectionConfig()
    qat: QatConfig = QatConfig()
    batch_size: int = Field(32, ge=1, le=2**16, description="images a step, of reconstruction and of QAT")
    memory_budget: Annotated[Bytes, Option(("build",))] = Field(
        ByteSize(2 * 10**9),
        ge=0,
        le=10**15,
        description="images, block inputs and targets kept in memory; the rest goes to disk",
    )

    @property
    def grid_name(self) -> str:
        """`W4A4`, `W4A4-8` with activations of either; under a budget that: `mixed-5bits`, `mixed-20.0MB`."""
        budget = self.mixed_precision
        if budget.average_bits is not None:
            return f"mixed-{budget.average_bits:g}bits"
        if budget.size_budget is not None:
            return f"mixed-{budget.size_budget.human_readable(decimal=True)}"
        wide = "-8" if self.uses("wide_activations") else ""
        return f"W{self.weight_bits}A{self.activation_bits}{wide}"

    def uses(self, method: str) -> bool:
        """Is this method named, and not switched off by its own section?"""
        section = getattr(self, method, None)
        return method in self.methods and not (isinstance(section, MethodConfig) and not section.is_on)

    @property
    def methods_in_use(self) -> tuple[str, ...]:
        """The methods named that are not switched off, in order; what the network is like may still rule some out."""
        return tuple(name for name in self.methods if self.uses(name))

    @property
    def trains_from_rounded(self) -> bool:
        """Plain LSQ: training starts from weights that were rounded and no more."""
        return self.uses("qat") and self.qat.method == "lsq"

    @model_validator(mode="before")
    @classmethod
    def _automatic_activations(cls, values: Any) -> Any:
        """`activation_bits: auto` is the bits of weights, and 8 for so many tensors that the mean is one bit more."""
        if not isinstance(values, dict) or values.get("activation_bits") != AUTOMATIC:
            return values
        bits = values.get("weight_bits", cls.model_fields["weight_bits"].default)
        wide = values.get("wide_activations") or {}
        if str(bits).isdecimal() and not wide:
            wide = {"mean_bits": min(int(bits) + 1, 8)}
        return values | {"activation_bits": bits, "wide_activations": wide}

    @model_validator(mode="before")
    @classmethod
    def _automatic_float_layers(cls, values: Any) -> Any:
        """`keep_float: auto`, beside patterns or alone, is the distance that answers are to have."""
        if not isinstance(values, dict) or not isinstance(values.get("keep_float"), list | tuple | str):
            return values
        given = values["keep_float"]
        patterns = [given] if isinstance(given, str) else list(given)
        if AUTOMATIC not in patterns:
            return values
        left = [pattern for pattern in patterns if pattern != AUTOMATIC]
        return values | {"keep_float": left, "float_layers": values.get("float_layers") or {"sqnr_db": NEAR_FLOAT}}

    @model_validator(mode="after")
    def _one_assignment(self) -> Self:
        if self.wide_activations.is_on and self.mixed_precision.average_bits is not None:
            raise ValueError("average_bits gives activations their bits: leave activation_bits=auto out")
        return self

    @field_validator("methods")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ValueError(f"{twice[0]} is named twice")
        return names

    @model_validator(mode="after")
    def _nothing_asked_in_vain(self) -> Self:
        """A method that is off unless it is asked for has to be named, too."""
        unnamed = [(name, getattr(self, name)) for name in type(self).model_fields if name not in self.methods]
        for name, section in unnamed:
            if isinstance(section, MethodConfig) and section.is_on and not type(section)().is_on:
                raise ValueError(f"{name} is asked for, but methods does not name it")
        return self

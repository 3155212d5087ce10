"""Everything a build can be told, as frozen models: what is not listed here is refused.

Presets are methods; `BuildConfig.for_model` is what the command line and most callers use. The resolved config is
written to `config.yaml` in the build folder and read back by `--config`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import yaml
from pydantic import BaseModel, ByteSize, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from genq_export.errors import UserError

Target = Literal["onnxruntime", "tensorrt"]
PresetName = Literal["quick", "default", "thorough"]
Scales = Literal["float", "pow2"]
CONFIG_VERSION: Literal[1] = 1

Bits = Field(ge=2, le=8)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(_Frozen):
    """Which network, and what its own files do not say."""

    name: str = Field(description="timm name, or a network of the embedded zoo")
    weights: Path | None = Field(
        None, description="checkpoint (.safetensors, .pth) to load instead of the default weights"
    )
    classes: Path | None = Field(None, description="text file with one class name a line")


class CalibrateConfig(_Frozen):
    """How the synthetic calibration set is made and filtered (GenQ §3).

    GenQ does not publish how much each filter drops. Ours: most of it by distribution, which on the embedded zoo tells
    images like the training data from others far better than energy does (calibrate/README.md).
    """

    made_before: Path | None = Field(None, description="build folder (or its calibration/) whose set is used as it is")
    generator: str | None = Field(None, description="diffusers pipeline: hub name or folder; `distill`; `leaves`")
    images: int = Field(1024, ge=1, description="images to keep")
    energy_keep: float = Field(0.9, gt=0, le=1, description="share of each class that the energy filter keeps; 1: off")
    distribution_keep: float = Field(
        0.75, gt=0, le=1, description="share of these that the distribution filter keeps; 1: off"
    )
    energy_max: float | None = Field(None, description="images of a higher energy are never kept and drawn anew")
    pool_limit: float = Field(4.0, ge=1, le=64, description="images drawn at most for one kept, class by class")
    guidance: float | None = Field(
        None,
        ge=0,
        description="classifier-free guidance scale; None: 3.5 for Stable Diffusion 1 and 2 (GenQ), 0 for Turbo, else"
        " the pipeline's own",
    )
    steps: int | None = Field(None, ge=1, description="sampler steps; None: what the pipeline's scheduler needs")
    size: int | None = Field(None, ge=8, description="generated pixels a side; None: the generator's own")
    batch_size: int | None = Field(
        None, ge=1, description="images drawn together, part of the seed contract; None: by image size"
    )
    energy_temperature: float = Field(1.0, gt=0)
    prompts: Literal["class", "mixup"] = Field(
        "class", description="one class name a prompt, or two (arXiv 2507.21947)"
    )
    templates: Path | None = Field(
        None, description="text file with one prompt template a line, `{}` for the class name"
    )
    real: Path | None = Field(
        None, description="folder of a few real images to learn one style token from (data-scarce)"
    )
    style: Path | None = Field(None, description="style token learned before, or by textual inversion elsewhere")
    join_real: bool = Field(True, description="the real images are part of the calibration set")
    inversion_steps: int | None = Field(None, ge=1, description="steps to learn the token; None: by image size")
    disambiguate: bool = Field(True, description="ImageNet names with their WordNet gloss, so that `kite` is the bird")

    @property
    def pool_factor(self) -> float:
        """Images drawn for one kept when none is unusable: what the two kept shares leave."""
        return 1 / (self.energy_keep * self.distribution_keep)


class LayerOverride(_Frozen):
    """Bits of the layers that one pattern fits; what is not given stays as for the others."""

    weight_bits: int | None = Field(None, ge=2, le=8)
    activation_bits: int | None = Field(None, ge=2, le=8, description="of the layer's input")


class QuantizeConfig(_Frozen):
    """Grids and the block reconstruction that learns them."""

    weight_bits: int = Bits
    activation_bits: int = Bits
    first_last_bits: int = Field(8, ge=2, le=8, description="bits of the first and the last layer")
    layers: dict[str, LayerOverride] = Field({}, description="bits by layer name or pattern; the last that fits wins")
    keep_float: tuple[str, ...] = Field((), description="names or patterns of layers that are not quantized at all")
    sensitivity: bool = Field(False, description="measure what every layer's quantization costs, for the report")
    average_bits: float | None = Field(
        None, ge=2, le=8, description="mixed precision: mean bits of the layers between the first and the last"
    )
    size_budget: ByteSize | None = Field(None, description="mixed precision: bytes that all weights may take, `20MB`")
    even_layer_norms: bool = Field(True, description="one range for all channels of a LayerNorm output (RepQ-ViT)")
    bias_correction: bool = Field(True, description="at 8 bits without learning: channels keep their means")
    compensation: bool = Field(True, description="below 8 bits: rounding in closed form (GPTQ), to learn from")
    range: Literal["search", "percentile"] = Field("search", description="activation ranges: L2.4 search or percentile")
    percentile: float = Field(99.99, gt=50, le=100, description="of range: percentile")
    scales: Scales = Field("float", description="activation scales: any number, or powers of two (shifts)")
    iterations: int = Field(1000, ge=0, description="reconstruction steps a block; 0: nothing is learned")
    memory_budget: ByteSize = Field(
        ByteSize(2 * 10**9), description="images, block inputs and targets kept in memory; the rest goes to disk"
    )
    batch_size: int = Field(32, ge=1)
    rounding_lr: float = Field(1e-2, gt=0, description="Adam rate of learned rounding; larger below 1,000 steps")
    weight_scale_lr: float = Field(1e-4, ge=0)
    activation_lr: float = Field(1e-3, ge=0, description="of activation scales; larger below 1,000 steps")
    rounding_weight: float = Field(0.01, ge=0, description="lambda of the AdaRound regulariser")
    drop_probability: float = Field(0.5, ge=0, le=1, description="QDrop: share of activations left unquantized")
    qat_epochs: int = Field(0, ge=0, description="epochs of QAT behind the reconstruction; 0: PTQ only")
    qat_method: Literal["cascade", "lsq"] = Field(
        "cascade", description="cascade: from the PTQ solution (GenQ); lsq: from rounded weights, no reconstruction"
    )
    qat_autocast: bool = Field(False, description="QAT steps in bfloat16 where the operator allows it (GPU)")
    qat_frozen_share: float = Field(
        0.5, ge=0, lt=1, description="cascade: share of the blocks, from the input on, that stay as PTQ made them"
    )
    qat_weight_lr: float = Field(3e-3, gt=0, description="Adam rate of weight corrections, in steps of the weight grid")
    qat_scale_lr: float = Field(1e-4, ge=0, description="Adam rate of the logarithms of scales")

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


class ExportConfig(_Frozen):
    """The deployed file."""

    int4_storage: bool = Field(True, description="store weights of 4 bits or fewer in 4 bits (ONNX Runtime target)")
    half_remainder: bool = Field(
        False, description="what stays float (LayerNorm, softmax, GELU, sums) computes in FP16 (TensorRT target)"
    )
    engine_batches: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (1, 8, 64), description="smallest, best and largest batch of the engine"
    )
    compute_capabilities: tuple[str, ...] = Field(
        ("SM86", "SM89", "SM120"), min_length=1, description="GPUs that TensorRT-RTX builds for, ahead of time"
    )
    version_compatible: bool = Field(False, description="the engine also runs on later versions (TensorRT)")
    hardware_compatible: bool = Field(False, description="the engine also runs on later GPUs (TensorRT, from SM80)")

    @model_validator(mode="after")
    def _batches_in_order(self) -> Self:
        if list(self.engine_batches) != sorted(self.engine_batches):
            raise ValueError("engine_batches must rise: smallest, best, largest")
        return self


class GatesConfig(_Frozen):
    """Thresholds a build must meet; None: chosen by bits (runtime_tests/gates.py says how)."""

    max_accuracy_loss: float | None = Field(None, description="points of top-1 against float")
    min_agreement: float = Field(0.999, ge=0, le=1, description="deployed file against reference, same top-1")
    min_code_match: float | None = Field(
        None, ge=0, le=1, description="share of activation codes equal to the oracle's; None: by bits"
    )
    min_integer_share: float = Field(1.0, ge=0, le=1, description="share of convolutions and linears in integers")
    min_speedup: float | None = Field(None, gt=0, description="deployed against float latency; None: not a condition")
    max_size_share: float | None = Field(None, gt=0, description="deployed bytes against float; None: not a condition")


Runtime = Literal["reference", "oracle", "onnxruntime", "onnxruntime-unfused", "openvino", "tensorrt"]


class VerifyConfig(_Frozen):
    """What the deployed file is held against."""

    evaluation: Path | None = Field(None, description="labelled images; None: the zoo's test set, if it is the model's")
    latency_runs: int = Field(200, ge=10, description="timed calls of each of float and deployed, alternating")
    latency_batches: tuple[PositiveInt, ...] = Field((1, 8, 32), min_length=1, description="timed; the main one first")
    threads: int = Field(1, ge=1, description="threads of the timed sessions")
    batch_size: int = Field(32, ge=1)
    backends: tuple[Runtime, ...] | None = Field(None, description="tested beside those of the verdict; None: all")
    fidelity_images: int = Field(256, ge=1, description="images whose codes are compared one by one")
    time_limit: float = Field(120.0, gt=0, description="seconds a runtime may take over one request")
    gates: GatesConfig = GatesConfig()


class BuildConfig(_Frozen):
    """One build from network to report."""

    version: Literal[1] = CONFIG_VERSION
    model: ModelConfig
    target: Target = "onnxruntime"
    preset: PresetName = "default"
    seed: int = Field(0, ge=0, lt=2**31)
    device: str = "cpu"
    calibrate: CalibrateConfig
    quantize: QuantizeConfig
    export: ExportConfig = ExportConfig()
    verify: VerifyConfig = VerifyConfig()

    @classmethod
    def for_model(
        cls,
        name: str,
        *,
        bits: int = 4,
        weight_bits: int | None = None,
        activation_bits: int | None = None,
        target: Target = "onnxruntime",
        preset: PresetName = "default",
        weights: Path | None = None,
        classes: Path | None = None,
        images: int | None = None,
        qat_epochs: int = 0,
        scales: Scales = "float",
        first_last_bits: int = 8,
        keep_float: Sequence[str] = (),
        sensitivity: bool = False,
        average_bits: float | None = None,
        size_budget: str | int | None = None,
        memory_budget: str | int = 2 * 10**9,
        generator: str | None = None,
        real: Path | None = None,
        made_before: Path | None = None,
        evaluation: Path | None = None,
        seed: int = 0,
        device: str = "cpu",
        settings: Sequence[str] = (),
    ) -> Self:
        """Resolve a preset and the options people give most into a full config.

        settings: any other field as `section.field=value`, the value in YAML (`calibrate.steps=10`).
        Raises UserError where a value is out of its range or a field is unknown.
        """
        images_of = {"quick": 256, "default": 1024, "thorough": 1024}
        iterations_of = {"quick": 0, "default": 1000, "thorough": 20000}
        values: dict[str, Any] = {
            "model": {"name": name, "weights": weights, "classes": classes},
            "target": target,
            "preset": preset,
            "seed": seed,
            "device": device,
            "calibrate": {
                "generator": generator,
                "images": images or images_of.get(preset, 1024),
                "real": real,
                "made_before": made_before,
            },
            "quantize": {
                "weight_bits": bits if weight_bits is None else weight_bits,
                "activation_bits": bits if activation_bits is None else activation_bits,
                "iterations": iterations_of.get(preset, 0),
                "qat_epochs": qat_epochs,
                "scales": scales,
                "first_last_bits": first_last_bits,
                "keep_float": tuple(keep_float),
                "sensitivity": sensitivity,
                "average_bits": average_bits,
                "size_budget": size_budget,
                "memory_budget": memory_budget,
            },
            "verify": {"evaluation": evaluation},
        }
        for setting in settings:
            _apply(values, setting)
        return cls.parse(values)

    @classmethod
    def parse(cls, values: dict[str, Any], source: str = "configuration") -> Self:
        """Validate; raises UserError that names the field and what it takes."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            # Both targets hold grids of 2 to 8 bits, so the field's own limits are the target's.
            held = f"; --target {values.get('target', 'onnxruntime')} holds 2 to 8" if field.endswith("_bits") else ""
            raise UserError(f"{source}: {field}: {first['msg']} (got {first['input']!r}){held}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a YAML file; raises UserError where it cannot be read or holds what no config holds."""
        try:
            values = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"cannot read config {path}: {reason}") from None
        if not isinstance(values, dict):
            raise UserError(f"config {path} is not a mapping of settings")
        return cls.parse(values, source=str(path))

    def to_yaml(self) -> str:
        """The resolved config as YAML, in the order of the fields."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))

    @property
    def folder_name(self) -> str:
        """`resnet50-w4a4-tensorrt`"""
        name = self.model.name.replace("/", "_").replace(":", "_")
        return f"{name}-{self.quantize.grid_name.lower()}-{self.target}"


def parse_target(name: str) -> Target:
    """Raises UserError for a target that is not known."""
    if name not in get_args(Target):
        raise UserError(f"--target {name}: give one of {', '.join(get_args(Target))}")
    return cast(Target, name)


def _apply(values: dict[str, Any], setting: str) -> None:
    """Put `section.field=value` into nested values; raises UserError where it is not of that form."""
    path, separator, text = setting.partition("=")
    *sections, field = path.strip().split(".")
    if not separator or not field:
        raise UserError(f"--set {setting}: give SECTION.FIELD=VALUE, such as calibrate.steps=10")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {setting}: '{text}' is not a value") from None
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {setting}: '{section}' is a value, not a section")
        values = inner
    values[field] = value

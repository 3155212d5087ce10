"""Everything a build can be told, as frozen models: what is not listed here is refused.

Presets are methods; `BuildConfig.for_model` is what the command line and most callers use. The resolved config is
written to `config.yaml` in the build folder and read back by `--config`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import yaml
from pydantic import Field, ValidationError

from genq_export.config.base import Frozen
from genq_export.config.calibrate import CalibrateConfig
from genq_export.config.export import ExportConfig
from genq_export.config.model import ModelConfig
from genq_export.config.quantize import QuantizeConfig, Scales, current_path
from genq_export.config.verify import VerifyConfig
from genq_export.core.errors import UserError

Target = Literal["onnxruntime", "tensorrt"]
PresetName = Literal["quick", "default", "thorough"]
CONFIG_VERSION: Literal[1] = 1


class BuildConfig(Frozen):
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
                "reconstruction": {"iterations": iterations_of.get(preset, 0)},
                "qat": {"epochs": qat_epochs},
                "scales": scales,
                "first_last_bits": first_last_bits,
                "keep_float": tuple(keep_float),
                "sensitivity": sensitivity,
                "mixed_precision": {"average_bits": average_bits, "size_budget": size_budget},
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
    *sections, field = current_path(path.strip()).split(".")
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

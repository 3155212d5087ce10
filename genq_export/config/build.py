"""Everything a build can be told, as frozen models: what is not listed here is refused.

`BuildConfig.for_model` is what the command line and most callers use. The resolved config is written to `config.yaml`
in the build folder and read back by `--config`. What holds, from weak to strong: the default of a field, the preset, a
shorthand (`--bits`), the field's own option or `--set`, or the file.
"""

import inspect
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from genq_export.config.base import Frozen, OneOf, Option
from genq_export.config.calibrate import CalibrateConfig
from genq_export.config.export import ExportConfig
from genq_export.config.model import ModelConfig
from genq_export.config.presets import PRESETS, described
from genq_export.config.quantize import QuantizeConfig
from genq_export.config.registry import TARGETS
from genq_export.config.settings import (
    beneath,
    give_options,
    give_settings,
    near,
    parameters,
    put,
    renamed,
    settings_of,
)
from genq_export.config.verify import VerifyConfig
from genq_export.config.yaml_file import read_values, to_yaml
from genq_export.core.devices import AUTO, chosen_device
from genq_export.core.errors import UserError

Target = Annotated[str, OneOf("target", lambda: TARGETS)]
PresetName = Annotated[str, OneOf("preset", lambda: PRESETS)]


class BuildConfig(Frozen):
    """One build from network to report."""

    version: Literal[2] = Field(2, description="of the config file")
    model: ModelConfig
    target: Annotated[Target, Option(("build", "calibrate", "audit"), always_told=True)] = Field(
        "onnxruntime", description="what the file is made for"
    )
    preset: Annotated[PresetName, Option(("build", "calibrate", "quantize"))] = Field(
        "default", description=f"settings that hold where nothing else is given; {described()}"
    )
    seed: Annotated[int, Option(("build", "calibrate"), always_told=True)] = Field(
        0, ge=0, lt=2**31, description="same seed, same machine: same bytes"
    )
    device: Annotated[
        str,
        Option(("build", "calibrate")),
        Option(("verify",), help="where the integer oracle computes; else the build's, if it is here, or cpu"),
    ] = Field(
        AUTO, description="where networks compute: auto (a GPU where torch sees one, else the CPU), cpu, cuda or cuda:N"
    )
    calibrate: CalibrateConfig
    quantize: QuantizeConfig
    export: ExportConfig = ExportConfig()
    verify: VerifyConfig = VerifyConfig()

    @classmethod
    def for_model(cls, name: str, *, settings: Sequence[str] = (), **options: Any) -> Self:
        """Resolve a preset and the options people give most into a full config.

        Args:
            name: of the network, as `genq-export build` takes it.
            settings: any other field as `section.field=value`, the value in YAML (`calibrate.steps=10`).
            options: those of `genq-export build` by name, `weight_bits=2`; None is as good as not given.

        Raises:
            UserError: where a value is out of its range or an option or a field is unknown.
        """
        given = {keyword: value for keyword, value in options.items() if value is not None}
        values: dict[str, Any] = {"model": {"name": name}, "calibrate": {}, "quantize": {}}
        paths = give_options(values, parameters(cls, "build"), given)
        give_settings(values, cls, settings, paths | {("model", "name")})
        return cls.parse(values)

    @classmethod
    def parse(cls, values: dict[str, Any], source: str = "configuration") -> Self:
        """Validate nested values, those of the preset beneath them.

        Raises:
            UserError: names the field and what it takes.
        """
        try:
            if values.get("version") == 1 and values["version"] is not True:
                values = renamed(values, cls) | {"version": 2}
            return cls.model_validate(beneath(_settings_of_preset(values.get("preset")), values))
        except ValidationError as error:
            raise UserError(f"{source}: {_explained(cls, error.errors()[0], values)}") from None
        except UserError as error:
            raise UserError(f"{source}: {error}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a YAML file; raises UserError where it cannot be read, was cut short or holds what no config holds."""
        return cls.parse(read_values(path), source=str(path))

    def to_yaml(self) -> str:
        """The resolved config as YAML, in the order of the fields, with a mark at its end."""
        return to_yaml(self.model_dump(mode="json"))

    def changed(self, command: str, given: dict[str, Any]) -> Self:
        """This config with options of a command; raises UserError where they do not fit."""
        values = self.model_dump(mode="json")
        give_options(values, parameters(type(self), command), given)
        return self.parse(values, source=command)

    def with_preset(self, name: str, section: str) -> tuple[Self, list[str]]:
        """This config with what a preset says of one section, where it does not say otherwise itself.

        A config does not tell which of its values were given. Those that its own preset would not have are taken to be.

        Args:
            name: of the preset.
            section: `quantize`.

        Returns:
            The config, and the names of settings that stay though the preset has another value for them.
        """
        dumps = [config.model_dump() for config in (self, self._usual(self.preset), self._usual(name))]
        values: dict[str, Any] = self.model_dump(mode="json") | {"preset": name}
        kept = []
        for setting in (setting for setting in settings_of(type(self)) if setting.path[0] == section):
            used, usual, wanted = (setting.read(dump) for dump in dumps)
            if wanted in (used, usual):
                continue
            if used == usual:
                put(values, setting.path, wanted)
            else:
                kept.append(setting.name)
        return self.parse(values, source="preset"), kept

    def _usual(self, preset: str) -> Self:
        return self.for_model(self.model.name, preset=preset)

    def on_chosen_device(self) -> Self:
        """This config with the device of this machine that `auto` stands for."""
        return self.model_copy(update={"device": chosen_device(self.device)})

    @property
    def folder_name(self) -> str:
        """`resnet50-w4a4-tensorrt`"""
        name = self.model.title.strip("./").replace("/", "_").replace(":", "_")
        return f"{name}-{self.quantize.grid_name.lower()}-{self.target}"


def _settings_of_preset(name: object) -> dict[str, Any]:
    """What a preset says; nothing for one that is not known, which validation will say."""
    return PRESETS.get(name, {}) if isinstance(name, str) else {}


def _explained(model: type[BuildConfig], error: ErrorDetails, values: dict[str, Any]) -> str:
    """A validation error in one line: the field, what it takes and what it got."""
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{field}: there is no such setting{near(model, field)}"
    if error["type"] == "unknown_name":
        return f"{field}: {error['msg']}"
    # Every target holds grids of 2 to 8 bits, so the field's own limits are the target's.
    held = f"; --target {values.get('target', 'onnxruntime')} holds 2 to 8" if field.endswith("_bits") else ""
    return f"{field}: {error['msg']} (got {reprlib.repr(error['input'])}){held}"


def _show_keywords() -> None:
    """Let `help()` and editors see the keywords of `BuildConfig.for_model`, which are made from the fields."""
    function = BuildConfig.for_model.__func__  # type: ignore[attr-defined]
    fixed = [part for part in inspect.signature(function).parameters.values() if part.kind is not part.VAR_KEYWORD]
    keywords = [
        inspect.Parameter(parameter.keyword, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Any)
        for parameter in parameters(BuildConfig, "build")
    ]
    function.__signature__ = inspect.Signature([*fixed, *keywords])


_show_keywords()

"""What belongs to a network, stored beside its quantized form: `network.json`. Reading it runs nothing.

So a build can be verified where neither its weights nor the library that it came from are.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, PositiveInt, ValidationError, model_validator

from genq_export.config.base import Frozen
from genq_export.core.damaged_field import damaged_field
from genq_export.core.errors import UserError
from genq_export.core.paths import reading
from genq_export.core.workspace import Workspace
from genq_export.models.loaded import LoadedModel
from genq_export.network.outputs import MOST_OUTPUTS, is_output_name

if TYPE_CHECKING:
    from torch import nn

FILE = "network.json"


class NetworkDescription(Frozen):
    """The fields of `LoadedModel` that are no module."""

    version: Literal[1] = 1
    name: str = Field(max_length=1000)
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float = Field(gt=0, le=1)
    interpolation: str
    class_names: tuple[str, ...] | None
    classes: int = Field(ge=0)
    layout: Literal["RGB", "BGR"]
    resize: int | None = Field(None, ge=1)
    processor: Mapping[str, Any] | None = None
    outputs: dict[str, tuple[PositiveInt, ...]] = Field(default_factory=dict, max_length=MOST_OUTPUTS)
    task: str = Field("classification", max_length=40)
    model_type: str | None = Field(None, max_length=100)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        channels = self.input_size[0]
        if min(self.input_size) < 1 or {len(self.mean), len(self.std)} != {channels} or 0 in self.std:
            raise ValueError("input size, mean and std do not fit together")
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise ValueError("as many class names as classes are needed")
        if not all(map(is_output_name, self.outputs)):
            raise ValueError("outputs have names of letters, digits, dots and dashes")
        return self

    @classmethod
    def of(cls, model: LoadedModel) -> Self:
        """Describe a network."""
        told = {field.name: getattr(model, field.name) for field in fields(model)}
        return cls.model_validate({name: value for name, value in told.items() if name in cls.model_fields})

    def with_module(self, module: "nn.Module") -> LoadedModel:
        """A network of this description that computes what `module` computes."""
        return LoadedModel(module=module, **self.model_dump(exclude={"version"}))


def write_description(workspace: Workspace, model: LoadedModel) -> str:
    """Write `network.json` into a build folder; returns its name."""
    workspace.write_bytes(FILE, (NetworkDescription.of(model).model_dump_json(indent=1) + "\n").encode())
    return FILE


def read_description(folder: Path) -> NetworkDescription | None:
    """Read it; None in builds of before it was written.

    Raises:
        UserError: where it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with reading(path):
            return NetworkDescription.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path} does not describe a network ({damaged_field(error)}): export again") from None

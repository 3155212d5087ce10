"""Which network is built."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from genq_export.config.base import SEPARATED, Frozen, OneOf, Option
from genq_export.config.registry import TASKS

MOST_OUTPUTS = 64

_ALONE = Option(("build", "calibrate"))
_LONGEST_SIDE = 2**14
_FILE = re.compile(r"^.*/(?=[^/]+\.\w+(:\w+)?$)")  # the folders in front of a file


def _shares(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Of pixels in [0, 1]; figures for pixels up to 255 are a mistake that nothing else would show."""
    for value in values or ():
        if not 0 <= value <= 1:
            raise ValueError(f"of pixels in [0, 1], so {value:g} is outside: divide figures for 0 to 255 by 255")
    return values


def _positive(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    if any(value == 0 for value in values or ()):
        raise ValueError("nothing is divided by 0")
    return values


def _size(values: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    if values is not None and not (0 < values[0] <= _LONGEST_SIDE and 0 < min(values[1:]) <= max(values) <= 2**14):
        raise ValueError(f"channels, height and width, each from 1 to {_LONGEST_SIDE}")
    return values


class ModelConfig(Frozen):
    """Which network, and what its own files do not say."""

    name: Annotated[
        str,
        Option(("quantize",), "model", help="network of a new build folder, whose set is the one of --calibration"),
    ] = Field(
        max_length=1000,
        description="timm name, torchvision:NAME, FILE.py:FUNCTION, FILE.pt2, a Hugging Face folder or OWNER/NAME, or a"
        " network of the embedded zoo (`genq-export models`)",
    )
    weights: Annotated[Path | None, _ALONE] = Field(
        None, description="checkpoint to load instead of the default weights: a file, its index of shards, or a folder"
    )
    classes: Annotated[Path | None, _ALONE] = Field(None, description="text file with one class name a line")
    input_size: Annotated[tuple[int, int, int] | None, SEPARATED, AfterValidator(_size), _ALONE] = Field(
        None, description="channels,height,width of the network's input, 3,224,224; none: what its own files say"
    )
    dynamic_size: Annotated[bool, _ALONE] = Field(
        False,
        description="the file takes images of other heights and widths too (fully convolutional networks, text of free"
        " width; --target onnxruntime); ranges hold for the calibrated size",
    )
    mean: Annotated[tuple[float, ...] | None, SEPARATED, AfterValidator(_shares), _ALONE] = Field(
        None,
        min_length=1,
        description="taken from pixels in [0, 1], a number for each channel in the network's order, or one for all",
    )
    std: Annotated[tuple[float, ...] | None, SEPARATED, AfterValidator(_shares), AfterValidator(_positive), _ALONE] = (
        Field(None, min_length=1, description="divided by afterwards, in the same form")
    )
    crop: Annotated[float | None, _ALONE] = Field(
        None, gt=0, le=1, description="share of the resized image that the centre crop keeps; 1 keeps all of it"
    )
    layout: Annotated[Literal["RGB", "BGR"] | None, _ALONE] = Field(
        None, description="order of the colours that the network takes"
    )
    outputs: Annotated[tuple[str, ...] | None, SEPARATED, _ALONE] = Field(
        None,
        min_length=1,
        max_length=MOST_OUTPUTS,
        description="names of outputs, or paths of modules inside whose results become outputs; none: all it returns",
    )
    task: Annotated[str | None, OneOf("task", lambda: TASKS), _ALONE] = Field(
        None, description="what the network is for; none: what is known of it, or the shape of what it gives"
    )
    digest: str | None = Field(
        None, max_length=64, description="of a module that a Python program gave; `genq_export.build` writes it"
    )

    @property
    def title(self) -> str:
        """The name as folders and reports have it: where a file lies is nobody's business."""
        return _FILE.sub("", self.name)

    @model_validator(mode="after")
    def _a_number_for_each_channel(self) -> Self:
        channels = None if self.input_size is None else self.input_size[0]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if channels is not None and values is not None and len(values) not in (1, channels):
                raise ValueError(f"{name} has {len(values)} numbers for {channels} channels: give one for each")
        return self

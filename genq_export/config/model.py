"""Which network is built."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from genq_export.config.base import Frozen, Option


class ModelConfig(Frozen):
    """Which network, and what its own files do not say."""

    name: Annotated[
        str,
        Option(("quantize",), "model", help="network of a new build folder, whose set is the one of --calibration"),
    ] = Field(max_length=1000, description="timm name, or a network of the embedded zoo (`genq-export models`)")
    weights: Annotated[Path | None, Option(("build", "calibrate"))] = Field(
        None, description="checkpoint (.safetensors, .pth) to load instead of the default weights"
    )
    classes: Annotated[Path | None, Option(("build", "calibrate"))] = Field(
        None, description="text file with one class name a line"
    )

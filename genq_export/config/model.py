"""Which network is built."""

from pathlib import Path

from pydantic import Field

from genq_export.config.base import Frozen


class ModelConfig(Frozen):
    """Which network, and what its own files do not say."""

    name: str = Field(description="timm name, or a network of the embedded zoo")
    weights: Path | None = Field(
        None, description="checkpoint (.safetensors, .pth) to load instead of the default weights"
    )
    classes: Path | None = Field(None, description="text file with one class name a line")

"""Which TensorRT is installed."""

import importlib
import importlib.util


def engine_builder() -> str | None:
    """The installed module that can build TensorRT engines, if any."""
    return next((name for name in ("tensorrt", "tensorrt_rtx") if importlib.util.find_spec(name)), None)

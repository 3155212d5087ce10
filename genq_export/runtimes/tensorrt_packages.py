"""Which TensorRT is installed."""

import importlib.util

TENSORRT_PACKAGES = ("tensorrt", "tensorrt_rtx")


def engine_builder() -> str | None:
    """The installed module that can build TensorRT engines, if any."""
    return next((name for name in TENSORRT_PACKAGES if importlib.util.find_spec(name)), None)

"""genq-export: quantize and deploy vision networks without their training data.

>>> from genq_export import BuildConfig, build
>>> report = build(BuildConfig.for_model("fashion_resnet", bits=4))
>>> report.passed
>>> logits = load("build/fashion_resnet-w4a4-onnxruntime")(images)
"""

from typing import TYPE_CHECKING, Any

from genq_export.core.imports import install_torchvision_hook

if TYPE_CHECKING:
    from genq_export.config.build import BuildConfig
    from genq_export.core.errors import UserError
    from genq_export.pipeline.build import build
    from genq_export.runtimes.load import load

install_torchvision_hook()

__all__ = ["BuildConfig", "UserError", "build", "load"]

_PLACES = {
    "BuildConfig": "genq_export.config.build:BuildConfig",
    "UserError": "genq_export.core.errors:UserError",
    "build": "genq_export.pipeline.build:build",
    "load": "genq_export.runtimes.load:load",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `import genq_export` alone must not take seconds."""
    if name not in _PLACES:
        raise AttributeError(f"module 'genq_export' has no attribute '{name}'")
    from genq_export.core.registry import resolve

    return resolve(_PLACES[name])


def __dir__() -> list[str]:
    return __all__

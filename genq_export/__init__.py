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


def __getattr__(name: str) -> Any:
    """Import on first use: `import genq_export` alone must not take seconds."""
    if name == "build":
        from genq_export.pipeline.build import build

        return build
    if name == "BuildConfig":
        from genq_export.config.build import BuildConfig

        return BuildConfig
    if name == "UserError":
        from genq_export.core.errors import UserError

        return UserError
    if name == "load":
        from genq_export.runtimes.load import load

        return load
    raise AttributeError(f"module 'genq_export' has no attribute '{name}'")

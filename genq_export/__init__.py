"""genq-export: quantize and deploy vision networks without their training data.

>>> from genq_export import BuildConfig, build
>>> result = build(BuildConfig.for_model("fashion_resnet", bits=4))
>>> result.report.passed
>>> logits = load(result.folder)(images)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genq_export.builder import BuildResult, build
    from genq_export.config import BuildConfig
    from genq_export.errors import UserError
    from genq_export.runtime import load

__all__ = ["BuildConfig", "BuildResult", "UserError", "build", "load"]


def __getattr__(name: str) -> Any:
    """Import on first use: `import genq_export` alone must not take seconds."""
    if name in ("build", "BuildResult"):
        from genq_export import builder

        return getattr(builder, name)
    if name == "BuildConfig":
        from genq_export.config import BuildConfig

        return BuildConfig
    if name == "UserError":
        from genq_export.errors import UserError

        return UserError
    if name == "load":
        from genq_export.runtime import load

        return load
    raise AttributeError(f"module 'genq_export' has no attribute '{name}'")

"""What is installed with `genq-export` alone, and which extra brings the rest.

The core reads, runs, audits and verifies ONNX files. Whatever knows torch comes with an extra, and says so where it is
not there: a board that runs a file installs no pipeline that draws images.
"""

from importlib.util import find_spec

from genq_export.core.errors import UserError

# The extra by the top-level module that it brings.
EXTRAS = {
    "PIL": "images", "torch": "quantize", "torchvision": "quantize", "timm": "quantize", "transformers": "quantize",
    "safetensors": "quantize", "onnxscript": "quantize", "scipy": "quantize", "jinja2": "quantize",
    "markupsafe": "quantize", "huggingface_hub": "quantize", "accelerate": "quantize", "diffusers": "calibrate",
}  # fmt: skip
# Commands that the core cannot do.
_NEED_TORCH = (
    "build", "tune", "calibrate", "quantize", "export", "verify", "report", "package", "serve", "inspect", "models",
)  # fmt: skip


def check_command(name: str) -> None:
    """Raise UserError where a command needs what is not installed."""
    if name in _NEED_TORCH and find_spec("torch") is None:
        raise UserError(f"genq-export {name} needs {remedy('torch')}")


def remedy(module: str) -> str:
    """`torch, which is not installed: pip install 'genq-export[quantize]'`"""
    return f"{module}, which is not installed: pip install 'genq-export[{EXTRAS[module]}]'"


def missing_module(error: Exception) -> str | None:
    """One line for an import of what an extra brings; None for any other error."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    module = error.name.partition(".")[0]
    return f"this needs {remedy(module)}" if module in EXTRAS and find_spec(module) is None else None

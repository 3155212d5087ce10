"""genq-export: quantize and deploy vision networks without their training data.

>>> from genq_export import BuildConfig, build
>>> report = build(BuildConfig.for_model("fashion_resnet", bits=4))
>>> report.passed
>>> logits = load("build/fashion_resnet-w4a4-onnxruntime")(images)
>>> quantized = quantize(net, images, input_size=(3, 224, 224), mean=(0.5,), std=(0.5,))
"""

# `python -m genq_export` has put the current folder in front of everything, where a stray `typing.py` would run in the
# place of Python's: take it away before the first import. The console script does not search there at all.
import os
import sys

_IS_MODULE = sys.argv[:1] == ["-m"]
_ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if _IS_MODULE and not sys.flags.safe_path and os.path.realpath(sys.path[0]) != _ROOT:
    del sys.path[0]

import signal  # noqa: E402

# The command is imported for a while before it can say that it was stopped: until then it ends without a word.
_IS_COMMAND = _IS_MODULE or os.path.basename("".join(sys.argv[:1])) == "genq-export"
if _IS_COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from typing import TYPE_CHECKING, Any  # noqa: E402

from genq_export.core.imports import install_torchvision_hook  # noqa: E402

if TYPE_CHECKING:
    from genq_export.config.build import BuildConfig
    from genq_export.core.errors import UserError
    from genq_export.pipeline.build import build
    from genq_export.pipeline.quantize import quantize
    from genq_export.runtimes.load import load

install_torchvision_hook()

__all__ = ["BuildConfig", "UserError", "build", "load", "quantize"]

_PLACES = {
    "BuildConfig": "genq_export.config.build:BuildConfig",
    "UserError": "genq_export.core.errors:UserError",
    "build": "genq_export.pipeline.build:build",
    "load": "genq_export.runtimes.load:load",
    "quantize": "genq_export.pipeline.quantize:quantize",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `import genq_export` alone must not take seconds."""
    if name not in _PLACES:
        raise AttributeError(f"module 'genq_export' has no attribute '{name}'")
    from genq_export.core.registry import resolve

    return resolve(_PLACES[name])


def __dir__() -> list[str]:
    return __all__

"""Make torchvision importable beside a CPU build of torch.

The torchvision wheel on PyPI carries CUDA operators. Beside a CPU torch its compiled library does not load, and its
import then stops at the first operator schema it misses, although nothing that this project (or timm, diffusers,
transformers) uses needs these operators: they are the box operators of detection networks.
"""

import importlib
import sys

import torch

_NMS_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def ensure_torchvision() -> None:
    """Import torchvision; where that fails for want of `torchvision::nms`, declare the missing schemas first."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        # The fragment must outlive this call: torch drops the schemas when the Library object is collected.
        sys.modules[__name__].__dict__["_fragment"] = fragment = torch.library.Library("torchvision", "DEF")
        fragment.define(f"nms{_NMS_SCHEMA}")
        fragment.define(f"qnms{_NMS_SCHEMA}")
        importlib.import_module("torchvision")

"""torchvision beside a CPU build of torch: importing genq_export is all it takes."""

import subprocess
import sys

import pytest

_OWN_NETWORK = """
import sys
import genq_export
assert "torch" not in sys.modules, "importing genq_export alone is quick"
from timm.models import register_model

@register_model
def my_own_network(pretrained=False, **settings):
    import timm
    return timm.create_model("test_resnet", **settings)

from genq_export.config.model import ModelConfig
from genq_export.models.source import check_name, with_module
import torch
check_name(ModelConfig(name="my_own_network"))
assert with_module(ModelConfig(name="my_own_network"), torch.nn.Identity()).classes == 1000
"""
_TOO_LATE = """
try:
    import torchvision
except RuntimeError:
    pass
import genq_export
import torchvision.transforms
"""
_TWICE = """
import sys
import genq_export
from genq_export.core.imports import install_torchvision_hook
before = list(sys.meta_path)
install_torchvision_hook()
assert sys.meta_path == before
import torchvision
install_torchvision_hook()
import importlib
importlib.reload(torchvision.extension)
"""


@pytest.mark.parametrize("program", [_OWN_NETWORK, _TOO_LATE, _TWICE])
def test_torchvision_is_importable(program: str) -> None:
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr

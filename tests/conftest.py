"""What every test folder shares."""

import os
import tempfile

import pytest
from hypothesis import settings

import genq_export  # noqa: F401 - tests that import timm need its hook for torchvision
from tests.parts import Part, Share

# An example that takes long on a busy machine is no fault of the code's.
settings.register_profile("unhurried", parent=settings.default, deadline=None)
settings.load_profile("unhurried")

# Small networks lose by sharing their work, and the machine may have other work to do.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# What tests measure is not remembered as measured by the user.
STATE = tempfile.TemporaryDirectory(prefix="state-")
os.environ["XDG_STATE_HOME"] = STATE.name


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", metavar="N/OF", help="the tests of this part only, less those that passed before")


def pytest_configure(config: pytest.Config) -> None:
    if part := config.getoption("part"):
        config.pluginmanager.register(Part(Share.parse(part), config))

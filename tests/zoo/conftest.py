"""Shared by the zoo's tests: an importable torchvision, before any test module imports timm, and one pipeline."""

from typing import Any

import pytest

from genq_export import zoo
from genq_export.torchvision_ops import ensure_torchvision

ensure_torchvision()


@pytest.fixture(scope="session")
def pipeline() -> Any:
    from genq_export.zoo.pipeline import load_pipeline

    return load_pipeline(zoo.pipeline_folder())

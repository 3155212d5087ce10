"""Shared by the zoo's tests: an importable torchvision, before any test module imports timm, and one pipeline."""

from typing import Any

import pytest

from genq_export import zoo


@pytest.fixture(scope="session")
def pipeline() -> Any:
    from tools.train_zoo.pipeline import load_pipeline

    return load_pipeline(zoo.pipeline_folder())

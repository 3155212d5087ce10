"""Shared by the tests of what trained the zoo: an importable torchvision, and one pipeline."""

from typing import Any

import pytest

from genq_export import zoo


@pytest.fixture(scope="session")
def pipeline() -> Any:
    from tools.train_zoo.pipeline import load_pipeline

    return load_pipeline(zoo.pipeline_folder())

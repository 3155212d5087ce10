"""A build folder as far as the checks read it: the integer model of the embedded network."""

from pathlib import Path

import pytest
import torch

from export.fold import fold
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.models.source import load_model
from genq_export.network.files import save_integer_model
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fashion_resnet at W4A4, ranges on 16 images; no test may change it."""
    config = BuildConfig.for_model("fashion_resnet", bits=4)
    model = load_model(config.model)
    reference, _ = prepare(model.module, model.input_size, config.quantize, rule_for("onnxruntime"))
    calibrate_ranges(reference, [model.normalize(torch.from_numpy(zoo.few_shot_set()[0][:16]))])
    folder = tmp_path_factory.mktemp("gpu_check")
    save_integer_model(fold(reference), folder)
    return folder

"""Codes of ONNX Runtime's default session against the integer oracle, on the embedded network and on small ones."""

from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export import zoo
from genq_export.config.build import BuildConfig
from genq_export.config.quantize import Scales
from genq_export.data.evaluation import EvaluationSet
from genq_export.models.source import evaluation_set, load_model
from genq_export.network.fake_quant import ActivationQuantizer
from genq_export.network.hooks import record_codes
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import codes_tensor
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.quantization.rounding_ties import avoid_ties
from genq_export.runtimes.onnxruntime import session_options
from genq_export.targets import rule_for
from tests.export.conftest import NETWORKS, SIZE

RULE = rule_for("onnxruntime")


def differing_codes(reference: GraphNetwork, images: Tensor, folder: Path) -> int:
    """Codes that differ over all quantizers; answers must be the same."""
    oracle = fold(reference)
    path = folder / "model.onnx"
    export_onnx(oracle, (3, images.shape[2], images.shape[3]), RULE, path, int4_storage=True)
    parts = {part.name: part for part in reference.modules() if isinstance(part, ActivationQuantizer)}
    model = onnx.load(path)
    model.graph.output.extend(onnx.ValueInfoProto(name=codes_tensor(name)) for name in parts)
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, session_options(1), providers=["CPUExecutionProvider"])
    different = 0
    for batch in images.split(64):
        expected_logits, expected = record_codes(oracle, batch)
        logits, *found = session.run(["logits", *(codes_tensor(name) for name in parts)], {"input": batch.numpy()})
        assert np.array_equal(logits.argmax(1), expected_logits.argmax(1).numpy())
        for (name, part), codes in zip(parts.items(), found, strict=True):
            shift = 128 if part.grid.signed else 0
            different += int((codes.astype(np.int32) - shift != expected[name].numpy()).sum())
    return different


@pytest.mark.parametrize("scales", ["pow2", "float"])
def test_no_code_of_the_embedded_network_differs(scales: Scales, tmp_path: Path) -> None:
    """256 test images at W4A4: power-of-two scales, and free ones that keep clear of borders."""
    config = BuildConfig.for_model("fashion_resnet", bits=4, scales=scales)
    model = load_model(config.model)
    reference, _ = prepare(model.module, model.input_size, config.quantize, RULE)
    calibrate_ranges(reference, EvaluationSet("few", *zoo.few_shot_set()).batches(model, 80))
    assert avoid_ties(reference) == 0
    tested = evaluation_set(model, None)
    assert tested is not None
    assert differing_codes(reference, torch.cat(list(islice(tested.batches(model, 64), 4))), tmp_path) == 0


@pytest.mark.parametrize("name", ["residual", "plain", "gated"])
def test_no_code_differs_with_power_of_two_scales(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = BuildConfig.for_model("fashion_resnet", bits=4, scales="pow2").quantize
    reference, _ = prepare(NETWORKS[name]().eval().requires_grad_(False), SIZE, config, RULE)
    images = torch.randn(256, *SIZE, generator=torch.Generator().manual_seed(1))
    calibrate_ranges(reference, [images[:64]])
    assert differing_codes(reference, images, tmp_path) == 0

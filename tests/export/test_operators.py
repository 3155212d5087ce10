"""Networks of one operator each: every layer in integers in ONNX Runtime, and the oracle's codes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from export.audit.onnxruntime import audit_onnxruntime
from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export.config.quantize import QuantizeConfig
from genq_export.network.files import load_reference, save_reference
from genq_export.network.hooks import record_codes
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.runtimes.onnxruntime import OnnxRuntimeSession
from genq_export.targets import rule_for
from runtime_tests.verify.code_comparison import container_shift
from tests.networks import SIZE, noise
from tests.operators import OPERATORS

RULE = rule_for("onnxruntime")
FAST = (
    "fused attention, masked", "MultiheadAttention, sequence first", "einsum", "mm", "tied", "constant query",
    "windows", "conv1d", "pad by reflection", "one in two concatenations", "ReLU beside signed",
    "average, rounded up, own divisor",
)  # fmt: skip
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in OPERATORS if name not in FAST]


@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_every_layer_is_integer_and_the_codes_are_those_of_the_oracle(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = OPERATORS[name]().eval().requires_grad_(False)
    config = QuantizeConfig(weight_bits=4, activation_bits=8, first_last_bits=8, scales="pow2")  # type: ignore[call-arg]
    reference, _ = prepare(module, SIZE, config, RULE)
    images = noise()
    calibrate_ranges(reference, [images])
    save_reference(reference, tmp_path)
    oracle = fold(load_reference(tmp_path))
    path = tmp_path / "model.onnx"
    export_onnx(oracle, SIZE, RULE, path, int4_storage=True)
    audit = audit_onnxruntime(path)
    assert [row for row in audit if not row.integer] == [] and len({row.name for row in audit}) == len(audit)

    _, expected = record_codes(oracle, images)
    _, found = OnnxRuntimeSession(path, threads=1).codes(images.numpy())
    assert expected.keys() == found.keys()
    differing = 0
    for key, codes in expected.items():
        theirs = found[key].astype(np.int32)
        differing += int((theirs - container_shift(codes.numpy(), theirs) != codes.numpy()).sum())
    assert differing <= 0.001 * sum(codes.numel() for codes in expected.values())

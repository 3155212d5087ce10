"""The integer model computes what the reference computes, code by code, and needs no float weight."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from export.fold import fold
from genq_export.core.errors import UserError
from genq_export.network.aten import op_name
from genq_export.network.files import INTEGER_FILES, load_integer_model, save_integer_model
from genq_export.network.hooks import record_codes
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import kind_of_part, part_name

Reference = Callable[..., GraphNetwork]


CASES = itertools.product(("residual", "gated", "attention"), ("onnxruntime", "tensorrt"), (2, 4, 8), (0,))


@pytest.mark.parametrize(
    ("name", "target", "bits", "seed"), [*CASES, *(("residual", "onnxruntime", bits, 1) for bits in (2, 4, 8))]
)
def test_every_code_is_that_of_the_reference(
    reference: Reference, images: Tensor, name: str, target: str, bits: int, seed: int
) -> None:
    gm = reference(name, target, bits, seed)
    logits, codes = record_codes(gm, images)
    folded_logits, folded_codes = record_codes(fold(gm), images)
    assert codes.keys() == folded_codes.keys()
    for quantizer, expected in codes.items():
        assert torch.equal(folded_codes[quantizer], expected), quantizer
    assert torch.equal(folded_logits, logits)


def test_relu6_becomes_relu_with_its_end_as_the_last_code(reference: Reference, images: Tensor) -> None:
    gm = reference("residual", "onnxruntime", 8)
    folded = fold(gm)
    before, after = (
        {op_name(node) for node in graph.graph.nodes} & {"relu", "relu6", "hardtanh"} for graph in (gm, folded)
    )
    assert before - {"relu"} and after == {"relu"}
    quantizer = folded.get_submodule(part_name("quantizer", "act1"))
    assert isinstance(quantizer.hi, int) and quantizer.hi <= 255
    assert abs(quantizer.hi * float(quantizer.scale) - 6) <= float(quantizer.scale) or quantizer.hi == 255  # type: ignore[arg-type]
    assert {op_name(node) for node in gm.graph.nodes} & {"relu6", "hardtanh"}, "the reference is left as it is"


@pytest.mark.parametrize("name", ["residual", "attention"])
def test_a_saved_integer_model_comes_back_without_float_weights(
    tmp_path: Path, reference: Reference, images: Tensor, name: str
) -> None:
    gm = fold(reference(name))
    assert save_integer_model(gm, tmp_path) == list(INTEGER_FILES)
    again = load_integer_model(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(images), gm(images))
    weights = {key: tensor for key, tensor in load_file(tmp_path / INTEGER_FILES[0]).items() if tensor.dim() > 1}
    layers = {key: tensor for key, tensor in weights.items() if kind_of_part(key) == "layer"}
    assert layers and all(tensor.dtype == torch.int8 for tensor in layers.values())


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        load_integer_model(tmp_path)


def test_both_targets_hold_the_same_codes_at_four_bits(reference: Reference, images: Tensor) -> None:
    here, there = (reference("plain", target, 4) for target in ("onnxruntime", "tensorrt"))
    _, codes = record_codes(here, images)
    _, others = record_codes(there, images)
    shared = codes.keys() & others.keys()
    assert {"input", "act", "act1"} <= shared
    assert [name for name in shared if not torch.equal(codes[name], others[name])] == []
    layers = [name for name, tensor in here.state_dict().items() if name.endswith((".codes", ".weight_scale"))]
    assert layers and all(torch.equal(here.state_dict()[name], there.state_dict()[name]) for name in layers)

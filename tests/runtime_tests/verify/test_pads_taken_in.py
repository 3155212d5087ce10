"""A Pad in front of a convolution may be taken in by it: the file's constants are still the integer model's."""

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export.config.build import BuildConfig
from genq_export.network.onnx_graph import read_model
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for
from runtime_tests.verify.constants import mismatches


class Padded(nn.Module):
    """As networks that came from TensorFlow pad: at the end alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(F.pad(x, [0, 1, 0, 2])).relu().mean((2, 3)))
        return logits


def test_the_pads_of_both_are_one_and_others_are_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rule, path = rule_for("onnxruntime"), tmp_path / "model.onnx"
    network, _ = prepare(Padded().eval(), (3, 9, 9), BuildConfig.for_model("fashion_resnet", bits=8).quantize, rule)
    calibrate_ranges(network, [torch.randn(2, 3, 9, 9)])
    integer = fold(network)
    export_onnx(integer, (3, 9, 9), rule, path, int4_storage=False)
    model = read_model(path)
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    pads = next(item for item in convolution.attribute if item.name == "pads")
    assert list(pads.ints) == [0, 0, 2, 1]
    assert mismatches(model, integer) == []
    pads.CopyFrom(onnx.helper.make_attribute("pads", [0, 0, 1, 2]))
    assert [item.message for item in mismatches(model, integer)] == [
        "pads of conv is [0, 0, 1, 2] in the file and [0, 0, 0, 0] in the integer model"
    ]

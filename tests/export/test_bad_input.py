"""What the export refuses, in one line that names it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.fold import fold
from export.onnx_qdq import export_onnx
from genq_export.config.build import BuildConfig, Target
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.network.files import INTEGER_FILES, load_integer_model, load_reference, save_integer_model
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for


def test_a_folder_without_a_reference_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"reference\.json"):
        load_reference(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 200])
def test_a_cut_safetensors_file_is_refused(reference: Callable[..., GraphNetwork], tmp_path: Path, keep: int) -> None:
    save_integer_model(fold(reference("plain")), tmp_path)
    path = tmp_path / INTEGER_FILES[0]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="cannot read the quantized network"):
        load_integer_model(tmp_path)


@pytest.mark.parametrize("bits", [1, 9, 16])
def test_a_grid_that_no_target_holds_is_named_before_anything_runs(bits: int) -> None:
    with pytest.raises(UserError, match=r"quantize\.weight_bits.*got"):
        BuildConfig.for_model("fashion_resnet", bits=bits, target="tensorrt")


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ("quantize.first_last_bits=9", r"quantize\.first_last_bits"),
        ("quantize.layers={conv1: {weight_bits: 16}}", r"quantize\.layers\.conv1\.weight_bits"),
        ("quantize.activation_bits=1", r"quantize\.activation_bits"),
    ],
)
def test_the_target_and_the_setting_of_a_grid_that_it_cannot_hold_are_named(
    target: Target, setting: str, field: str
) -> None:
    with pytest.raises(UserError, match=rf"{field}: .*; --target {target} holds 2 to 8$"):
        BuildConfig.for_model("fashion_resnet", target=target, settings=[setting])


class Spectrum(nn.Module):
    """A layer, then an operator that ONNX has not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_max_pool2d(self.stem(x), 5)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def test_an_operator_without_an_onnx_form_is_named(tmp_path: Path) -> None:
    config = QuantizeConfig(weight_bits=8, activation_bits=8)  # type: ignore[call-arg]
    gm, _ = prepare(Spectrum().eval().requires_grad_(False), (3, 16, 16), config, rule_for("onnxruntime"))
    calibrate_ranges(gm, [torch.randn(4, 3, 16, 16)])
    path = tmp_path / "model.onnx"
    with pytest.raises(UserError, match="adaptive_max_pool2d") as caught:
        export_onnx(fold(gm), (3, 16, 16), rule_for("onnxruntime"), path, int4_storage=True)
    assert "\n" not in str(caught.value) and not path.exists()

"""Zero-points by shift: the same codes as native zero-points, in a form that TensorRT takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from export.audit.engine_plan import audit_plan
from export.audit.onnxruntime import audit_onnxruntime
from export.audit.tensorrt import audit_tensorrt
from export.engine import build_engine
from export.fold import fold
from export.passes.zero_point_shift import shift_steps, without_zero_points
from genq_export.config.quantize import QuantizeConfig
from genq_export.core.errors import UserError
from genq_export.network.hooks import record_codes
from genq_export.network.integer import IntegerLayer, IntegerQuantizer
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import codes_tensor, scale_name
from genq_export.quantization.prepare import calibrate_ranges, prepare
from genq_export.targets import rule_for

Reference = Callable[..., GraphNetwork]
SIZE = (3, 16, 16)


def quantizers(gm: nn.Module) -> dict[str, IntegerQuantizer]:
    return {part.name: part for part in gm.modules() if isinstance(part, IntegerQuantizer)}


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_tensorrt_grid_is_that_of_onnx_runtime_where_every_reader_takes_the_shift(
    reference: Reference, bits: int
) -> None:
    here, there = (quantizers(fold(reference("shift", target, bits))) for target in ("onnxruntime", "tensorrt"))
    for name in ("act", "relu", "gate", "act1"):
        assert (here[name].lo, here[name].hi, here[name].zero_point) == (
            there[name].lo, there[name].hi, there[name].zero_point
        )  # fmt: skip
        assert torch.equal(here[name].scale, there[name].scale)
    assert bits == 2 or (there["act"].zero_point > 0 and there["gate"].zero_point > 0)
    assert there["relu"].hi == 2**bits - 1


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
def test_the_shifted_model_has_the_same_codes(reference: Reference, images: Tensor, target: str, bits: int) -> None:
    native = fold(reference("shift", target, bits))
    shifted = without_zero_points(native)
    _, codes = record_codes(native, images)
    _, moved = record_codes(shifted, images)
    for name, part in quantizers(native).items():
        after = quantizers(shifted)[name]
        assert after.zero_point == 0 and -128 <= after.lo <= after.hi <= 127
        k = part.lo - after.lo
        assert torch.equal(moved[name] + k, codes[name]), name
    assert bits == 2 or quantizers(native)["act"].zero_point > 0, "the model given is left as it is"


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(2, 8), zero_point=st.integers(0, 255), exponent=st.integers(-8, 2), seed=st.integers(0, 2**20),
    bias_on_grid=st.booleans(), linear=st.booleans(),
)  # fmt: skip
def test_one_shifted_layer_is_the_native_one(
    bits: int, zero_point: int, exponent: int, seed: int, bias_on_grid: bool, linear: bool
) -> None:
    """Scales that are powers of two and numbers on an eighth of the step make both forms free of rounding."""
    generator = torch.Generator().manual_seed(seed)
    hi = 2**bits - 1
    native = one_layer(bits, min(zero_point, hi), hi, 2.0**exponent, bias_on_grid, linear, generator)
    eighths = torch.randint(-8 * 300, 8 * 300, (4, 6, 5, 5), generator=generator)
    x = (eighths.flatten(1)[:, :6] if linear else eighths) * 2.0**exponent / 8
    x = (
        x[(x / 2.0**exponent % 1 != 0.5).reshape(len(x), -1).all(1)]
        if linear
        else torch.where(x / 2.0**exponent % 1 == 0.5, x + 2.0**exponent / 8, x)
    )
    shifted = without_zero_points(native)
    (_, codes), (_, moved) = record_codes(native, x), record_codes(shifted, x)
    k = quantizers(native)["x"].lo - quantizers(shifted)["x"].lo
    assert torch.equal(moved["x"] + k, codes["x"])
    assert torch.equal(shifted(x), native(x))


def one_layer(
    bits: int, zero_point: int, hi: int, scale: float, bias_on_grid: bool, linear: bool, generator: torch.Generator
) -> GraphNetwork:
    """A quantizer with a zero-point in front of one layer of 8-bit codes."""
    quantizer = IntegerQuantizer("x", bits, False, zero_point, 0, hi)
    quantizer.scale.fill_(scale)
    geometry = {} if linear else {"stride": [2, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 2}
    shape = [4, 6] if linear else [4, 3, 3, 2]
    layer = IntegerLayer("layer", "linear" if linear else "conv2d", 8, shape, bias_on_grid, geometry)
    layer.weight_codes.copy_(torch.randint(-128, 128, shape, generator=generator))
    layer.weight_scale.fill_(2.0**-6)
    layer.bias_scale.copy_(quantizer.scale * layer.weight_scale)
    steps = torch.randint(-1000, 1000, (4,), generator=generator)
    layer.bias.copy_(steps if bias_on_grid else steps * layer.bias_scale)
    graph = fx.Graph()
    call = graph.call_module("quantizer", (graph.placeholder("x"),))
    graph.output(graph.call_module("layer", (call, graph.get_attr(scale_name("quantizer")))))
    return GraphNetwork(graph, {"quantizer": quantizer, "layer": layer})


def test_only_numbers_beside_a_tie_may_get_the_next_code() -> None:
    scale, zero_point = torch.tensor(0.037), 37
    x = torch.randn(400_000, generator=torch.Generator().manual_seed(0))
    t = shift_steps(zero_point, 255)
    native = torch.clamp(torch.round(x / scale) + zero_point, 0, 255)
    shifted = torch.clamp(torch.round((x + t * scale) / scale), -128, 127) + 128
    differs = native != shifted
    from_tie = (x.double() / scale.double() % 1 - 0.5).abs()
    assert int(differs.sum()) <= 40 and bool((native - shifted).abs().max() <= 1)
    assert bool((from_tie[differs] < 3e-5).all())


def test_a_reader_that_pads_adds_or_pools_keeps_the_symmetric_grid(reference: Reference) -> None:
    gated = quantizers(fold(reference("gated", "tensorrt", 8)))
    assert gated["silu"].zero_point == 0 and gated["silu"].lo == -128
    residual = quantizers(fold(reference("residual", "tensorrt", 8)))
    assert residual["act1"].lo == -128, "read by a padded convolution"


@pytest.mark.parametrize("bits", [4, 8])
def test_the_file_holds_the_codes_of_the_oracle_with_zero_point_zero(
    exported: Callable[..., Any], images: Tensor, tmp_path: Path, bits: int
) -> None:
    made = exported("shift", "tensorrt", bits)
    assert [row for row in audit_tensorrt(made.path) if not row.integer] == []
    _, codes = record_codes(made.integer_model, images)
    found = file_codes(made.path, images, list(codes), tmp_path)
    for name, part in quantizers(made.integer_model).items():
        k = 128 if part.hi > 127 else 0
        differing = (found[name] + k != codes[name].numpy()).mean()
        assert differing <= 1e-3, f"{name}: float sums of the stand-in decide ties otherwise, and nothing else"


def file_codes(path: Path, images: Tensor, names: list[str], tmp_path: Path) -> dict[str, np.ndarray]:
    import onnxruntime

    model = onnx.load(path)
    model.graph.output.extend(onnx.ValueInfoProto(name=codes_tensor(name)) for name in names)
    onnx.save(model, tmp_path / "probed.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(tmp_path / "probed.onnx", options, providers=["CPUExecutionProvider"])
    values = session.run([codes_tensor(name) for name in names], {"input": images.numpy()})
    return {name: value.astype(np.int32) for name, value in zip(names, values, strict=True)}


def test_both_files_run_in_integers(exported: Callable[..., Any]) -> None:
    for target, audit in (("onnxruntime", audit_onnxruntime), ("tensorrt", audit_tensorrt)):
        assert [row for row in audit(exported("shift", target, 4).path) if not row.integer] == []


@pytest.mark.parametrize("bits", [4, 8])
def test_the_engine_takes_the_shift_in_int8(exported: Callable[..., Any], bits: int) -> None:
    pytest.importorskip("tensorrt_rtx")
    engine = build_engine(exported("shift", "tensorrt", bits).path, SIZE, "tensorrt_rtx")
    rows = audit_plan(engine.plan)
    assert len(rows) == 5 and all(row.integer for row in rows)


def test_a_model_for_another_target_whose_readers_pad_is_refused(reference: Reference) -> None:
    with pytest.raises(UserError, match=r"silu.*body.*tensorrt"):
        without_zero_points(fold(reference("gated", "onnxruntime", 4)))


class TwoHeads(nn.Module):
    """One GELU read by two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 16)
        self.act = nn.GELU()
        self.first = nn.Linear(16, 5)
        self.second = nn.Linear(16, 5)
        self.last = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x).flatten(1))
        logits: Tensor = self.last(self.first(x) + self.second(x))
        return logits


def test_a_layer_kept_in_float_gets_the_numbers_shifted_back(images: Tensor) -> None:
    torch.manual_seed(0)
    config = QuantizeConfig(weight_bits=8, activation_bits=8, keep_float=("second",))  # type: ignore[call-arg]
    gm, _ = prepare(TwoHeads().eval().requires_grad_(False), SIZE, config, rule_for("tensorrt"))
    calibrate_ranges(gm, [images])
    native = fold(gm)
    assert quantizers(native)["act"].zero_point > 0
    shifted = without_zero_points(native)
    assert quantizers(shifted)["act"].zero_point == 0
    with torch.no_grad():
        assert torch.allclose(shifted(images), native(images), rtol=1e-4, atol=1e-4)

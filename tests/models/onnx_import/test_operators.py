"""Every operator computes what ONNX Runtime computes, in the forms that opsets 7 to 25 give it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx.numpy_helper import from_array

from tests.models.onnx_import.graphs import Array, draw, network, noise, runtime, write


@dataclass(frozen=True)
class Case:
    """One use of one operator on images of 4 channels, 6 x 8 pixels. tensors: its other inputs, in order."""

    kind: str
    tensors: tuple[Any, ...] = ()
    opset: int = 17
    outputs: int = 1
    attributes: dict[str, Any] = field(default_factory=dict)
    before: str = ""

    def __str__(self) -> str:
        return "-".join((self.kind, str(self.opset), *(f"{k}={v}" for k, v in self.attributes.items())))


def case(kind: str, *tensors: Any, opset: int = 17, outputs: int = 1, before: str = "", **attributes: Any) -> Case:
    return Case(kind, tensors, opset, outputs, attributes, before)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


ONE = np.float32(1.5)
W = draw(5, 4, 3, 3)
CONVOLUTIONS = [
    case("Conv", W),
    case("Conv", W, draw(5), pads=[1, 1, 1, 1], strides=[2, 1], opset=7),
    case("Conv", W, draw(5), pads=[0, 1, 2, 1], dilations=[1, 2]),
    case("Conv", draw(4, 1, 3, 3), group=4, auto_pad="SAME_UPPER", strides=[2, 2]),
    case("Conv", draw(4, 1, 4, 3), group=4, auto_pad="SAME_LOWER", strides=[2, 2], opset=11),
    case("Conv", W, auto_pad="VALID", strides=[2, 2]),
    case("ConvTranspose", draw(4, 5, 3, 3), draw(5), strides=[2, 2]),
    case("ConvTranspose", draw(4, 2, 3, 2), strides=[2, 2], pads=[1, 0, 1, 0], output_padding=[1, 1], group=2),
    case("ConvTranspose", draw(4, 5, 3, 3), strides=[2, 2], pads=[0, 1, 1, 0], dilations=[2, 1]),
    case("ConvTranspose", draw(4, 5, 3, 3), strides=[2, 2], output_shape=[12, 16]),
    case("ConvTranspose", draw(4, 5, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    case("ConvTranspose", draw(4, 5, 3, 3), strides=[2, 2], auto_pad="SAME_LOWER", opset=11),
]
PRODUCTS = [
    case("MatMul", draw(8, 5)),
    case("MatMul", draw(1, 4, 8, 3)),
    case("Gemm", draw(192, 7), draw(7), before="Flatten"),
    case("Gemm", draw(7, 192), draw(7), transB=1, before="Flatten", opset=7),
    case("Gemm", draw(7, 192), draw(1), transB=1, alpha=0.5, beta=2.0, before="Flatten"),
    case("Gemm", draw(192, 7), before="Flatten", opset=11),
    case("Einsum", draw(4, 5), equation="nchw,cd->nhwd"),
]
NORMS = [
    case("BatchNormalization", draw(4), draw(4), draw(4), draw(4, low=0.2), epsilon=1e-3),
    case("BatchNormalization", draw(4), draw(4), draw(4), draw(4, low=0.2), opset=7),
    case("BatchNormalization", draw(192), draw(192), draw(192), draw(192, low=0.2), before="Flatten"),
    case("InstanceNormalization", draw(4), draw(4), epsilon=1e-3),
    case("LayerNormalization", draw(8), draw(8), epsilon=1e-4),
    case("LayerNormalization", draw(6, 8), axis=-2),
    case("LayerNormalization", draw(4, 1, 1), axis=1),
    case("GroupNormalization", draw(2), draw(2), num_groups=2, opset=18),
    case("GroupNormalization", draw(4), draw(4), num_groups=2, opset=21),
    case("RMSNormalization", draw(8), opset=23),
    case("LpNormalization", axis=1, p=2),
    case("LpNormalization", axis=1, p=1),
    case("LRN", size=3, alpha=0.1, beta=0.6, bias=1.5),
]
POOLS = [
    case("MaxPool", kernel_shape=[2, 2]),
    case("MaxPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], opset=8),
    case("MaxPool", kernel_shape=[3, 2], pads=[0, 0, 1, 1], strides=[2, 2]),
    case("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    case("MaxPool", kernel_shape=[2, 2], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1),
    case("MaxPool", kernel_shape=[2, 2], dilations=[2, 2], pads=[0, 0, 1, 1]),
    case("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    case("MaxPool", kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    case("AveragePool", kernel_shape=[2, 2], strides=[2, 2], opset=7),
    case("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
    case("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    case("AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1], strides=[2, 2]),
    case("AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1], strides=[2, 2], count_include_pad=1),
    case("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, opset=19),
    case("AveragePool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    case("GlobalAveragePool"),
    case("GlobalMaxPool"),
]
ACTIVATIONS = [
    *(case(kind) for kind in ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Selu", "HardSwish", "Identity")),
    case("Mish", opset=18),
    case("Selu", alpha=1.5, gamma=1.1),
    case("LeakyRelu", alpha=0.2),
    case("Elu", alpha=0.7),
    case("Celu", alpha=0.7),
    case("ThresholdedRelu", alpha=0.4),
    case("HardSigmoid"),
    case("HardSigmoid", alpha=1 / 6, beta=0.5),
    case("Gelu", opset=20),
    case("Gelu", opset=20, approximate="tanh"),
    case("PRelu", draw(4, 1, 1)),
    case("PRelu", draw(1)),
    case("PRelu", draw(6, 8)),
    case("Clip", opset=7, min=-0.5, max=0.5),
    case("Clip", np.float32(0), np.float32(6)),
    case("Clip", np.float32(-0.25)),
    case("Clip", None, np.float32(0.25)),
    case("Softmax"),
    case("Softmax", axis=1),
    case("Softmax", opset=11),
    case("Softmax", opset=11, axis=3),
    case("LogSoftmax", axis=1),
    case("LogSoftmax", opset=11, axis=2),
    case("Dropout", opset=7),
    case("Dropout", np.float32(0.3), np.bool_(False)),
]
ELEMENTS = [
    *(case(kind) for kind in ("Abs", "Neg", "Exp", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Tan", "Erf")),
    *(case(kind) for kind in ("Atan", "Sinh", "Cosh", "Reciprocal", "IsNaN")),
    *(case(kind, before="Sigmoid") for kind in ("Log", "Sqrt", "Asin", "Acos")),
    *(
        case(kind, operand)
        for kind in ("Add", "Sub", "Mul", "Div")
        for operand in (ONE, draw(4, 1, 1), draw(1, 1, 1, 1))
    ),
    *(case(kind, ONE) for kind in ("Less", "Greater", "Equal", "LessOrEqual", "GreaterOrEqual")),
    case("Pow", np.float32(2)),
    case("Pow", np.int64(3)),
    case("Max", draw(4, 1, 1), ONE),
    case("Min", draw(4, 1, 1), ONE),
    case("Sum", draw(4, 1, 1), ONE),
    case("Mean", draw(4, 1, 1), ONE),
    case("Mod", ONE, fmod=1),
    case("Cast", to=7),
    case("Cast", to=9),
    case("CastLike", np.float64(1)),
]
REDUCTIONS = [
    *(
        case(f"Reduce{kind}", axes=[2, 3])
        for kind in ("Mean", "Max", "Min", "Prod", "L1", "L2", "LogSumExp", "SumSquare")
    ),
    *(case(f"Reduce{kind}", ints(-1), opset=18, keepdims=0) for kind in ("Mean", "Max", "Min", "Prod", "L1", "L2")),
    case("ReduceLogSum", axes=[1], before="Sigmoid"),
    case("ReduceSum", ints(1, 2)),
    case("ReduceSum", axes=[1], opset=11),
    case("ReduceSum", ints(), noop_with_empty_axes=1),
    case("ArgMax", axis=1),
    case("ArgMin", axis=-1, keepdims=0),
    case("CumSum", np.int64(2)),
    case("TopK", ints(3), axis=-1, outputs=2),
]
SHAPES = [
    case("Reshape", ints(0, -1)),
    case("Reshape", ints(-1, 2, 2, 48)),
    case("Reshape", ints(0, 4, 48), opset=7),
    case("Flatten"),
    case("Flatten", axis=-3),
    case("Transpose", perm=[0, 2, 3, 1]),
    case("Squeeze", ints(2), before="GlobalAveragePool"),
    case("Squeeze", axes=[2, 3], opset=11, before="GlobalAveragePool"),
    case("Squeeze", before="GlobalAveragePool"),
    case("Unsqueeze", ints(1, -1)),
    case("Unsqueeze", axes=[1, 3], opset=11),
    case("Expand", ints(1, 1, 6, 8), before="GlobalAveragePool"),
    case("Tile", ints(1, 2, 1, 3)),
    case("DepthToSpace", blocksize=2),
    case("DepthToSpace", blocksize=2, mode="CRD"),
    case("SpaceToDepth", blocksize=2),
]
PARTS = [
    case("Split", ints(1, 3), axis=1, outputs=2),
    case("Split", axis=1, outputs=2, opset=11),
    case("Split", axis=2, outputs=3, num_outputs=3, opset=18),
    case("Split", axis=1, outputs=2, split=[3, 1], opset=11),
    case("Slice", ints(1), ints(-1), ints(2)),
    case("Slice", ints(0, 1), ints(2**62, 7), ints(1, 3), ints(2, 3)),
    case("Slice", ints(-1), ints(-(2**62)), ints(3), ints(-1)),
    case("Slice", ints(-2), ints(1), ints(2), ints(-2)),
    case("Slice", opset=7, starts=[1, 0], ends=[3, 1000], axes=[1, 2]),
    case("Gather", np.int64(-1), axis=2),
    case("Gather", ints(2, 0, -1), axis=1),
    case("Gather", np.array([[0, 1], [1, 2]]), axis=3),
    case("Trilu", upper=0),
    case("Trilu", np.int64(1)),
]
PADS = [
    case("Pad", ints(0, 0, 1, 2, 0, 0, 0, 1)),
    case("Pad", ints(0, 0, 1, 2, 0, 0, 0, 1), np.float32(0.5)),
    case("Pad", ints(0, 1, 0, 0, 0, 0, 0, -1), opset=11),
    case("Pad", opset=7, pads=[0, 0, 1, 1, 0, 0, 2, 0], value=1.0),
    *(case("Pad", ints(0, 0, 1, 2, 0, 0, 0, 1), mode=mode) for mode in ("reflect", "edge")),
    case("Pad", ints(0, 0, 1, 2, 0, 0, 0, 1), mode="wrap", opset=19),
    case("Pad", ints(1, 2, 0, 1), np.float32(0), ints(2, 3), opset=18),
]
NONE: Any = None
SCALES = {"up": [1, 1, 2, 2], "odd": [1, 1, 1.7, 0.6], "down": [1, 1, 0.5, 0.5]}
WAYS = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
RESIZES = [
    *(
        case("Resize", NONE, np.array(SCALES[scale], np.float32), mode=mode, coordinate_transformation_mode=way)
        for scale in SCALES
        for mode in ("linear", "cubic")
        for way in WAYS
    ),
    *(
        case(
            "Resize", NONE, np.array(SCALES[scale], np.float32), mode="nearest", nearest_mode=rounding,
            coordinate_transformation_mode=way,
        )
        for scale in SCALES
        for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        for way in WAYS
    ),
    case("Resize", NONE, NONE, ints(2, 4, 9, 5), mode="linear"),
    case(
        "Resize", NONE, NONE, ints(2, 4, 9, 5), opset=19, mode="linear",
        coordinate_transformation_mode="half_pixel_symmetric",
    ),
    case("Resize", NONE, NONE, ints(9, 5), axes=[2, 3], opset=18),
    case("Resize", np.array([1, 1, 2, 3], np.float32), opset=10, mode="nearest"),
    case("Upsample", np.array([1, 1, 2, 3], np.float32), opset=9, mode="linear"),
    case("Upsample", opset=7, scales=[1.0, 1.0, 2.0, 2.0], mode="nearest"),
]  # fmt: skip
CASES = [
    *CONVOLUTIONS, *PRODUCTS, *NORMS, *POOLS, *ACTIVATIONS, *ELEMENTS, *REDUCTIONS, *SHAPES, *PARTS, *PADS, *RESIZES,
]  # fmt: skip


@pytest.mark.parametrize("example", CASES, ids=str)
def test_an_operator_is_what_the_runtime_computes(example: Case, tmp_path: Path) -> None:
    named = {f"t{index}": value for index, value in enumerate(example.tensors) if value is not None}
    inputs = ["" if value is None else f"t{index}" for index, value in enumerate(example.tensors)]
    outputs = [f"y{index}" for index in range(example.outputs)]
    first = [helper.make_node(example.before, ["x"], ["h"])] if example.before else []
    node = helper.make_node(example.kind, ["h" if first else "x", *inputs], outputs, **example.attributes)
    path = write(tmp_path / "one.onnx", [*first, node], named, example.opset, outputs=outputs)

    images = noise()
    for found, wanted in zip(network(path, images), runtime(path, images), strict=True):
        assert found.shape == wanted.shape
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-5 * max(1.0, float(np.abs(wanted).max())))


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("mask", [False, True])
def test_attention_in_one_operator(opset: int, causal: int, mask: bool, tmp_path: Path) -> None:
    """[B, heads, tokens, width] of the image itself; keys and values of others of its numbers."""
    if causal and mask:
        return
    nodes = [
        helper.make_node("Mul", ["x", "a"], ["k"]),
        helper.make_node("Sin", ["x"], ["v"]),
        helper.make_node("Attention", ["x", "k", "v", *(["m"] if mask else [])], ["y"], is_causal=causal, scale=0.4),
    ]
    path = write(tmp_path / "a.onnx", nodes, {"a": draw(4, 1, 8), "m": draw(6, 6)}, opset)
    np.testing.assert_allclose(network(path, noise())[0], runtime(path, noise())[0], rtol=1e-5, atol=1e-5)


def test_constants_are_made_and_chosen(tmp_path: Path) -> None:
    """Equal, Where, ConstantOfShape, Range, OneHot, EyeLike, Not: arithmetic on what the file itself holds."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "last"], ["width"]),
        helper.make_node("Range", ["zero", "width", "one"], ["places"]),
        helper.make_node("OneHot", ["places", "width", "off_on"], ["eye"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Equal", ["places", "one"], ["second"]),
        helper.make_node("Where", ["second", "x", "zeros"], ["chosen"]),
        helper.make_node("MatMul", ["chosen", "eye"], ["y"]),
    ]
    tensors = {
        "last": np.int64(3), "zero": np.int64(0), "one": np.int64(1), "off_on": np.array([0.5, 2.0], np.float32),
    }  # fmt: skip
    path = write(tmp_path / "c.onnx", nodes, tensors)
    np.testing.assert_allclose(network(path, noise())[0], runtime(path, noise())[0], rtol=1e-5, atol=1e-5)


def test_a_strided_view_written_out_is_a_reshape(tmp_path: Path) -> None:
    """torch's newer exporter writes `as_strided` as numbers picked out of the whole batch in one row."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one", "zero"], ["count"]),
        helper.make_node("Squeeze", ["count", "zero"], ["number"]),
        helper.make_node("Range", ["first", "number", "step"], ["images"]),
        helper.make_node("Unsqueeze", ["images", "one"], ["column"]),
        helper.make_node("Mul", ["column", "each"], ["shifts"]),
        helper.make_node("Add", ["shifts", "places"], ["index"]),
        helper.make_node("Reshape", ["x", "row"], ["flat"]),
        helper.make_node("Gather", ["flat", "index"], ["y"]),
    ]
    for places in (np.arange(192), np.array([5, 3, 191, 0])):
        tensors = {
            "zero": ints(0), "one": ints(1), "first": np.int64(0), "step": np.int64(1), "each": np.int64(192),
            "places": places[None], "row": ints(-1),
        }  # fmt: skip
        path = write(tmp_path / "s.onnx", nodes, tensors)
        np.testing.assert_array_equal(network(path, noise(4))[0], runtime(path, noise(4))[0])


def test_a_number_repeated_for_every_image_meets_a_layer(tmp_path: Path) -> None:
    """Known, of as many rows as there are images, and read by the network itself."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=from_array(np.ones(1, np.float32))),
        helper.make_node("CumSum", ["ones", "axis"], ["places"]),
        helper.make_node("Div", ["places", "w"], ["scaled"]),
        helper.make_node("Add", ["x", "scaled"], ["y"]),
    ]
    path = write(tmp_path / "r.onnx", nodes, {"axis": np.int64(2), "w": draw(8, low=0.5)})
    np.testing.assert_allclose(network(path, noise(4))[0], runtime(path, noise(4))[0], rtol=1e-6)


def test_the_table_names_what_exists() -> None:
    from genq_export.core.registry import resolve
    from genq_export.models.onnx_import.operators import OPERATORS

    assert all(callable(resolve(path)) for path in OPERATORS.values())

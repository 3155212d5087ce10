"""Each experiment confirms its suspicion where it holds, and only there."""

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from runtime_tests.qdq_file.copies import fed, fed_tensors, watched
from runtime_tests.qdq_file.experiments.border import Distances
from runtime_tests.qdq_file.experiments.saturation import with_halved_weights
from runtime_tests.qdq_file.graph import activation_quantizers


def small() -> onnx.ModelProto:
    """x -> Q -> DQ -> MatMul with int8 weights -> Q -> DQ -> y."""
    constants = {
        "s": np.float32(0.5), "z": np.uint8(3), "codes": np.arange(-8, 8, dtype=np.int8).reshape(4, 4),
        "ws": np.full(4, 0.1, np.float32), "t": np.float32(2), "zero": np.uint8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["codes", "ws"], ["w"], axis=1),
        helper.make_node("MatMul", ["xd", "w"], ["product"]),
        helper.make_node("QuantizeLinear", ["product", "t", "zero"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "t", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_quantizers_know_their_range_and_what_they_are_computed_from() -> None:
    first, second = activation_quantizers(small())
    assert (first.tensor, first.operator, first.inputs, first.range) == ("xq", "", (), (-1.5, 126.0))
    assert (second.inputs, second.layers, second.operator) == (("xq",), ("product",), "MatMul")
    np.testing.assert_array_equal(first.steps(np.asarray([[0.25]], np.float32)), [[3.5]])


def test_copies_give_codes_and_take_those_that_are_read() -> None:
    model = small()
    quantizers = activation_quantizers(model)
    assert [part.name for part in watched(model, quantizers).graph.output] == ["y", "xq", "yq"]
    copy = fed(model, quantizers, {"xq": np.zeros((2, 4)), "yq": np.zeros((2, 4))})
    assert sorted(fed_tensors(copy)) == ["xq", "yq"]
    assert [part.name for part in model.graph.output] == ["y"], "the file itself is not changed"


def test_halving_takes_the_weights_of_the_layers_named_alone() -> None:
    copy, halved = with_halved_weights(small(), {"product"})
    (codes,) = (numpy_helper.to_array(part) for part in copy.graph.initializer if part.name == "codes")
    assert halved == {"product"} and codes.min() == -4 and codes.max() == 3
    assert with_halved_weights(small(), {"another"})[1] == set()


@given(st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_numbers_beside_the_border_decide_and_others_do_not(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0, 255, 20_000)
    steps[:count] = np.floor(steps[:count]) + 0.5 + rng.uniform(-1e-5, 1e-5, count)
    expected = np.rint(steps).astype(np.int32)
    flipped = expected.copy()
    flipped[:count] += np.where(steps[:count] > expected[:count], 1, -1)
    beside, anywhere = Distances(), Distances()
    beside.add(steps, expected, flipped)
    moved = expected.copy()
    moved[-count:] += 1
    anywhere.add(steps, expected, moved)
    assert beside.decides and beside.wrong == count
    assert not anywhere.decides


def test_where_chance_would_put_them_at_the_border_nothing_is_said() -> None:
    steps = np.arange(1000) / 2  # half of all numbers are ties
    expected = np.rint(steps).astype(np.int32)
    found = expected.copy()
    found[1] += 1
    chance = Distances()
    chance.add(steps, expected, found)
    assert not chance.decides


def test_two_codes_apart_is_no_rounding() -> None:
    far = Distances()
    far.add(np.asarray([1.5, 2.2]), np.asarray([2, 2]), np.asarray([4, 2]))
    assert not far.decides

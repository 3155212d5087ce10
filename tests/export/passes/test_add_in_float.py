"""What is added keeps its scale on its side."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.passes.add_in_float import AddInFloat


def graph(*between: onnx.NodeProto) -> onnx.ModelProto:
    """codes -> DequantizeLinear -> `between` -> Add with y."""
    nodes = [helper.make_node("DequantizeLinear", ["codes", "scale"], ["numbers"]), *between]
    nodes.append(helper.make_node("Add", ["y", nodes[-1].output[0]], ["sum"]))
    inputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 4, 4]),
        helper.make_tensor_value_info("codes", TensorProto.INT8, [1, 1, 4, 4]),
    ]
    outputs = [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 1, 4, 4])]
    scale = numpy_helper.from_array(np.array(0.3, np.float32), "scale")
    made = helper.make_graph(nodes, "graph", inputs, outputs, [scale])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


MOVES = helper.make_node("Transpose", ["numbers"], ["moved"], perm=[0, 1, 3, 2])
COMPUTES = helper.make_node("Relu", ["numbers"], ["computed"])


@pytest.mark.parametrize(("between", "kept"), [((), 1), ((MOVES,), 1), ((COMPUTES,), 0)])
def test_a_max_that_changes_nothing_stands_in_front_of_what_has_a_scale(
    between: tuple[onnx.NodeProto, ...], kept: int
) -> None:
    before = graph(*between)
    model = ir.from_proto(before)
    AddInFloat()(model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    assert [node.op_type for node in after.graph.node].count("Max") == kept
    rng = np.random.default_rng(0)
    feed = {
        "y": rng.normal(size=(1, 1, 4, 4)).astype(np.float32),
        "codes": rng.integers(-128, 128, (1, 1, 4, 4)).astype(np.int8),
    }
    answers = [onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)[0] for model in (before, after)]
    assert np.array_equal(*answers)

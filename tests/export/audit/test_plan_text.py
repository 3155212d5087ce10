"""The text of an engine: what stands where, and no text that takes longer than its length."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.audit.engine_plan import audit_plan, quantizing_kernels
from export.audit.plan_text import calls, products, tensor_types

# As TensorRT-RTX 1.7.1 writes it, shortened.
TEXT = """
tensor={ id=3 name="x" dims={1, 3} type=int8 name="not this" }
tensor={ name="w" type=int8 }
tensor={ name="f" strides={ name="inner" type=half } type=float }
corrltn={ name="conv1" output={ "y" } input={ "x", "w" } }
matmul={ name="mm" output={ "z" } input={ "x", "f" } }
matmul={ name="no input" output={ "z" }
function={ name=_gemm_mha_v2 input_args={ "x", "x" } more layers="[ONNX Layer: a/matmul_1] [ONNX Layer: a/softmax]" }
function={ name=__myl_Add output_args={ "x" } layers="[ONNX Layer: add1]\\x1f[ONNX Layer: relu1]" }
function={ name=__myl_Cast output_args={ "f" } layers="[ONNX Layer: cast]" }
"""


def test_tensors_products_and_kernels_are_read() -> None:
    assert tensor_types(TEXT) == {"x": "int8", "w": "int8", "f": "float"}
    assert [(one.kind, one.name, one.inputs) for one in products(TEXT)] == [
        ("corrltn", "conv1", ("x", "w")),
        ("matmul", "mm", ("x", "f")),
    ]
    (attention,) = calls(TEXT, "_gemm_mha", "input_args")
    assert attention.layers == ("a/matmul_1", "a/softmax")
    rows = audit_plan(TEXT.encode())
    assert [(row.name, row.integer) for row in rows] == [("conv1", True), ("mm", False), ("a/matmul_1", True)]
    assert quantizing_kernels(TEXT.encode()) == [["add1", "relu1"]]


@given(st.text(st.sampled_from('tensor={}name="ype fucio_gm_ahlyp[]:\n'), max_size=200))
def test_any_text_is_read(text: str) -> None:
    assert isinstance(audit_plan(text.encode()), list)


REPEATED = [
    "tensor={", "tensor={{}", "{}", "function={ name=_gemm_mha input_args={", 'corrltn={ name="', 'name="',
    'corrltn={ name="a" output={', 'function={ name=__myl_ output_args={"', "ONNX Layer: ", "type=int8 ",
]  # fmt: skip


@pytest.mark.parametrize("part", REPEATED)
def test_a_megabyte_of_anything_is_read_in_a_moment(part: str) -> None:
    plan = (part * (2**20 // len(part))).encode()
    started = time.process_time()
    audit_plan(plan)
    quantizing_kernels(plan)
    assert time.process_time() - started < 5

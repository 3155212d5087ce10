"""Integer model -> QDQ ONNX in the form that the target executes with integer kernels.

The integer model's custom operators are translated one by one; everything else is exported as it is. What differs by
target is in its `TargetRule`. Of the two targets that there are:

ONNX Runtime                                        TensorRT
QuantizeLinear (uint8) -> Clip -> DequantizeLinear  Clip -> QuantizeLinear (int8) -> DequantizeLinear
bias of Conv INT32 through DequantizeLinear         bias float
linear layers as MatMul                             linear layers as Gemm
weights of <= 4 bits stored as INT4, Cast to INT8   weights INT8
zero-points                                         shifted numbers, folded into the next bias
(export.passes.zero_point_shift)
"""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnxscript import opset21 as op

from export.passes.add_in_float import AddInFloat
from export.passes.fp16 import ComputeRemainderInHalf, half_operators
from export.passes.global_pool import PoolGlobally
from export.passes.int4_storage import StoreInInt4
from export.passes.lower_opset import LowerOpset
from export.passes.move_codes import MoveCodes
from export.passes.names import NAME_PROPERTY, NameAfterModules, StripMetadata
from export.passes.relu_on_codes import ReluOnCodes
from export.passes.round_in_float import RoundInFloat
from export.passes.weight_zero_points import WriteWeightZeroPoints
from export.passes.zero_point_shift import without_zero_points
from export.sized_program import name_axes, sized_program
from genq_export.config.target import TargetRule
from genq_export.core.errors import UserError, reason_of
from genq_export.core.workspace import write_atomic
from genq_export.network.containers import container_shift
from genq_export.network.float_weight import kept_layers
from genq_export.network.free_size import FreeSize
from genq_export.network.integer import IntegerLayer
from genq_export.network.interpreter import GraphNetwork
from genq_export.network.names import bias_tensor, codes_tensor, product_tensor, weight_tensor
from genq_export.network.outputs import LOGITS


def export_onnx(
    integer_model: GraphNetwork,
    input_size: tuple[int, int, int],
    rule: TargetRule,
    path: Path,
    int4_storage: bool,
    half_remainder: bool = False,
    free_size: FreeSize | None = None,
) -> dict[str, Any]:
    """Write the QDQ ONNX file; input "input" [N, C, H, W] float32 with free N, outputs by name, "logits" alone.

    half_remainder: what stays float computes in FP16 (targets that hold FP16 only). free_size: H and W are as free as
    it says; None: they are those of `input_size`.
    Returns facts about the file: opset, ir_version, quantize_linear, dequantize_linear, bytes, weight_storage, and
    half_operators, how many compute in FP16.
    Raises UserError naming an operator that has no ONNX form, or a tensor that the target cannot hold.
    """
    deployed = integer_model if rule.zero_points == "native" else without_zero_points(integer_model)
    narrow = _narrow_layers(integer_model) if int4_storage and rule.int4_storage else []
    model = _to_onnx(deployed, input_size, rule, free_size).model
    passes: list[ir.passes.PassBase] = [NameAfterModules(kept_layers(deployed)), StripMetadata(), StoreInInt4(narrow)]
    if rule.convolutions_write_codes:
        passes.append(ReluOnCodes())
    if rule.codes_are_moved:
        passes.append(MoveCodes())
    if rule.pools_codes and not rule.lowest_opset:
        passes.append(PoolGlobally())
    if rule.sums_in_float:
        passes += [AddInFloat(), RoundInFloat()]
    if half_remainder and rule.half_remainder:
        passes.append(ComputeRemainderInHalf())
    if rule.lowest_opset:
        passes.append(LowerOpset())
    if rule.weight_zero_points:
        passes.append(WriteWeightZeroPoints())
    ir.passes.Sequential(*passes)(model)
    model.ir_version = _ir_version(model, rule)
    model.producer_name, model.producer_version = "genq-export", None
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    write_atomic(path, proto.SerializeToString(deterministic=True))
    counts = [node.op_type for node in model.graph]
    return {
        "opset": model.opset_imports[""],
        "ir_version": model.ir_version,
        "quantize_linear": counts.count("QuantizeLinear"),
        "dequantize_linear": counts.count("DequantizeLinear"),
        "bytes": path.stat().st_size,
        "weight_storage": "int4" if narrow else "int8",
        "half_operators": half_operators(model.graph),
    }


def _to_onnx(
    integer_model: GraphNetwork, input_size: tuple[int, int, int], rule: TargetRule, free_size: FreeSize | None
) -> Any:
    example = torch.zeros(2, *input_size)
    traced: Any = integer_model if free_size is None else sized_program(integer_model, free_size)
    free = ({0: torch.export.Dim("batch", min=1, max=65536)},) if free_size is None else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's exporter calls its own deprecated functions
            program = torch.onnx.export(
                traced,
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=rule.opset,
                input_names=["input"],
                output_names=list(integer_model.output_names() or (LOGITS,)),
                dynamic_shapes=free,
                custom_translation_table=_translations(rule),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(f"the network has an operator without an ONNX form: {_operator_at_fault(error)}") from error
    assert program is not None
    if free_size is not None:
        name_axes(program.model, free_size)
    return program


def _ir_version(model: ir.Model, rule: TargetRule) -> int:
    """The rule's, or the lowest that holds the model's opset where the rule wants that low."""
    if not rule.lowest_opset:
        return rule.ir_version
    return onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", model.opset_imports[""])])


def _operator_at_fault(error: BaseException) -> str:
    """The operator that the exporter's chain of causes names, else the innermost message's first line."""
    innermost = error
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
    named = re.search(r"OpOverload\(op='([\w.]+)'", str(innermost))
    return named.group(1) if named else reason_of(innermost)


def _translations(rule: TargetRule) -> dict[Callable[..., Any], Callable[..., Any]]:
    genq = torch.ops.genq
    return {
        genq.quantize_dequantize.default: _QUANTIZE[rule.activation_container],
        genq.conv2d.default: _conv2d,
        genq.linear.default: _LINEAR[rule.linear_operator],
        genq.matmul.default: _matmul,
    }


def _quantize_uint8(x: Any, scale: Any, zero_point: int, lo: int, hi: int, name: str) -> Any:
    """Codes in uint8: signed grids travel shifted by 128."""
    return _clipped_on_codes(np.uint8, x, scale, zero_point, lo, hi, name)


def _quantize_by_sign(x: Any, scale: Any, zero_point: int, lo: int, hi: int, name: str) -> Any:
    """Codes in int8 where there are negative ones, else in uint8: no grid is shifted."""
    return _clipped_on_codes(np.int8 if lo < 0 else np.uint8, x, scale, zero_point, lo, hi, name)


def _clipped_on_codes(
    kind: type[np.int8 | np.uint8], x: Any, scale: Any, zero_point: int, lo: int, hi: int, name: str
) -> Any:
    """A narrow grid is clipped on codes, where it fuses."""
    shift = container_shift(kind.__name__, lo, hi)
    zero = _constant(zero_point + shift, kind)
    codes = op.QuantizeLinear(x, scale, zero)
    if (lo + shift, hi + shift) != (np.iinfo(kind).min, np.iinfo(kind).max):
        low = _constant(lo + shift, kind)
        high = _constant(hi + shift, kind)
        codes = op.Clip(codes, low, high)
    return op.DequantizeLinear(_named(codes, codes_tensor(name)), scale, zero)


def _quantize_int8(x: Any, scale: Any, zero_point: int, lo: int, hi: int, name: str) -> Any:
    """Codes in int8 with zero-point 0. A narrow grid is clipped on numbers, half a step inside the next code.

    x / s <= hi + 0.25 rounds to at most hi, and clips nothing that rounds to a code of the grid otherwise.
    """
    assert zero_point == 0 and -128 <= lo <= hi <= 127, f"{name} is not shifted"
    if (lo, hi) != (-128, 127):
        low = op.Mul(scale, op.Constant(value_float=lo - 0.25))
        high = op.Mul(scale, op.Constant(value_float=hi + 0.25))
        x = op.Clip(x, low, high)
    zero = _constant(0, np.int8)
    return op.DequantizeLinear(_named(op.QuantizeLinear(x, scale, zero), codes_tensor(name)), scale, zero)


def _constant(value: int, kind: type[np.integer[Any]]) -> Any:
    """A scalar; onnxscript takes an onnx_ir tensor here, which its types do not say."""
    return op.Constant(value=ir.tensor(np.array(value, dtype=kind)))  # type: ignore[arg-type]


def _conv2d(
    x: Any,
    input_scale: Any,
    weight_codes: Any,
    weight_scale: Any,
    bias: Any,
    bias_scale: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    name: str,
) -> Any:
    if bias.dtype == ir.DataType.INT32:
        bias = _named(op.DequantizeLinear(bias, bias_scale, axis=0), bias_tensor(name))
    product = op.Conv(
        x,
        _named(op.DequantizeLinear(weight_codes, weight_scale, axis=0), weight_tensor(name)),
        bias,
        strides=list(stride),
        pads=[*padding, *padding],
        dilations=list(dilation),
        group=groups,
    )
    return _of_layer(product, name)


def _linear_matmul(
    x: Any, input_scale: Any, weight_codes: Any, weight_scale: Any, bias: Any, bias_scale: Any, name: str
) -> Any:
    """MatMul with weights [K, C], then the bias, written as a subtraction.

    ONNX Runtime runs MatMul with per-channel weights in integers and Gemm in float, and would make a Gemm of a MatMul
    and an Add; y - (-b) is the same number and stays apart.
    """
    codes = op.Transpose(weight_codes, perm=[1, 0])
    product = op.MatMul(x, _named(op.DequantizeLinear(codes, weight_scale, axis=1), weight_tensor(name)))
    product = _of_layer(product, name)
    return op.Sub(_named(product, product_tensor(name)), op.Neg(bias))


def _linear_gemm(
    x: Any, input_scale: Any, weight_codes: Any, weight_scale: Any, bias: Any, bias_scale: Any, name: str
) -> Any:
    """Gemm for [N, K]; for more dimensions a MatMul and an Add."""
    weight = _named(op.DequantizeLinear(weight_codes, weight_scale, axis=0), weight_tensor(name))
    if len(x.shape) == 2:
        return _of_layer(op.Gemm(x, weight, bias, transB=1), name)
    product = _named(op.MatMul(x, op.Transpose(weight, perm=[1, 0])), product_tensor(name))
    return op.Add(product, bias)


def _matmul(a: Any, a_scale: Any, b: Any, b_scale: Any, name: str) -> Any:
    return _of_layer(op.MatMul(a, b), name)


_QUANTIZE = {"uint8": _quantize_uint8, "int8": _quantize_int8, "int8 or uint8": _quantize_by_sign}
_LINEAR = {"MatMul": _linear_matmul, "Gemm": _linear_gemm}


def _of_layer(value: Any, name: str) -> Any:
    """Note whose result a tensor is: two layers may read one weight, so the weight's name does not tell."""
    value.producer().metadata_props[NAME_PROPERTY] = name
    return value


def _named(value: Any, name: str) -> Any:
    """Give a tensor, and the node that makes it, a name that people recognise."""
    value.name = name
    value.producer().name = name
    return value


def _narrow_layers(integer_model: GraphNetwork) -> list[str]:
    """Paths of layers whose weight codes fit in 4 bits."""
    return [part.name for part in integer_model.modules() if isinstance(part, IntegerLayer) and part.bits <= 4]

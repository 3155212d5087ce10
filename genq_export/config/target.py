"""What a runtime can hold. Data, not code: the rule of a build's target is read before anything is quantized.

Sources: TensorRT parser rules and ONNX Runtime fusions as measured (docs/numerics.md).
"""

from typing import Literal

from genq_export.config.base import Frozen

# The oldest that torch's exporter writes; where `lowest_opset`, what comes of it is written down from there.
EXPORTED_OPSET = 18


class TargetRule(Frozen):
    """The forms one runtime executes with integer kernels.

    name: the target's, for messages.
    zero_points: "native" where an activation tensor may have a nonzero zero-point; "shifted" where the runtime knows
    none: what it cannot hold travels shifted, and the next layer's bias takes the shift back
    (export/passes/zero_point_shift.py). activation_container: the 8-bit type that activation codes travel in;
    "int8 or uint8": INT8 where a grid has negative codes.
    max_unsigned_bits: widest unsigned grid that the container holds as it is; wider ones travel shifted where every
    reader can take that, and use a signed grid elsewhere.
    linear_operator: the ONNX operator that linear layers are written as.
    bias_on_grid: the runtime adds the bias of a convolution as int32 on the accumulator grid s_x * s_w, so the
    reference must as well. (Linear layers add a float bias behind the integer product.)
    convolutions_write_codes: a convolution runs in integers only if its result is quantized.
    sums_in_float: a residual addition takes convolutions in front of it as they are, before they are rounded, and is
    written so that the runtime adds float numbers. Signed grids of 8 bits that convolutions read are rounded in float.
    quantizers_multiply: a quantizer multiplies by the reciprocal of its scale, and adds to no sum of codes.
    codes_are_moved: what moves numbers towards a layer works on codes, so that the layer reads a DequantizeLinear.
    pools_codes: a mean over the whole image is written as the pooling that the runtime computes on codes.
    int4_storage: weights of 4 bits or fewer may be stored in 4 bits.
    half_remainder: what stays float may compute in FP16 (ONNX Runtime's CPU kernels would only convert it back).
    opset, ir_version: of the file; where `lowest_opset`, those that it begins from, written down as far as its
    operators allow.
    weight_zero_points: INT8 weights have theirs written out, which older releases of ONNX Runtime need for exact sums.
    older_releases: the file may be written for a release of ONNX Runtime that is older than these.
    """

    name: str
    zero_points: Literal["native", "shifted"]
    activation_container: Literal["uint8", "int8", "int8 or uint8"]
    max_unsigned_bits: int
    linear_operator: Literal["MatMul", "Gemm"]
    bias_on_grid: bool
    convolutions_write_codes: bool
    int4_storage: bool
    half_remainder: bool
    sums_in_float: bool = False
    quantizers_multiply: bool = False
    codes_are_moved: bool = False
    pools_codes: bool = False
    opset: int
    ir_version: int
    lowest_opset: bool = False
    weight_zero_points: bool = False
    older_releases: bool = False

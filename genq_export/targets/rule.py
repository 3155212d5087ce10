"""What each runtime can hold. Data, not code: the rules are consulted before anything is quantized.

Sources: TensorRT parser rules and ONNX Runtime fusions as measured (docs/numerics.md).
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from genq_export.config.build import Target


class TargetRule(BaseModel):
    """The forms one runtime executes with integer kernels.

    zero_points: "native" where an activation tensor may have a nonzero zero-point; "shifted" where the runtime knows
    none: what it cannot hold travels shifted, and the next layer's bias takes the shift back
    (export/passes/zero_point_shift.py). activation_container: the 8-bit type that activation codes travel in.
    max_unsigned_bits: widest unsigned grid that the container holds as it is; wider ones travel shifted where every
    reader can take that, and use a signed grid elsewhere.
    bias_on_grid: the runtime adds the bias of a convolution as int32 on the accumulator grid s_x * s_w, so the
    reference must as well. (Linear layers add a float bias behind the integer product.)
    convolutions_write_codes: a convolution runs in integers only if its result is quantized.
    int4_storage: weights of 4 bits or fewer may be stored in 4 bits.
    half_remainder: what stays float may compute in FP16 (ONNX Runtime's CPU kernels would only convert it back).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Target
    zero_points: Literal["native", "shifted"]
    activation_container: Literal["uint8", "int8"]
    max_unsigned_bits: int
    bias_on_grid: bool
    convolutions_write_codes: bool
    int4_storage: bool
    half_remainder: bool
    opset: int
    ir_version: int


ONNXRUNTIME = TargetRule(
    name="onnxruntime",
    zero_points="native",
    activation_container="uint8",
    max_unsigned_bits=8,
    bias_on_grid=True,
    convolutions_write_codes=True,
    int4_storage=True,
    half_remainder=False,
    opset=21,
    ir_version=10,
)

TENSORRT = TargetRule(
    name="tensorrt",
    zero_points="shifted",
    activation_container="int8",
    max_unsigned_bits=7,
    bias_on_grid=False,
    convolutions_write_codes=False,
    int4_storage=False,
    half_remainder=True,
    opset=21,
    ir_version=10,
)


def rule_for(target: Target) -> TargetRule:
    """The rule of a target by name."""
    return ONNXRUNTIME if target == "onnxruntime" else TENSORRT

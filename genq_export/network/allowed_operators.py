"""The operators that a stored network may hold: a written list, not whatever torch has.

None mutates an argument, gives back one that it wrote into, draws random numbers, or reaches a device, a file or a
generator; the tests read this from the schemas. Some give a view of their input: nobody writes through it, as nothing
mutates.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch

ATEN = frozenset((
    "abs.default", "acos.default", "adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default",
    "adaptive_max_pool2d.default", "add.Scalar", "add.Tensor", "addcdiv.default", "addcmul.default",
    "addmm.default", "alias.default", "amax.default", "amin.default", "argmax.default", "argmin.default",
    "asin.default", "atan.default", "atan2.default", "avg_pool1d.default", "avg_pool2d.default",
    "avg_pool3d.default", "baddbmm.default", "bitwise_and.Tensor", "bitwise_not.default", "bitwise_or.Tensor",
    "bmm.default", "broadcast_to.default", "cat.default", "cdist.default", "ceil.default", "celu.default",
    "channel_shuffle.default", "chunk.default", "clamp.Tensor", "clamp.default", "clamp_max.Tensor",
    "clamp_max.default", "clamp_min.Tensor", "clamp_min.default", "col2im.default", "concat.default",
    "constant_pad_nd.default", "conv1d.default", "conv1d.padding", "conv2d.default", "conv2d.padding",
    "conv3d.default", "conv3d.padding", "conv_transpose1d.default", "conv_transpose2d.input",
    "conv_transpose3d.input", "convolution.default", "cos.default", "cosh.default", "cosine_similarity.default",
    "cross.default", "cumprod.default", "cumsum.default", "diagonal.default", "div.Scalar", "div.Scalar_mode",
    "div.Tensor", "div.Tensor_mode", "dot.default", "einsum.default", "elu.default", "eq.Scalar", "eq.Tensor",
    "erf.default", "exp.default", "exp2.default", "expand.default", "expand_as.default", "expm1.default",
    "flatten.using_ints", "flip.default", "floor.default", "floor_divide.Scalar", "floor_divide.default",
    "fmod.Scalar", "fmod.Tensor", "frac.default", "gather.default", "ge.Scalar", "ge.Tensor", "gelu.default",
    "glu.default", "grid_sampler.default", "grid_sampler_2d.default", "group_norm.default", "gt.Scalar",
    "gt.Tensor", "hardshrink.default", "hardsigmoid.default", "hardswish.default", "hardtanh.default",
    "im2col.default", "index.Tensor", "index_select.default", "instance_norm.default", "isfinite.default",
    "isinf.default", "isnan.default", "layer_norm.default", "le.Scalar", "le.Tensor", "leaky_relu.default",
    "lerp.Scalar", "lerp.Tensor", "linalg_vector_norm.default", "linear.default", "log.default", "log10.default",
    "log1p.default", "log2.default", "log_sigmoid.default", "log_softmax.int", "logaddexp.default",
    "logical_and.default", "logical_not.default", "logical_or.default", "logical_xor.default", "logit.default",
    "logsumexp.default", "lstm.input", "lt.Scalar", "lt.Tensor", "masked_fill.Scalar", "masked_fill.Tensor",
    "matmul.default", "max.default", "max.dim", "max.other", "max_pool1d.default", "max_pool2d.default",
    "max_pool2d_with_indices.default", "max_pool3d.default", "maximum.default", "mean.default", "mean.dim",
    "min.default", "min.dim", "min.other", "minimum.default", "mish.default", "mm.default", "movedim.int",
    "movedim.intlist", "mul.Scalar", "mul.Tensor", "multiply.Scalar", "multiply.Tensor", "mv.default",
    "nan_to_num.default", "narrow.default", "native_group_norm.default", "native_layer_norm.default", "ne.Scalar",
    "ne.Tensor", "neg.default", "norm.Scalar", "norm.ScalarOpt_dim", "one_hot.default", "pad.default",
    "permute.default", "pixel_shuffle.default", "pixel_unshuffle.default", "pow.Scalar", "pow.Tensor_Scalar",
    "pow.Tensor_Tensor", "prelu.default", "prod.default", "prod.dim_int", "reciprocal.default",
    "reflection_pad1d.default", "reflection_pad2d.default", "relu.default", "relu6.default", "remainder.Scalar",
    "remainder.Tensor", "repeat.default", "repeat_interleave.self_int", "replication_pad1d.default",
    "replication_pad2d.default", "reshape.default", "reshape_as.default", "rms_norm.default", "roll.default",
    "rot90.default", "round.decimals", "round.default", "rsqrt.default", "rsub.Scalar", "rsub.Tensor",
    "scaled_dot_product_attention.default", "scatter.src", "scatter.value", "select.int", "select_scatter.default",
    "selu.default", "sigmoid.default", "sign.default", "silu.default", "sin.default", "sinh.default",
    "slice.Tensor", "slice_scatter.default", "softmax.int", "softplus.default", "softshrink.default",
    "split.Tensor", "split.sizes", "split_with_sizes.default", "sqrt.default", "square.default", "squeeze.default",
    "squeeze.dim", "squeeze.dims", "stack.default", "std.correction", "std.default", "std.dim", "sub.Scalar",
    "sub.Tensor", "sum.default", "sum.dim_IntList", "swapaxes.default", "swapdims.default", "sym_size.int",
    "t.default", "take_along_dim.default", "tan.default", "tanh.default", "tensor_split.indices",
    "tensor_split.sections", "threshold.default", "tile.default", "to.dtype", "topk.default", "transpose.int",
    "tril.default", "triu.default", "true_divide.Scalar", "true_divide.Tensor", "trunc.default", "type_as.default",
    "unbind.int", "unflatten.int", "unfold.default", "unsafe_split.Tensor", "unsqueeze.default",
    "upsample_bicubic2d.default", "upsample_bicubic2d.vec", "upsample_bilinear2d.default",
    "upsample_bilinear2d.vec", "upsample_linear1d.default", "upsample_linear1d.vec", "upsample_nearest1d.default",
    "upsample_nearest1d.vec", "upsample_nearest2d.default", "upsample_nearest2d.vec", "var.correction",
    "var.default", "var.dim", "var_mean.correction", "var_mean.default", "var_mean.dim", "view_as.default",
    "where.Scalar", "where.ScalarOther", "where.ScalarSelf", "where.self",
))  # fmt: skip

# Arguments that have to be what stands here: with another value the operator would draw random numbers, or write.
FIXED_ARGUMENTS: dict[str, dict[str, Any]] = {
    "instance_norm.default": {"running_mean": None, "running_var": None},
    "lstm.input": {"train": False},
    "scaled_dot_product_attention.default": {"dropout_p": 0.0},
}

# Of sizes, which are integers; `getitem` takes a part of what an operator gives as a tuple.
PYTHON: dict[str, Callable[..., Any]] = {
    "getitem": operator.getitem,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}

DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name) for name in ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
}

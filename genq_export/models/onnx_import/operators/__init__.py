"""Operators of the ONNX standard, one file for each family.

A translation takes a `Node`, puts what computes it into the network, and returns what the node gives: a `Value`, or a
list of them. The table names each by its import path, as the registries do.
"""

_PACKAGE = "genq_export.models.onnx_import.operators"
_FAMILIES: dict[str, dict[str, str]] = {
    "convolution": {"Conv": "conv", "ConvTranspose": "conv_transpose"},
    "products": {"MatMul": "matmul", "Gemm": "gemm", "Einsum": "einsum"},
    "attention": {"Attention": "attention"},
    "normalization": {
        "BatchNormalization": "batch_normalization",
        "InstanceNormalization": "instance_normalization",
        "LayerNormalization": "layer_normalization",
        "GroupNormalization": "group_normalization",
        "RMSNormalization": "rms_normalization",
        "LpNormalization": "lp_normalization",
        "LRN": "local_response_normalization",
    },
    "pooling": {
        "MaxPool": "max_pool",
        "AveragePool": "average_pool",
        "GlobalAveragePool": "global_average_pool",
        "GlobalMaxPool": "global_max_pool",
    },
    "activations": dict.fromkeys(
        ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Mish", "Identity", "Selu", "HardSwish"), "plain"
    )
    | {
        "LeakyRelu": "leaky_relu", "Elu": "elu", "Celu": "celu", "ThresholdedRelu": "thresholded_relu",
        "HardSigmoid": "hard_sigmoid", "Gelu": "gelu", "Swish": "swish", "PRelu": "prelu", "Clip": "clip",
        "Softmax": "softmax", "LogSoftmax": "log_softmax", "Dropout": "dropout",
    },
    "arithmetic": dict.fromkeys(
        (
            "Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Tan",
            "Asin", "Acos", "Atan", "Sinh", "Cosh", "Erf", "Not", "IsNaN",
        ),
        "unary",
    )
    | dict.fromkeys(
        (
            "Add", "Sub", "Mul", "Div", "Pow", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or",
            "Xor",
        ),
        "binary",
    )
    | dict.fromkeys(("Max", "Min", "Sum", "Mean"), "variadic")
    | {"Mod": "mod", "Where": "where", "Cast": "cast", "CastLike": "cast_like"},
    "reductions": dict.fromkeys(
        (
            "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
            "ReduceLogSumExp", "ReduceSumSquare",
        ),
        "reduce",
    )
    | {"ArgMax": "arg_extreme", "ArgMin": "arg_extreme", "CumSum": "cumulative_sum", "TopK": "top_k"},
    "shapes": {
        "Shape": "shape", "Size": "size", "Reshape": "reshape", "Flatten": "flatten", "Transpose": "transpose",
        "Squeeze": "squeeze", "Unsqueeze": "unsqueeze", "Expand": "expand", "Tile": "tile", "DepthToSpace":
        "depth_to_space", "SpaceToDepth": "space_to_depth",
    },
    "parts": {
        "Concat": "concat", "Split": "split", "Slice": "slices", "Gather": "gather", "GatherElements":
        "gather_elements", "GatherND": "gather_nd", "Trilu": "trilu",
    },
    "filling": {"ConstantOfShape": "constant_of_shape", "Range": "ranged", "OneHot": "one_hot", "EyeLike": "eye_like"},
    "padding": {"Pad": "pad"},
    "resizing": {"Resize": "resize", "Upsample": "resize"},
}  # fmt: skip
OPERATORS: dict[str, str] = {
    kind: f"{_PACKAGE}.{family}:{function}" for family, table in _FAMILIES.items() for kind, function in table.items()
}

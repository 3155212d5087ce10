"""What computes and stays in float, each with the reason."""

from collections.abc import Iterator

from torch import fx

from genq_export.network.aten import LAYERS, is_constant, module_path, op_name
from genq_export.quantization.layers import has_constant, is_layer

_NO_INTEGER_FORM = (
    "conv1d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "bilinear", "bmm",
    "baddbmm", "addmm", "mm", "einsum", "group_norm", "instance_norm", "batch_norm", "rms_norm", "grid_sampler",
    "upsample_bilinear2d", "upsample_bicubic2d", "tanh", "softplus", "elu", "leaky_relu", "prelu", "mish", "div",
    "local_response_norm", "cdist", "lstm", "gru",
)  # fmt: skip


def float_row(node: fx.Node, reason: str) -> dict[str, str]:
    """A line of the list: the module that `node` came from, its operator, and why it stays in float."""
    return {"name": module_path(node) or node.name, "op": op_name(node), "reason": reason}


def float_operators(graph: fx.Graph) -> Iterator[dict[str, str]]:
    """Operators that no rule of placement decides about."""
    reasons = {
        "layer_norm": "LayerNorm stays float",
        "softmax": "softmax stays float; its output is quantized",
        "gelu": "GELU stays float; its output is quantized",
        "silu": "SiLU stays float; its output is quantized",
        "hardswish": "hard-swish stays float; its output is quantized",
        "mul": "elementwise product stays float",
        "scaled_dot_product_attention": "fused attention hides its products",
        "matmul": "product with a constant stays float",
        **dict.fromkeys(LAYERS, "its weight is computed from the input; stays float"),
        **dict.fromkeys(_NO_INTEGER_FORM, "this operator has no integer form here; stays float"),
    }
    for node in graph.nodes:
        name = op_name(node)
        quantized = (name == "matmul" and not has_constant(node)) or is_layer(node)
        if name in reasons and not quantized and not is_constant(node):
            yield float_row(node, reasons[name])

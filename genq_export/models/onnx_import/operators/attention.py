"""Attention in one operator (opset 23 on)."""

import math

from torch import Tensor
from torch.nn import functional as F

from genq_export.models.onnx_import.node import Node
from genq_export.models.onnx_import.values import Value

_LEFT_OUT = {4: "past keys", 5: "past values", 6: "lengths"}


def attention(node: Node) -> Value:
    """softmax(q k^T * scale + mask) v, over [B, heads, tokens, width] or [B, tokens, heads * width]."""
    for index, name in _LEFT_OUT.items():
        if node.has(index):
            raise node.refuse(f"{name} are not taken")
    if node.attribute("softcap", 0.0) or node.attribute("qk_matmul_output_mode", 0):
        raise node.refuse("softcap and the scores as an output are not taken")
    query = node.input(0)
    flat, causal = query.rank == 3, bool(node.attribute("is_causal", 0))
    heads = [int(node.attribute(f"{name}_num_heads", 0)) for name in ("q", "kv", "kv")]
    scale = node.attribute("scale")
    parts = [node.input(index) for index in (0, 1, 2)] + ([node.input(3)] if node.has(3) else [])

    def attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        if flat:
            q, k, v = (x.unflatten(-1, (n, -1)).transpose(1, 2) for x, n in zip((q, k, v), heads, strict=True))
        factor = 1 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
        grouped = q.shape[1] != k.shape[1]
        found = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=factor, enable_gqa=grouped)
        return found.transpose(1, 2).flatten(2) if flat else found

    return node.emit(attended, *parts)

"""Attention in one operator (opset 23 on)."""

import math

from torch import Tensor, nn
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

    layer = Attention(heads if flat else None, None if scale is None else float(scale), causal)
    return node.emit(layer, *parts)


class Attention(nn.Module):
    """heads: of queries, keys and values where they stand side by side, [B, tokens, heads * width]; else None."""

    def __init__(self, heads: list[int] | None, scale: float | None, causal: bool) -> None:
        super().__init__()
        self.heads, self._scale, self._causal = heads, scale, causal

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """As many axes as the queries have."""
        if self.heads is not None:
            parts = zip((q, k, v), self.heads, strict=True)
            q, k, v = (x.unflatten(-1, (count, -1)).transpose(1, 2) for x, count in parts)
        factor = 1 / math.sqrt(q.shape[-1]) if self._scale is None else self._scale
        grouped = q.shape[1] != k.shape[1]
        found = F.scaled_dot_product_attention(q, k, v, mask, is_causal=self._causal, scale=factor, enable_gqa=grouped)
        return found if self.heads is None else found.transpose(1, 2).flatten(2)

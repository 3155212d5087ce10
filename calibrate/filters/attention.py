"""Where a network computes `attention @ V`: in layers as timm writes them, or in one that comes from an ONNX file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from genq_export.models.onnx_import.network import OnnxNetwork

# Told the tokens, [B, ..., heads * width] with the heads side by side, and how many heads there are.
Watcher = Callable[[torch.Tensor, int], None]
_PROJECTIONS = (("qkv",), ("q_proj", "k_proj"), ("q", "kv"))


@dataclass(frozen=True)
class ProjectedAttention:
    """A layer of timm: what enters `proj` is `attention @ V` with the heads side by side."""

    layer: Any

    def watched(self, watcher: Watcher) -> RemovableHandle:
        """Tell what every call computes."""
        heads = int(self.layer.num_heads)
        handle: RemovableHandle = self.layer.proj.register_forward_pre_hook(lambda _, inputs: watcher(inputs[0], heads))
        return handle


@dataclass(frozen=True)
class AttentionProduct:
    """The product itself, [..., heads, tokens, width], or [B, tokens, heads * width] of so many `heads`."""

    product: nn.Module
    heads: int | None

    def watched(self, watcher: Watcher) -> RemovableHandle:
        """Tell what every call computes."""

        def tell(_: nn.Module, __: object, output: torch.Tensor) -> None:
            if self.heads is not None:
                return watcher(output, self.heads)
            return watcher(output.transpose(-3, -2).flatten(-2), output.shape[-3])

        return self.product.register_forward_hook(tell)


def attention_layers(module: nn.Module) -> list[ProjectedAttention] | list[AttentionProduct]:
    """Self-attention over patches, in the order of the modules."""
    if isinstance(module, OnnxNetwork):
        products = [module.get_submodule(path) for path in module.attention]
        return [AttentionProduct(part, _side_by_side(part)) for part in products]
    return [ProjectedAttention(layer) for layer in module.modules() if _is_attention(layer)]


def _side_by_side(product: nn.Module) -> int | None:
    heads = getattr(product, "heads", None)
    return None if heads is None else int(heads[0])


def _is_attention(layer: nn.Module) -> bool:
    """Heads, a projection of the input, and `proj` behind the heads."""
    return (
        isinstance(getattr(layer, "num_heads", None), int)
        and isinstance(getattr(layer, "proj", None), nn.Linear)
        and any(all(isinstance(getattr(layer, n, None), nn.Linear) for n in names) for names in _PROJECTIONS)
        and not hasattr(layer, "latent")  # attention pooling has queries of its own and no patches to compare
    )

"""The weight of a layer that stays in float because somebody asked for it: the exported file shows whose it is."""

import torch
from torch import Tensor, nn

from genq_export.network.names import tensor_name
from genq_export.network.specs import FloatWeightSpec


class FloatWeight(nn.Module):
    """Holds `weight`, float32, for the operator that reads it; it is never called."""

    weight: Tensor

    def __init__(self, name: str, weight: Tensor) -> None:
        super().__init__()
        self.name = name
        self.register_buffer("weight", weight.detach().clone())

    def spec(self) -> FloatWeightSpec:
        """What rebuilds this part, less its tensor."""
        return FloatWeightSpec(name=self.name, shape=list(self.weight.shape))

    def check(self) -> None:
        """Raise ValueError for a weight that is not finite."""
        if not torch.isfinite(self.weight).all():
            raise ValueError(f"the weight of '{self.name}' is not finite")


def kept_layers(network: nn.Module) -> dict[str, str]:
    """Paths of the layers that stay in float on purpose, by what the exported file calls their weights."""
    return {
        tensor_name(part, "weight"): module.name
        for part, module in network.named_children()
        if isinstance(module, FloatWeight)
    }

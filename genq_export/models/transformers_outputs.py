"""A network of transformers as one that gives its outputs and nothing else."""

from typing import Any

from torch import Tensor, nn

from genq_export.models.transformers_tasks import Kind
from genq_export.network.outputs import Answer


class TransformersOutputs(nn.Module):
    """float32 [B, C, H, W] -> what a network of this kind is used for; settings: its config."""

    def __init__(self, network: nn.Module, kind: Kind, settings: Any) -> None:
        super().__init__()
        self.network = network
        self._kind, self._settings = kind, settings

    def forward(self, pixel_values: Tensor) -> Answer:
        """Call the network by the name that transformers has for its input."""
        return self._kind.pick(self.network(pixel_values=pixel_values), self._settings)

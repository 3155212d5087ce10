"""A network that gives its logits among other things, as one that gives nothing else."""

from torch import Tensor, nn


class LogitsAlone(nn.Module):
    """float32 [B, C, H, W] -> the `logits` of what a classifier of transformers gives, [B, classes]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Call the network by the name that transformers has for its input."""
        logits: Tensor = self.network(pixel_values=pixel_values).logits
        return logits

"""What reading images needs to know of a network; `genq_export.models.loaded.LoadedModel` is one."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class Classes(Protocol):
    """The classes that labels are read as."""

    @property
    def name(self) -> str:
        """What an error calls the network."""

    @property
    def classes(self) -> int:
        """How many there are."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Their names, None where the network has none."""


class Classifier(Classes, Protocol):
    """Classes, and the network's own evaluation preprocessing."""

    def transform(self) -> Any:
        """Return what turns a PIL image into float32 [C, H, W]."""

    def normalize(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """uint8 [B, H, W, C] already at the input size -> float32 [B, C, H, W]."""

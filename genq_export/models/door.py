"""What a door for networks is: one kind of name that a network can be built by, and all that follows from it.

Doors are listed in `config.registry.DOORS` and asked in that order; the first that matches takes the network. A door is
quick to make and to ask: only `knows`, `names`, `offers`, `load` and `resized` may import torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genq_export.config.model import ModelConfig
from genq_export.models.loaded import LoadedModel
from genq_export.models.sizes import Sizes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from genq_export.data.evaluation import EvaluationSet


ANY_GENERATOR = "leaves, distill, or a pipeline with --generator"


@dataclass(frozen=True)
class Offer:
    """A network that a door lists: its name, where its weights come from, what draws its calibration images."""

    name: str
    weights: str
    generator: str


@dataclass(frozen=True)
class Finding:
    """What `doctor` says of one thing on this machine."""

    thing: str
    found: str
    note: str = ""


class Door(ABC):
    """One way in. The defaults are those of a network that comes with its weights and with nothing else.

    A checkpoint and class names that the user gives are read behind the door, alike for all of them.

    runs_code: to load a network runs code of the user's. Where the name stands in a file and was not given by hand,
    that needs the user's word, and what can do without does.
    """

    runs_code = False

    @abstractmethod
    def matches(self, config: ModelConfig) -> bool:
        """Is the network of this kind? Decided by name, without a look at what is installed."""

    @abstractmethod
    def identity(self, config: ModelConfig) -> str:
        """Change when the network's own weights, architecture or class names would.

        Raises:
            UserError: where a file that decides it cannot be read.
        """

    @abstractmethod
    def load(self, config: ModelConfig, pretrained: bool) -> LoadedModel:
        """Create the network with its input size, preprocessing and class names.

        Args:
            config: the network; its `weights` and `classes` are none of the door's business.
            pretrained: with the weights it is known for; otherwise any, a checkpoint or another module replaces them.

        Raises:
            UserError: where it cannot be had, with a remedy.
        """

    def resized(self, config: ModelConfig, sizes: Sizes) -> LoadedModel | None:
        """Create the network, with any weights, in other sizes than its own: those of a checkpoint; None: it cannot."""
        return None

    def answering(self, config: ModelConfig, model: LoadedModel) -> LoadedModel:
        """Put a network that has its weights into the form in which it answers."""
        return model

    def renamed(self, tensors: "Mapping[str, Tensor]", module: "nn.Module") -> "Mapping[str, Tensor] | None":
        """Give the tensors of a checkpoint that was saved under older names the network's; None: it knows no others."""
        return None

    def knows(self, config: ModelConfig) -> bool:
        """Is there a network of this name?"""
        return True

    def names(self) -> Sequence[str]:
        """Every name it knows, to suggest one that is near a wrong one."""
        return ()

    def architecture_problems(self, config: ModelConfig) -> list[str]:
        """Say what keeps the network from being made, also with a checkpoint of the user's."""
        return []

    def problems(self, config: ModelConfig) -> list[str]:
        """Say what keeps the weights from being had here, a sentence each with its remedy; nothing is downloaded."""
        return []

    def has_class_names(self, config: ModelConfig) -> bool:
        """Would the loaded network have class names?"""
        return False

    def task(self, config: ModelConfig) -> str | None:
        """Name the task that the network was made for (`config.registry.TASKS`); None: its outputs' shapes decide."""
        return None

    def default_generator(self, config: ModelConfig) -> str | None:
        """Name the pipeline that draws its calibration images if the user names none; None: Stable Diffusion."""
        return None

    def evaluation_set(self, name: str) -> "EvaluationSet | None":
        """Return images that the network `name` is judged by if the user gives none; None: there are none."""
        return None

    def offers(self, search: str) -> list[Offer]:
        """List networks whose name contains `search` for `genq-export models`; the form of its names for no search."""
        return []

    def findings(self) -> list[Finding]:
        """List what `genq-export doctor` should say of this machine."""
        return []

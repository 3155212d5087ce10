"""What a quantization method is, and how those of a build are applied.

A method is a file in `algorithms/` with one object, named in `genq_export.config.registry.METHODS`. A build applies
those that `quantize.methods` names, in that order, less those that its settings or the network rule out.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, fx

from genq_export.config.quantize import QuantizeConfig
from genq_export.config.registry import METHODS
from genq_export.config.target import TargetRule
from genq_export.core.distributed import Ranks
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.registry import find
from genq_export.network.interpreter import GraphNetwork
from genq_export.quantization.activation_cache import ActivationCache, ActivationStore
from genq_export.quantization.blocks import Block
from genq_export.quantization.summary import Findings
from genq_export.quantization.working_network import WorkingNetwork
from genq_export.tasks.classification import CLASSIFICATION
from genq_export.tasks.score import OF_CLASSES, Score
from genq_export.tasks.task import Divergence

Distributed = Callable[[QuantizeConfig], AbstractContextManager[Ranks]]


def alone(_settings: QuantizeConfig) -> AbstractContextManager[Ranks]:
    """No other process helps."""
    return nullcontext(Ranks())


class Phase(IntEnum):
    """When a method's turn is. Phases of the methods of a build never fall.

    FLOAT: it rewrites the captured float network. BITS: it decides bits, and the network is prepared anew. BLOCKS: it
    works on one block after the other. NETWORK: it changes codes, scales or biases of the whole network. FINISH: on the
    CPU, and nothing that changes a number may come behind.
    """

    FLOAT = 1
    BITS = 2
    BLOCKS = 3
    NETWORK = 4
    FINISH = 5


@dataclass(frozen=True)
class MethodContext:
    """What a method is given beside the network, the images and the settings.

    Attributes:
        seed: decides every random draw.
        rule: what the target can hold.
        partial: folder for what a killed run goes on from.
        progress: where it tells how far it is.
        cache: where activations of all images are kept.
        distributed: what a method runs inside whose work other processes share: given its settings it has them join,
            and gives this process's share.
        divergence: of quantized answers from float ones, by the task of the network.
        score: of an answer, whose gradient tells what counts in it.
    """

    seed: int
    rule: TargetRule
    partial: Path
    progress: Progress
    cache: ActivationCache
    distributed: Distributed = alone
    divergence: Divergence = CLASSIFICATION.divergence
    score: Score = OF_CLASSES


class Method(ABC):
    """A step from a float network to a good quantized one, of the network as a whole.

    Attributes:
        name: as in the registry and in `quantize.methods`; its settings are the section of this name.
        phase: when its turn is.
        shares_work: whether other processes take part in it (`MethodContext.distributed`).
    """

    name: ClassVar[str]
    phase: ClassVar[Phase]
    shares_work: ClassVar[bool] = False

    def problems(self, floats: fx.Graph, settings: QuantizeConfig, device: torch.device) -> list[str]:
        """What keeps it from working on this network or device, a sentence each; asked before images are made.

        Args:
            floats: of the captured float network, as no method has changed it yet.
            settings: the build's.
            device: that it will compute on.
        """
        return []

    def applies(self, network: WorkingNetwork, settings: QuantizeConfig) -> bool:
        """Is there anything to do in this network? Asked of methods that the settings do not switch off."""
        return True

    @abstractmethod
    def apply(
        self, network: WorkingNetwork, images: ActivationStore, settings: QuantizeConfig, context: MethodContext
    ) -> Findings:
        """Change the network in place.

        Args:
            network: what the methods before have left.
            images: the calibration set, float32 [N, C, H, W] on the CPU.
            settings: the build's, with the bits that were assigned.
            context: everything else.

        Returns:
            What the summary of the stage gains.
        """


@dataclass(frozen=True)
class BlockImages:
    """What a block is given for every image, and what it is to answer; N rows each, on the CPU.

    Attributes:
        float_input: in the float network.
        quantized_input: from the quantized blocks before it.
        target: what the float block makes of `float_input`.
        importance: how much each number of a target counts (`importance_of`), one tensor for all images; None: alike.
    """

    float_input: ActivationStore
    quantized_input: ActivationStore
    target: ActivationStore
    importance: Tensor | None = None


class BlockMethod(ABC):
    """A step that is taken block after block, as the input of a block comes from the quantized ones before it.

    All such methods of a build go through the blocks together: a block has had all of them before the next begins.

    Attributes:
        name: as in the registry and in `quantize.methods`; its settings are the section of this name.
    """

    name: ClassVar[str]
    phase: ClassVar[Phase] = Phase.BLOCKS
    shares_work: ClassVar[bool] = False

    def problems(self, floats: fx.Graph, settings: QuantizeConfig, device: torch.device) -> list[str]:
        """As `Method.problems`."""
        return []

    def applies(self, graph: GraphNetwork, settings: QuantizeConfig) -> bool:
        """Is there anything to do in this prepared graph? Asked of methods that the settings do not switch off."""
        return True

    @abstractmethod
    def apply(self, block: Block, images: BlockImages, settings: QuantizeConfig, seed: int) -> None:
        """Change the block's codes, scales and biases in place.

        Args:
            block: as the methods before have left it.
            images: what it is given, and what it is to answer.
            settings: the build's, with the bits that were assigned.
            seed: of this block alone, so that a resumed run equals an uninterrupted one.
        """


def methods_of(settings: QuantizeConfig) -> list[Method | BlockMethod]:
    """The methods in use, in order. Raises UserError where one comes too late."""
    found: list[Method | BlockMethod] = [find(METHODS, name, "method") for name in settings.methods_in_use]
    for before, after in pairwise(found):
        if after.phase < before.phase:
            raise UserError(
                f"quantize.methods: {after.name} ({after.phase.name.lower()}) has to come before {before.name}"
                f" ({before.phase.name.lower()}), which it would undo"
            )
    return found


def block_methods_of(settings: QuantizeConfig, gm: GraphNetwork) -> list[BlockMethod]:
    """Those in use that work block by block and have something to do in this prepared graph."""
    return [part for part in methods_of(settings) if isinstance(part, BlockMethod) and part.applies(gm, settings)]

"""What a network is for: how far a quantized answer is from the float network's, and what a person wants to know of it.

Tasks are listed in `config.registry.TASKS`. A door names the task where it knows it; else the shape of what the network
gives decides, or the user (`--task`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from genq_export.config.registry import TASKS
from genq_export.core.registry import find, resolve
from genq_export.data.truth import Truth
from genq_export.network.outputs import Answer, by_name
from genq_export.tasks.shown import Shown

if TYPE_CHECKING:
    from genq_export.data.classifier import Classes, Classifier
    from genq_export.data.evaluation import EvaluationSet
    from genq_export.data.raw import Reading

Divergence: TypeAlias = Callable[[Answer, Answer], Tensor]
Arrays: TypeAlias = Mapping[str, NDArray[np.float32]]  # [B, ...] by name of the output
_Part = TypeVar("_Part")
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]  # without the batch


@dataclass(frozen=True)
class Figure:
    """One number that says how near answers are to the float network's, or how right they are; more of it is better.

    name: key in results. title: what a reader sees. value: a share of 1 where `unit` is %, else in that unit.
    """

    name: str
    title: str
    value: float
    unit: str = "%"


class Comparison(ABC):
    """Adds up over batches how near answers are to the float network's."""

    @abstractmethod
    def add(self, reference: Arrays, found: Arrays) -> None:
        """Count one batch, [B, ...] each, finite."""

    @abstractmethod
    def figures(self) -> tuple[Figure, ...]:
        """What was counted, the one that matters most first."""


class Metric(ABC):
    """Adds up over batches how right answers are by what people say is to be seen."""

    @abstractmethod
    def add(self, found: Arrays, truths: Sequence[Truth]) -> None:
        """Count one batch, [B, ...] each, finite, and what is true of each of its images."""

    @abstractmethod
    def figures(self) -> tuple[Figure, ...]:
        """What was counted, the one that matters most first."""


class Task(ABC):
    """One kind of answer.

    name: key in the registry. title: what a reader sees. expected: the outputs that it needs. cost_measure: of
    `divergence`. has_logits: gives one number for each class of an image, so that images can be drawn by class and
    accuracy is top-1. gives_logits: such numbers of images or of positions in them. of_features: may outputs be
    features that a network computes inside?
    """

    name: str
    title: str
    expected: str
    cost_measure: str = "squared error as a share of the output"
    has_logits: bool = False
    gives_logits: bool = False
    of_features: bool = False

    def classes(self, shapes: Shapes) -> int:
        """How many classes outputs of these shapes tell apart; 0: none."""
        return 0

    @abstractmethod
    def fits(self, shapes: Shapes) -> bool:
        """Could outputs of these shapes be answers of this kind?"""

    def is_likely(self, shapes: Shapes) -> bool:
        """May outputs of these shapes be taken for answers of this kind where nobody says what they are?"""
        return self.fits(shapes)

    @abstractmethod
    def divergence(self, student: Answer, teacher: Answer) -> Tensor:
        """How far quantized outputs are from float ones: what learning makes small. A scalar, differentiable."""

    def logits(self, answer: Answer) -> Tensor | None:
        """The logits in an answer, [B, classes] or [B, classes, ...]; None: it has none."""
        return None

    @abstractmethod
    def comparison(self) -> Comparison:
        """A new count of how near answers are."""

    def shown(self, outputs: Arrays) -> list[Shown]:
        """What a person can be shown of each image of a batch; empty where answers are no picture."""
        return []

    def metric(self) -> Metric | None:
        """A new count of how right answers are; None: it takes no labels, or counts them by class of an image."""
        return None

    def read_evaluation_set(self, source: Path, network: "Classifier", reading: "Reading") -> "EvaluationSet":
        """Read images to judge by, and what is true of them as far as the task takes labels.

        Args:
            source: as `genq_export.data.evaluation.read_evaluation_set` takes it, or in a form of the task's own.
            network: its classes are what labels mean, its preprocessing decides where pixels come to lie.
            reading: what the user says of the source.

        Raises:
            UserError: where it cannot be read, or its labels fit neither its images nor the network.
        """
        from genq_export.data.evaluation import read_evaluation_set

        return read_evaluation_set(source, network if self.has_logits else None, reading)

    def check_evaluation_set(self, source: Path, network: "Classes | None", reading: "Reading") -> None:
        """Look at a source as far as that can be done before there is a network.

        Args:
            source: as `read_evaluation_set` takes it.
            network: its classes are what labels mean; None where they are not known yet.
            reading: what the user says of the source.

        Raises:
            UserError: where it cannot be read, or its labels do not fit its images.
        """
        from genq_export.data.reader import read_images

        read_images(source, network, reading, decode=False)

    def problems(self) -> list[str]:
        """Say what keeps its figures from being measured here, a sentence each with its remedy."""
        return []

    def least(self, bits: int) -> Mapping[str, float]:
        """The values that figures have to reach, by name, at `bits` of the smaller of weights and activations."""
        return {}

    def most_lost(self, bits: int) -> float | None:
        """Points that the first figure of its metric may fall by against float; None: it has no metric."""
        return None


def task_of(name: str) -> Task:
    """The task of this name. Raises UserError where there is none."""
    task: Task = find(TASKS, name, "task")
    return task


def task_by_shape(shapes: Shapes, features: bool = False) -> str:
    """The first task, in the registry's order, that outputs of these shapes fit; every shape fits `tensors`.

    Args:
        shapes: of the outputs.
        features: they are what a network computes inside, not what it was trained to answer.
    """
    tasks: list[Task] = [resolve(path) for path in TASKS.values()]
    if features:
        return next(task.name for task in tasks if task.of_features and task.fits(shapes))
    return next(task.name for task in tasks if task.is_likely(shapes))


def only(parts: Mapping[str, _Part]) -> _Part:
    """What stands under the one name."""
    (part,) = parts.values()
    return part


def only_tensor(answer: Answer) -> Tensor:
    """The one tensor of an answer."""
    return only(by_name(answer))

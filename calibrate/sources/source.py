"""What a calibration source is: one way to come by calibration images.

Sources are listed in `config.registry.SOURCES` by the value of `calibrate.generator` that names them; any other value
is a diffusers pipeline, and `calibrate.calibration_set` names a set that exists. Importing a source, and asking what it
needs, imports no torch: what draws images lives in a file of its own where it needs torch, and `open` imports that.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from calibrate.prompts import UNLABELLED, Prompt, PromptBook
from genq_export.config.build import BuildConfig
from genq_export.config.registry import SOURCES
from genq_export.core.distributed import Ranks
from genq_export.core.errors import UserError
from genq_export.core.progress import Progress
from genq_export.core.registry import resolve
from genq_export.core.workspace import StageResult, Workspace
from genq_export.data.calibration_set import is_calibration_set
from genq_export.data.raw import Reading
from genq_export.models import source as models
from genq_export.models.loaded import LoadedModel

if TYPE_CHECKING:
    from calibrate.reference_images import ReferenceImages

_PIPELINE = "calibrate.sources.text_to_image:TEXT_TO_IMAGE"
_EXISTING_SET = "calibrate.sources.existing_set:EXISTING_SET"
_OWN_IMAGES = "calibrate.sources.own_images:OWN_IMAGES"


class ImageSource(Protocol):
    """An open source: anything that turns prompts and seeds into images."""

    @property
    def name(self) -> str:
        """What a person calls it."""

    @property
    def license(self) -> str:
        """Licence of what draws."""

    @property
    def settings(self) -> dict[str, Any]:
        """What a report says about how images are drawn."""

    @property
    def batch_size(self) -> int:
        """Images drawn together."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able; changes when the images would."""

    def draw(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> tuple[np.ndarray, list[str | None]]:
        """uint8 [B, H, W, 3] and why each image is unusable, None where it is usable.

        The same prompts and seeds give the same bytes. A batch is drawn as a whole, so images may depend on each other.
        """


@dataclass(frozen=True)
class Opening:
    """What a source is opened with.

    references: images that the user gave, to learn from. folder: the calibration set's, for files beside the images.
    ranks: of several processes the main one opens first, and the others when it has.
    """

    config: BuildConfig
    model: LoadedModel
    folder: Path
    references: "ReferenceImages | None"
    ranks: Ranks
    progress: Progress


@dataclass(frozen=True)
class OpenSource:
    """What draws, what it is asked for, and the files (relative to the set's folder) that belong to the set with it."""

    images: ImageSource
    prompts: PromptBook
    files: tuple[str, ...] = ()


class Source(ABC):
    """One way to draw images. The defaults are those of a source that draws images of the network's classes from
    nothing but the network: no prompt, no file, no style.

    filtered: the filters drop images of it; else they only score them.
    """

    filtered = True

    def identity(self, config: BuildConfig) -> object:
        """JSON-able; changes when what it reads outside the config does: weights, files of prompts."""
        return models.identity(config.model)

    def fetch(self, config: BuildConfig, progress: Progress) -> None:  # noqa: B027 - most have nothing to fetch
        """Download what its identity is made of and is not here.

        Raises:
            UserError: where that cannot be had.
        """

    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """Say what would keep it from working, a sentence each with its remedy; nothing is downloaded.

        Args:
            config: the build.
            folder: where the build will be written.
        """
        return [*_unused_style(config), *reference_problems(config)]

    def estimate(self, config: BuildConfig) -> str | None:
        """Say how long drawing will take, measured by a short probe; None where it is not worth one.

        Raises:
            UserError: where the probe shows that it cannot draw.
        """
        return None

    def class_names(self, model: LoadedModel) -> tuple[str, ...]:
        """Name the classes of images that it draws."""
        return network_classes(model)

    @abstractmethod
    def open(self, opening: Opening) -> OpenSource:
        """Load what draws the images.

        Raises:
            UserError: where it cannot be loaded or cannot serve this network.
        """


class FinishedSet(ABC):
    """Images that exist: nothing is drawn, nothing is filtered."""

    @abstractmethod
    def identity(self, config: BuildConfig) -> object:
        """As `Source.identity`: of the images, and of what decides which of them count."""

    @abstractmethod
    def problems(self, config: BuildConfig, folder: Path) -> list[str]:
        """As `Source.problems`."""

    @abstractmethod
    def take_over(
        self, workspace: Workspace, config: BuildConfig, model: LoadedModel, progress: Progress
    ) -> StageResult:
        """Write it into the build.

        Raises:
            UserError: where it is not whole.
        """


def source_path(config: BuildConfig) -> str:
    """Return the import path of the source that a build draws from: whose code decides the images."""
    given = config.calibrate.calibration_set
    if given is not None:
        return _EXISTING_SET if set_folder(given) is not None else _OWN_IMAGES
    chosen = config.calibrate.generator or models.door_for(config.model).default_generator(config.model)
    return SOURCES.get(chosen or "", _PIPELINE)


def set_folder(given: Path) -> Path | None:
    """The set in a build folder, or the folder itself where it is one; None where it holds images of another kind.

    A build folder without a set is none of the user's images: it counts as a set, which then is missing.
    """
    inner = given / "calibration"
    if is_calibration_set(given):
        return given
    return inner if is_calibration_set(inner) or (given / "manifest.json").is_file() else None


def source_for(config: BuildConfig) -> Source | FinishedSet:
    """Return the source that a build draws from, or the set that it takes over."""
    source: Source | FinishedSet = resolve(source_path(config))
    return source


def network_classes(model: LoadedModel) -> tuple[str, ...]:
    """Return the network's class names, "class 7" where these have none; one for all where it tells none apart."""
    if model.classes == 0:
        return UNLABELLED
    return model.class_names or tuple(f"class {label}" for label in range(model.classes))


def reference_problems(config: BuildConfig) -> list[str]:
    """Say what is wrong with the folder of reference images, if one is given."""
    if config.calibrate.real is None:
        return []
    from genq_export.data.reader import read_images

    try:
        read_images(config.calibrate.real, models.known_classes(config.model), Reading.of(config.verify, "real"))
    except UserError as error:
        return [f"{error} (--real takes a few real images, in a folder with one subfolder a class)"]
    return []


def _unused_style(config: BuildConfig) -> list[str]:
    """Without a pipeline no style can be learned or used; reference images may still join the set."""
    settings = config.calibrate
    if settings.style is None and (settings.real is None or settings.join_real):
        return []
    option = "a style token" if settings.style is not None else "--real without calibrate.join_real"
    return [f"generator {settings.generator} has no use for {option}: give a text-to-image pipeline with --generator"]

"""What `genq_export.quantize` returns: a build in a temporary folder, that can be called, looked at and kept."""

import itertools
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genq_export.core.errors import UserError
from genq_export.core.workspace import writing
from genq_export.data.given_images import pictures
from genq_export.runtimes.base import Batch, Outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime_tests.report.model import Report

BUILD = "build"
_IMAGES = 32  # that are prepared and computed together


class Quantized:
    """A quantized network.

    `quantized(x)` takes what the float network takes, float32 [N, C, H, W], an array or a tensor, and gives its
    logits, or arrays by name where it has several outputs; `quantized.logits(images)` takes pictures. The folder is
    there as long as the object is.
    """

    def __init__(self, place: Path) -> None:
        """Take over a folder with a build in it, which is removed with this object."""
        self._place = place
        self._remove = weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)

    @property
    def folder(self) -> Path:
        """The build folder: `model.onnx`, `report.html` and all that `genq-export build` leaves."""
        return self._place / BUILD

    @cached_property
    def report(self) -> "Report":
        """What was measured; `report.passed` and `report.verdict` first."""
        from runtime_tests.report.model import read_report

        return read_report(self.folder)

    def __call__(self, batch: Any) -> Batch | Outputs:
        """Logits, float32 [N, classes], or other outputs of preprocessed images, float32 [N, C, H, W]."""
        return self._run(np.asarray(batch.detach().cpu() if hasattr(batch, "detach") else batch))

    def logits(self, images: Iterable[Any]) -> Batch | Outputs:
        """What the network gives for pictures, in any form that `quantize` takes but a folder.

        The network's own preprocessing comes first.

        Raises:
            UserError: where something is no picture, or there is none.
        """
        from torch import stack

        prepared, found = map(self._transform, pictures(images)), []
        while batch := list(itertools.islice(prepared, _IMAGES)):
            found.append(self(stack(batch)))
        if not found:
            raise UserError("there is no image among those given")
        return joined(found)

    def save(self, folder: str | PathLike[str]) -> Path:
        """Copy the build to a folder that is empty or not there; returns it.

        Raises:
            UserError: where something else is there, or it cannot be written.
        """
        wanted = Path(folder)
        with writing(wanted):
            if wanted.is_file() or (wanted.is_dir() and any(wanted.iterdir())):
                raise UserError(f"{wanted} is there and not empty: give a new folder")
            wanted.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{wanted.name}-", dir=wanted.parent) as beside:
                copy = shutil.copytree(self.folder, Path(beside) / BUILD)
                copy.replace(wanted)
        return wanted

    def __repr__(self) -> str:
        from runtime_tests.report.render.formatting import title

        return f"<{title(self.report)}: {self.report.verdict} In {self.folder}>"

    def _repr_html_(self) -> str:
        """The report's first screen, for notebooks."""
        from runtime_tests.report.render.first_screen import first_screen

        return first_screen(self.report, self.folder)

    @cached_property
    def _run(self) -> "Callable[[Batch], Batch | Outputs]":
        from genq_export.runtimes.load import load

        return load(self.folder)

    @cached_property
    def _transform(self) -> Any:
        from torch import nn

        from genq_export.models.description import read_description

        description = read_description(self.folder)
        assert description is not None  # written by every build of this version
        return description.with_module(nn.Identity()).transform()


def joined(answers: Sequence[Batch | Outputs]) -> Batch | Outputs:
    """Answers to batches as the answer to all of them."""
    arrays = [answer for answer in answers if not isinstance(answer, dict)]
    if arrays:
        return np.concatenate(arrays)
    named = [answer for answer in answers if isinstance(answer, dict)]
    return {name: np.concatenate([answer[name] for answer in named]) for name in named[0]}

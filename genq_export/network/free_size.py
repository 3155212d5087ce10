"""In which sizes other than the calibrated one a network takes images."""

from typing import Literal

from pydantic import ValidationError

from genq_export.config.base import Frozen
from genq_export.core.errors import UserError
from genq_export.core.workspace import Workspace

Size = tuple[int, int, int]
_CHANNELS, _HEIGHT, _WIDTH = range(3)
# By how many steps heights and widths are larger that are looked at: two to learn from, one to judge by.
_TRIED = ((1, 3), (2, 1), (3, 2))
_FINE = ((29, 13), (54, 38), (21, 47))  # of one pixel: odd and even, and no multiples of a stride


class FreeSize(Frozen):
    """Images may be larger or smaller than those that a network was calibrated on.

    Attributes:
        calibrated: (channels, height, width) that ranges were searched on.
        height: may heights differ?
        width: may widths differ?
        step: by whole multiples of so many pixels.
    """

    calibrated: Size
    height: bool
    width: bool
    step: Literal[1, 32]

    def tried(self) -> tuple[Size, Size, Size]:
        """Three other sizes: two that sizes inside the network are read off, and one that has decided nothing."""
        shifts = _FINE if self.step == 1 else tuple((self.step * down, self.step * right) for down, right in _TRIED)
        channels, height, width = self.calibrated
        first, second, third = (
            (channels, height + down * self.height, width + right * self.width) for down, right in shifts
        )
        return first, second, third

    def problem(self, size: tuple[int, ...]) -> str | None:
        """Why images of (channels, height, width) are not taken; None where they are."""
        fits = len(size) == len(self.calibrated) and size[_CHANNELS] == self.calibrated[_CHANNELS]
        for axis, free in ((_HEIGHT, self.height), (_WIDTH, self.width)):
            step = self.step if free else 0
            difference = abs(size[axis] - self.calibrated[axis]) if fits else 0
            fits = fits and size[axis] > 0 and (difference % step == 0 if step else difference == 0)
        return None if fits else f"images of {'x'.join(map(str, size))} are not taken: {self.in_words()}"

    def in_words(self) -> str:
        """`height and width free in steps of 32 pixels from 3x224x224, on which ranges were searched`"""
        axes = " and ".join(name for name, free in (("height", self.height), ("width", self.width)) if free)
        steps = "" if self.step == 1 else f" in steps of {self.step} pixels"
        shown = "x".join(map(str, self.calibrated))
        return f"{axes} free{steps} from {shown}, for which alone the ranges hold"


def free_size_of(workspace: Workspace, stage: str) -> FreeSize | None:
    """What a stage of a build wrote of it; None: the network takes one size.

    Raises:
        UserError: where that is damaged.
    """
    record = workspace.read_manifest().stages.get(stage)
    told = None if record is None else record.summary.get("free_size")
    try:
        return None if told is None else FreeSize.model_validate(told)
    except ValidationError:
        raise UserError(f"the manifest of {workspace.folder} is damaged: build again") from None

"""At which quantizers differing codes originate: every quantizer of the oracle is given the runtime's own codes.

One code that falls the other way at a rounding tie makes others behind it differ, and in a deep network these make
more, until a share of all codes says nothing of the file. Where every quantizer in front hands on what the runtime
computed, nothing is inherited: each difference is that quantizer's own, whatever the depth. One by one code, whose
number lies within `BORDER` of a step from where both codes meet, is a rounding tie: float32 sums in another order
decide it. Of numbers that have nothing to do with a border about twice that share lies as close.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from genq_export.network.hooks import hand_on
from genq_export.runtimes.base import Batch, Codes
from genq_export.runtimes.torch_modules import TorchBackend

BORDER = 1e-3  # of a step: a float32 sum in another order moves a value by less


@dataclass(frozen=True)
class Origin:
    """Codes of one quantizer that differ by themselves, and how many of them are rounding ties."""

    differing: int
    ties: int

    @property
    def is_fault(self) -> bool:
        """Are ties the lesser part? Among many one may lie a little further from the border."""
        return self.differing > 2 * self.ties


def origins(oracle: TorchBackend, batch: Batch, found: Codes) -> dict[str, Origin]:
    """Which codes of a runtime differ by themselves, by name of the quantizer.

    Args:
        oracle: The integer model, or the reference.
        batch: float32 [B, C, H, W].
        found: The runtime's codes, int32, without the container's shift.
    """
    counted: dict[str, Origin] = {}
    given = {name: torch.from_numpy(codes).to(oracle.device) for name, codes in found.items()}

    def count(part: torch.nn.Module, x: Tensor, codes: Tensor) -> None:
        name = str(part.name)
        counted[name] = _origin(x, codes, given[name], part.scale, int(part.zero_point))  # type: ignore[arg-type]

    hand_on(oracle.module, torch.from_numpy(batch).to(oracle.device), given, count)
    return counted


def _origin(x: Tensor, codes: Tensor, found: Tensor, scale: Tensor, zero_point: int) -> Origin:
    """A tie is half way between both codes; two that are not neighbours are never as close to their middle."""
    differs = codes != found
    steps = x[differs].double() / scale.double() + zero_point
    middle = (codes[differs] + found[differs]).double() / 2
    return Origin(len(steps), int(((steps - middle).abs() <= BORDER).sum()))

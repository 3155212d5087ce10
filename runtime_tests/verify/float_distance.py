"""How far what is deployed answers from the float network, on images that need no label.

Two sets: the images that codes are compared on, and dead leaves that calibrated nothing. They are drawn here, the same
on every machine, so that there is always something to see float by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from genq_export.core.errors import BackendError
from genq_export.data.dead_leaves import pictures
from genq_export.models.loaded import LoadedModel
from genq_export.network.hooks import set_quantization
from genq_export.runtimes.base import Backend, Batch, Codes
from genq_export.runtimes.torch_modules import TorchBackend
from runtime_tests.verify.metrics import cosine, sqnr_db
from runtime_tests.verify.results import UNQUANTIZED, OutputDistance

HELD_OUT = "held-out"
_IMAGES = 32
# Seeds of calibration sets are drawn from a 64-bit range by a build's seed; these are this module's own.
_FIRST_SEED = 0x6865_6C64_6F75_74
_ELEMENTS = 1_000_000


class InFloat:
    """The reference with its quantizers off, as a backend: the same graph and the weights that its codes came from."""

    name, title, device = UNQUANTIZED, "fake-quant reference, quantizers off", "cpu"

    def __init__(self, reference: TorchBackend) -> None:
        self._reference = reference

    def logits(self, batch: Batch) -> Batch:
        """As the reference's, in float."""
        set_quantization(self._reference.module, False)
        try:
            return self._reference.logits(batch)
        finally:
            set_quantization(self._reference.module, True)

    def codes(self, batch: Batch) -> tuple[Batch, Codes]:
        """It has none."""
        return self.logits(batch), {}

    def close(self) -> None:
        """The reference is not its own."""


@dataclass
class _Sums:
    """Over all outputs seen: of the float network f and of another x."""

    float_power: float = 0.0
    power: float = 0.0
    dot: float = 0.0
    error: float = 0.0
    same: int = 0
    images: int = 0

    def add(self, f: NDArray[np.float64], x: NDArray[np.float64]) -> None:
        """f, x [B, ...]: outputs of any shape; the largest of a row of logits is its class."""
        self.float_power += float(np.square(f).sum())
        self.power += float(np.square(x).sum())
        self.dot += float((f * x).sum())
        self.error += float(np.square(x - f).sum())
        self.images += len(f)
        if f.ndim == 2:
            self.same += int((f.argmax(1) == x.argmax(1)).sum())


def held_out_images(model: LoadedModel, count: int = _IMAGES) -> list[Batch]:
    """Dead leaves that calibrated nothing, float32 [B, C, H, W] in the network's preprocessing; grey for one channel.

    Empty where the network takes neither one channel nor three.
    """
    channels, height, width = model.input_size
    if channels not in (1, 3):
        return []
    size = int(np.clip(_ELEMENTS // (channels * height * width), 1, count))
    batches = []
    for start in range(0, count, size):
        drawn = pictures(height, width, range(_FIRST_SEED + start, _FIRST_SEED + min(start + size, count)))
        pixels = torch.from_numpy(drawn)
        if channels == 1:
            pixels = pixels.float().mean(-1, keepdim=True).round().to(torch.uint8)
        batches.append(model.normalize(pixels).numpy())
    return batches


def output_distances(
    float_backend: Backend, backends: Mapping[str, Backend], sets: Mapping[str, Sequence[Batch]]
) -> tuple[OutputDistance, ...]:
    """Hold the outputs of every backend against the float network's.

    A backend that fails, or gives what is not finite or of another shape, is left out of that set: its other
    measurements say so.

    Args:
        float_backend: The float network.
        backends: By name.
        sets: Batches, float32 [B, C, H, W], by name of the set.
    """
    found = []
    for images, batches in sets.items():
        expected = [float_backend.logits(batch).astype(np.float64) for batch in batches]
        for name, backend in backends.items():
            sums = _compare(backend, batches, expected)
            if sums is not None:
                found.append(_distance(name, images, sums, expected[0].ndim == 2))
    return tuple(found)


def _compare(backend: Backend, batches: Sequence[Batch], expected: Sequence[NDArray[np.float64]]) -> _Sums | None:
    sums = _Sums()
    for batch, right in zip(batches, expected, strict=True):
        try:
            found = backend.logits(batch).astype(np.float64)
        except BackendError:
            return None
        if found.shape != right.shape or not np.isfinite(found).all() or not np.isfinite(right).all():
            return None
        sums.add(right, found)
    return sums if sums.images else None


def _distance(name: str, images: str, sums: _Sums, logits: bool) -> OutputDistance:
    ratio = sqnr_db(sums.float_power, sums.error)
    return OutputDistance(
        backend=name,
        images=images,
        n=sums.images,
        sqnr_db=round(ratio, 2) if np.isfinite(ratio) else None if ratio > 0 else -300.0,
        cosine=cosine(sums.dot, sums.float_power, sums.power),
        agreement=sums.same / sums.images if logits else None,
    )

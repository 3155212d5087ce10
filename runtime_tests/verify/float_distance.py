"""How far what is deployed answers from the float network, on images that need no label.

Two sets: the images that codes are compared on, and pictures that calibrated nothing. They are drawn here, the same
on every machine, so that there is always something to see float by.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from genq_export.config.registry import PICTURES
from genq_export.core.errors import BackendError
from genq_export.core.registry import resolve
from genq_export.models.loaded import LoadedModel
from genq_export.network.hooks import set_quantization
from genq_export.network.outputs import LOGITS
from genq_export.runtimes.base import Backend, Batch, Codes, Outputs
from genq_export.runtimes.torch_modules import TorchBackend
from genq_export.tasks.counts import sqnr_db
from genq_export.tasks.task import Comparison, Task
from runtime_tests.verify.label_figures import LabelCount
from runtime_tests.verify.metrics import cosine
from runtime_tests.verify.results import FLOAT, UNQUANTIZED, AnswerFigure, OutputDistance

HELD_OUT = "held-out"
_IMAGES = 32
# Seeds of calibration sets are drawn from a 64-bit range by a build's seed; these are this module's own.
_FIRST_SEED = 0x6865_6C64_6F75_74
_ELEMENTS = 1_000_000
_MATRIX = 2  # axes of logits


class InFloat:
    """The reference with its quantizers off, as a backend: the same graph and the weights that its codes came from."""

    name, title, device = UNQUANTIZED, "fake-quant reference, quantizers off", "cpu"

    def __init__(self, reference: TorchBackend) -> None:
        self._reference = reference

    def outputs(self, batch: Batch) -> Outputs:
        """As the reference's, in float."""
        set_quantization(self._reference.module, False)
        try:
            return self._reference.outputs(batch)
        finally:
            set_quantization(self._reference.module, True)

    def codes(self, batch: Batch) -> tuple[Outputs, Codes]:
        """It has none."""
        return self.outputs(batch), {}

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
    classes: bool = False
    images: int = 0

    def add(self, f: NDArray[np.float64], x: NDArray[np.float64]) -> None:
        """f, x [B, ...]: one output; the largest of a row of logits is its class."""
        self.float_power += float(np.square(f).sum())
        self.power += float(np.square(x).sum())
        self.dot += float((f * x).sum())
        self.error += float(np.square(x - f).sum())
        self.images += len(f)
        self.classes = f.ndim == _MATRIX
        if self.classes:
            self.same += int((f.argmax(1) == x.argmax(1)).sum())


def held_out_images(model: LoadedModel, count: int = _IMAGES, generator: str | None = None) -> list[Batch]:
    """Pictures that calibrated nothing, float32 [B, C, H, W] in the network's preprocessing; grey for one channel.

    They are of the kind that the generator of the build draws, where it draws by arithmetic; else dead leaves. Empty
    where the network takes neither one channel nor three.
    """
    pictures = resolve(PICTURES.get(generator or "", next(iter(PICTURES.values()))))
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
    float_backend: Backend,
    backends: Mapping[str, Backend],
    sets: Mapping[str, Iterable[Batch]],
    task: Task,
    labels: LabelCount | None = None,
) -> tuple[tuple[OutputDistance, ...], tuple[AnswerFigure, ...]]:
    """Hold the outputs of every backend against the float network's.

    A backend that fails, or gives what is not finite or of another shape, is left out of that set: its other
    measurements say so.

    Args:
        float_backend: The float network.
        backends: By name.
        sets: Batches, float32 [B, C, H, W], by name of the set.
        task: Its count of how near answers are, beside the distances output by output.
        labels: Takes the answers of float and of every backend, but for that without quantizers, to the set it is of.
    """
    distances, answers = list[OutputDistance](), list[AnswerFigure]()
    for images, batches in sets.items():
        counts = {name: _Counted(task.comparison()) for name in backends}
        judged = labels if labels is not None and labels.images == images else None
        for batch in batches:
            expected = float_backend.outputs(batch)
            found = {name: counts[name].add(backend, batch, expected) for name, backend in backends.items()}
            if judged is not None:
                _judge(judged, {FLOAT: expected} | found)
        for name, counted in counts.items():
            distances += counted.distances(name, images)
            answers += counted.figures(name, images)
    return tuple(distances), tuple(answers)


class _Counted:
    """One backend on one set: sums by output, and the task's count; nothing any more once it has failed."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._sums: dict[str, _Sums] = {}
        self._failed = False

    def add(self, backend: Backend, batch: Batch, expected: Outputs) -> Outputs:
        """Run one batch and count it; returns its outputs, none once it has failed."""
        found = {} if self._failed else _answered(backend, batch)
        self._failed |= not _comparable(found, expected)
        if self._failed:
            return {}
        for name, right in expected.items():
            self._sums.setdefault(name, _Sums()).add(right.astype(np.float64), found[name].astype(np.float64))
        self._comparison.add(expected, found)
        return found

    def distances(self, backend: str, images: str) -> list[OutputDistance]:
        """Output by output."""
        sums = {} if self._failed else self._sums
        return [_distance(backend, images, name, counted) for name, counted in sums.items()]

    def figures(self, backend: str, images: str) -> list[AnswerFigure]:
        """What the task counted."""
        if self._failed or not self._sums:
            return []
        n = next(iter(self._sums.values())).images
        figures = self._comparison.figures()
        return [AnswerFigure(backend=backend, images=images, n=n, **asdict(figure)) for figure in figures]


def _judge(labels: LabelCount, answers: Mapping[str, Outputs]) -> None:
    """Hold one batch of every backend that answered against its labels."""
    for name, outputs in answers.items():
        if outputs and name != UNQUANTIZED and all(np.isfinite(array).all() for array in outputs.values()):
            labels.add(name, outputs)


def _answered(backend: Backend, batch: Batch) -> Outputs:
    try:
        return backend.outputs(batch)
    except BackendError:
        return {}


def _comparable(found: Outputs, expected: Outputs) -> bool:
    """Are these the same outputs, all of them finite?"""
    return found.keys() == expected.keys() and all(
        found[name].shape == right.shape and np.isfinite(found[name]).all() and np.isfinite(right).all()
        for name, right in expected.items()
    )


def _distance(name: str, images: str, output: str, sums: _Sums) -> OutputDistance:
    ratio = sqnr_db(sums.float_power, sums.error)
    return OutputDistance(
        backend=name,
        images=images,
        output=output,
        n=sums.images,
        sqnr_db=round(ratio, 2) if np.isfinite(ratio) else None if ratio > 0 else -300.0,
        cosine=cosine(sums.dot, sums.float_power, sums.power),
        agreement=sums.same / sums.images if output == LOGITS and sums.classes else None,
    )

"""Is it faithful: the codes of every quantizer, one backend against the oracle, added up over batches.

A differing code is *inherited* in an image where a quantizer that feeds this one already differed, and *own* where all
inputs were identical. In a deep network soon no image has identical inputs: `code_origin` looks further.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from genq_export.core.errors import BackendError
from genq_export.network.onnx_graph import QuantizerNode
from genq_export.runtimes.base import Codes, Outputs
from genq_export.tasks.counts import ErrorPower
from runtime_tests.verify.code_origin import Origin
from runtime_tests.verify.results import BackendFidelity, CodeDifference

# A container may store a code shifted by half its range (UINT8 for signed grids, INT8 for unsigned 8-bit ones).
CONTAINER_SHIFTS = (0, 128, -128)
_Number = TypeVar("_Number", bound=np.generic)


@dataclass
class _Tally:
    codes: int = 0
    differing: int = 0
    largest: int = 0
    own: int = 0
    clean_images: int = 0
    images_differing: int = 0
    shift: int | None = None
    at_origin: int = 0
    ties: int = 0
    own_by_channel: dict[int, int] = field(default_factory=dict)


class CodeComparison:
    """Compare a backend's codes with the oracle's, batch by batch.

    nodes: the quantizers of the file in topological order with their inputs.
    """

    def __init__(self, backend: str, against: str, nodes: Sequence[QuantizerNode]) -> None:
        self._backend, self._against = backend, against
        self._nodes = {node.name: node for node in nodes}
        self._tallies: dict[str, _Tally] = {}
        self._missing: set[str] = set()
        self._images = 0
        self._outputs_largest = 0.0
        self._errors: dict[str, ErrorPower] = {}

    def add(self, expected: tuple[Outputs, Codes], found: tuple[Outputs, Codes]) -> int | None:
        """Count one batch of (outputs, codes). Raises BackendError where the shapes differ.

        Returns the place, in the order of execution, of the first quantizer that differs by itself in this batch.
        """
        (expected_outputs, expected_codes), (found_outputs, found_codes) = expected, found
        images = len(next(iter(expected_outputs.values())))
        self._images += images
        self._outputs_largest = max(self._outputs_largest, largest_gap(expected_outputs, found_outputs))
        for name, array in expected_outputs.items():
            self._errors.setdefault(name, ErrorPower()).add(array, found_outputs[name])
        self._missing |= set(expected_codes) - set(found_codes)
        differs: dict[str, NDArray[np.bool_]] = {}
        first = None
        for place, name in enumerate(self._in_order(expected_codes)):
            if name in found_codes:
                before = self._own(name)
                differs[name] = self._compare(name, expected_codes[name], found_codes[name], differs, images)
                if first is None and self._own(name) > before:
                    first = place
        return first

    def unshifted(self, found: Codes) -> Codes:
        """Codes of a batch that was added, int32, the container's shift taken out."""
        return {
            name: codes.astype(np.int32) - (self._tallies[name].shift or 0)
            for name, codes in found.items()
            if name in self._tallies
        }

    def add_origins(self, origins: Mapping[str, Origin]) -> int | None:
        """Count what differs by itself in a batch that was added.

        Returns the place, in the order of execution, of the first quantizer that differs more than by rounding ties.
        """
        for name, origin in origins.items():
            self._tallies[name].at_origin += origin.differing
            self._tallies[name].ties += origin.ties
        order = enumerate(self._tallies)
        return next((place for place, name in order if name in origins and origins[name].is_fault), None)

    def _own(self, name: str) -> int:
        return self._tallies[name].own if name in self._tallies else 0

    def _in_order(self, codes: Codes) -> Iterator[str]:
        yield from (name for name in self._nodes if name in codes)
        yield from (name for name in codes if name not in self._nodes)

    def _compare(
        self,
        name: str,
        expected: NDArray[Any],
        found: NDArray[Any],
        earlier: dict[str, NDArray[np.bool_]],
        images: int,
    ) -> NDArray[np.bool_]:
        """Tally one quantizer; which images differ, bool [B]."""
        if expected.shape != found.shape:
            raise BackendError(f"{self._backend}: codes of '{name}' are {found.shape}, expected {expected.shape}")
        expected, found = (np.atleast_1d(codes.astype(np.int32)) for codes in (expected, found))
        tally = self._tallies.setdefault(name, _Tally())
        if tally.shift is None:
            tally.shift = container_shift(expected, found)
        gap = np.abs(found - tally.shift - expected)
        by_image = images_that_differ(gap, images)
        clean = ~self._tainted(name, earlier, images)
        tally.codes += gap.size
        tally.differing += int((gap > 0).sum())
        tally.largest = max(tally.largest, int(gap.max(initial=0)))
        tally.clean_images += int(clean.sum())
        tally.images_differing += int(by_image.sum())
        own = of_images(gap, clean) > 0
        tally.own += int(own.sum())
        if own.any():
            self._count_channels(tally, own)
        return by_image

    def _tainted(self, name: str, earlier: dict[str, NDArray[np.bool_]], images: int) -> NDArray[np.bool_]:
        tainted = np.zeros(images, bool)
        node = self._nodes.get(name)
        for source in node.inputs if node is not None else ():
            tainted |= earlier.get(source, np.ones(images, bool))
        return tainted

    @staticmethod
    def _count_channels(tally: _Tally, own: NDArray[np.bool_]) -> None:
        axis = 1 if own.ndim == 4 else own.ndim - 1
        by_channel = own.sum(axis=tuple(a for a in range(own.ndim) if a != axis))
        for channel in np.flatnonzero(by_channel):
            tally.own_by_channel[int(channel)] = tally.own_by_channel.get(int(channel), 0) + int(by_channel[channel])

    def result(self) -> BackendFidelity:
        """Everything counted so far."""
        differences = tuple(self._difference(name, tally) for name, tally in self._tallies.items())
        suspects = [
            *(item.name for item in differences if item.unexplained > (item.ties or 0)),
            *(item.name for item in differences if item.own),
            *(item.name for item in differences if item.differing),
        ]
        return BackendFidelity(
            backend=self._backend,
            against=self._against,
            images=self._images,
            codes=sum(item.codes for item in differences),
            differing=sum(item.differing for item in differences),
            largest=max((item.largest for item in differences), default=0),
            first_diverging=suspects[0] if suspects else None,
            missing=tuple(sorted(self._missing)),
            outputs_largest=self._outputs_largest,
            outputs_sqnr_db=min((power.sqnr_db() for power in self._errors.values()), default=None),
            quantizers=differences,
        )

    def _difference(self, name: str, tally: _Tally) -> CodeDifference:
        node = self._nodes.get(name)
        return CodeDifference(
            name=name,
            inputs=node.inputs if node is not None else (),
            codes=tally.codes,
            differing=tally.differing,
            largest=tally.largest,
            own=tally.own,
            inherited=tally.differing - tally.own,
            clean_images=tally.clean_images,
            images_differing=tally.images_differing,
            at_origin=tally.at_origin,
            ties=tally.ties,
            channels=tuple(sorted(tally.own_by_channel)),
        )


def images_that_differ(gap: NDArray[np.int32], images: int) -> NDArray[np.bool_]:
    """bool [B] from the gaps of a code tensor: all of them where its first axis does not tell them apart.

    Windows and heads multiply the first axis and leave an image's together; a layout with the sequence first, or a
    tensor that is the same for every image, says of no code which image it belongs to.
    """
    if not _image_first(gap.shape, images):
        return np.full(images, bool(gap.any()))
    by_image: NDArray[np.bool_] = gap.reshape(images, -1).max(axis=1, initial=0) > 0
    return by_image


def _image_first(shape: tuple[int, ...], images: int) -> bool:
    """Is the first axis the image, or windows of it? Where the second may be as well, nothing is said."""
    if not shape or shape[0] % images:
        return False
    return shape[0] == images or len(shape) < 2 or shape[1] != images


def of_images(numbers: NDArray[_Number], chosen: NDArray[np.bool_]) -> NDArray[_Number]:
    """What a tensor holds of some images; of one that does not tell images apart all of it, or nothing."""
    if not _image_first(numbers.shape, len(chosen)):
        return numbers if chosen.all() else numbers[:0]
    return numbers[np.repeat(chosen, numbers.shape[0] // len(chosen))]


def container_shift(expected: NDArray[np.int32], found: NDArray[np.int32]) -> int:
    """By how much the container shifts the codes: that of 0, 128 and -128 under which most codes are equal."""
    return max(CONTAINER_SHIFTS, key=lambda shift: int((found - shift == expected).sum()))


def largest_gap(expected: Outputs, found: Outputs) -> float:
    """Largest difference of any output; infinite where one is not finite. Raises BackendError for other outputs."""
    if expected.keys() != found.keys():
        raise BackendError(f"its outputs are {', '.join(found)}, expected {', '.join(expected)}")
    return max(_gap(name, array, found[name]) for name, array in expected.items())


def _gap(name: str, first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    if first.shape != second.shape:
        raise BackendError(f"output '{name}' is {second.shape}, expected {first.shape}")
    gap = np.abs(first.astype(np.float64) - second)
    return float(gap.max(initial=0.0)) if np.isfinite(gap).all() else float("inf")

"""Hold what a device sent against what the integer model makes of the same images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.check.golden import Answers, Golden, Quantizer
from genq_export.core.errors import UserError
from genq_export.serve.answer import Codes, ImageAnswer

_LARGEST = 1e30  # of a difference that is written down


@dataclass(frozen=True)
class QuantizerFindings:
    """One quantizer, image by image. unlike: any code differs. counts, gaps: differing, and largest, of those kept."""

    name: str
    unlike: tuple[bool, ...]
    counts: tuple[int, ...]
    gaps: tuple[int, ...]
    kept: int

    @property
    def differing(self) -> int:
        """In all images."""
        return sum(self.counts)

    @property
    def compared(self) -> int:
        """In all images."""
        return self.kept * len(self.counts)


def judge(golden: Golden, expected: Sequence[Answers], found: Sequence[ImageAnswer]) -> dict[str, Any]:
    """The verdict and its figures, fields of `DeviceResult`.

    Args:
        golden: what is asked of each image.
        expected: outputs float32 [1, ...] and codes of the integer model, image by image.
        found: of the device, image by image.

    Raises:
        UserError: where the answer is not one to what was asked.
    """
    _check_shapes(golden, expected, found)
    outputs = [_outputs(golden, truth, image) for (truth, _), image in zip(expected, found, strict=True)]
    quantizers = [
        _quantizer(item, [codes[item.name] for _, codes in expected], [image.codes[item.name] for image in found])
        for item in golden.quantizers
    ]
    unlike = [item for item in quantizers if any(item.unlike)]
    share = 1 - sum(item.differing for item in quantizers) / max(sum(item.compared for item in quantizers), 1)
    same_answers = sum(same for _, _, same in outputs)
    enough = same_answers == len(found) and all(_is_near(golden, quantizers, image) for image in range(len(found)))
    first = unlike[0] if unlike else None
    return {
        "verdict": "same codes" if not unlike else "same within its tolerance" if enough else "other codes",
        "images": len(found),
        "outputs_equal": all(equal for equal, _, _ in outputs),
        "outputs_largest_gap": max(gap for _, gap, _ in outputs),
        "same_answers": same_answers,
        "quantizers": len(quantizers),
        "quantizers_unlike": len(unlike),
        "codes_equal": share,
        "moved_by_watching": max(image.moved for image in found),
        "first_unlike": first.name if first else "",
        "first_unlike_codes": first.differing if first else 0,
        "first_unlike_by": max(first.gaps) if first else 0,
    }


def _check_shapes(golden: Golden, expected: Sequence[Answers], found: Sequence[ImageAnswer]) -> None:
    sizes = {output.name: 4 * int(np.prod(output.shape)) for output in golden.outputs}
    kept = {item.name: item.kept for item in golden.quantizers}
    if len(found) != len(expected):
        raise UserError(f"the answer is of {len(found)} images, {len(expected)} were asked for")
    for image in found:
        if {name: len(value) for name, value in image.outputs.items()} != sizes:
            raise UserError("the answer has other outputs than were asked for")
        if {name: len(codes.kept) for name, codes in image.codes.items()} != kept:
            raise UserError("the answer has codes of other quantizers, or another number, than were asked for")


def _outputs(golden: Golden, truth: Any, image: ImageAnswer) -> tuple[bool, float, bool]:
    """(equal bit for bit, largest difference, same highest class) of all outputs of one image."""
    equal, gap, same = True, 0.0, True
    for output in golden.outputs:
        expected = np.ascontiguousarray(truth[output.name], "<f4").reshape(-1)
        found = np.frombuffer(image.outputs[output.name], "<f4")
        equal &= expected.tobytes() == found.tobytes()
        with np.errstate(all="ignore"):
            gaps = np.nan_to_num(np.abs(found.astype(np.float64) - expected), nan=_LARGEST, posinf=_LARGEST)
        gap = max(gap, float(gaps.max(initial=0).clip(max=_LARGEST)))
        same &= len(output.shape) != 1 or int(found.argmax()) == int(expected.argmax())
    return equal, gap, same


def _quantizer(item: Quantizer, expected: Sequence[NDArray[Any]], found: Sequence[Codes]) -> QuantizerFindings:
    unlike, counts, gaps = [], [], []
    for truth, codes in zip(expected, found, strict=True):
        stored = np.ascontiguousarray(truth.astype(item.dtype)).reshape(-1)
        by = np.abs(stored[:: item.step].astype(int) - np.frombuffer(codes.kept, item.dtype).astype(int))
        counts.append(int((by > 0).sum()))
        gaps.append(int(by.max(initial=0)))
        same_hash = hashlib.sha256(stored.tobytes()).hexdigest() == codes.sha256
        unlike.append(codes.dtype != item.dtype or not same_hash or counts[-1] > 0)
    return QuantizerFindings(item.name, tuple(unlike), tuple(counts), tuple(gaps), item.kept)


def _is_near(golden: Golden, quantizers: Sequence[QuantizerFindings], image: int) -> bool:
    """Does the first quantizer that differs do so by one, and in few codes? What differs behind it follows from it."""
    first = next((item for item in quantizers if item.unlike[image]), None)
    if first is None:
        return True
    return first.gaps[image] <= 1 and first.counts[image] <= max(1, (1 - golden.least) * first.kept)

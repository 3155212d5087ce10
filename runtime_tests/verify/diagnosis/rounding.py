"""Rounding: ties that fall the other way, and float sums at the border of two codes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genq_export.network.onnx_graph import QuantizerNode, layer_names
from runtime_tests.verify.code_comparison import images_that_differ, of_images
from runtime_tests.verify.code_origin import BORDER
from runtime_tests.verify.diagnosis.case import NOTHING, Case, Finding, quantizer_input

_FAR_FROM_CHANCE = 0.05


def ties_by_reciprocal(case: Case) -> Finding:
    """Are the runtime's codes `round(x · fl32(1/s))` of the very numbers that the oracle rounds as `round(x / s)`?

    TensorRT's kernels multiply by the reciprocal; ONNX says divide. The two differ only where x / s lies at a tie.
    """
    node = case.first_quantizer
    quantized = quantizer_input(case, node.name) if node is not None else None
    if node is None or quantized is None:
        return NOTHING
    part, x = quantized
    expected, found = case.codes_of(node.name)
    scale = np.float32(part.scale.cpu().numpy())
    multiplied = np.clip(np.rint(x * (np.float32(1) / scale)) + int(part.zero_point), part.lo, part.hi)
    differs = multiplied != expected if multiplied.shape == expected.shape else None
    if differs is None or not differs.any() or not np.array_equal(multiplied, found):
        return NOTHING
    return Finding(
        f"ties are rounded the other way at {node.name}: the runtime multiplies by 1/scale, the oracle divides",
        (
            f"the oracle's numbers at {node.name}, times 1/scale instead of divided by it, give every code of the"
            f" runtime; {int(differs.sum()):,} lie at a tie",
        ),
    )


def at_the_border(case: Case) -> Finding:
    """Do the differing values of the first layer lie where two codes meet?"""
    node = case.first_quantizer
    measured = border_distances(case, node) if node is not None else None
    if node is None or measured is None:
        return NOTHING
    evidence = (
        f"the {measured.wrong:,} codes that {node.name} by itself gets wrong in one batch lie at most"
        f" {measured.furthest:.1g} of a step from the border between two codes; {100 * measured.as_close:.2g} % of all"
        " values do",
    )
    if not measured.decides:
        return Finding(evidence=evidence)
    return Finding(
        "float rounding decides at the border of two codes: the runtime adds in another order than the integers of"
        f" {layer_names(node.layers) or node.name}",
        evidence,
    )


@dataclass(frozen=True)
class BorderDistances:
    """How close to the border of two codes the values lie whose codes differ by one.

    wrong: differing codes. furthest: largest distance of one of their values from the border, in steps. as_close: share
    of all values that lie as close.
    """

    wrong: int
    furthest: float
    as_close: float

    @property
    def decides(self) -> bool:
        """Is it the border that they have in common?"""
        return self.furthest <= BORDER and self.as_close <= _FAR_FROM_CHANCE


def border_distances(case: Case, node: QuantizerNode) -> BorderDistances | None:
    """Of the codes that a quantizer by itself gets wrong; None where there are none, or one is off by more than 1."""
    quantized = quantizer_input(case, node.name)
    if quantized is None:
        return None
    part, x = quantized
    clean = _clean_images(case, node)
    expected, found = (of_images(codes, clean) for codes in case.codes_of(node.name))
    steps = of_images(x, clean).astype(np.float64) / float(part.scale) + int(part.zero_point)  # before rounding
    wrong = expected != found
    if expected.shape != steps.shape or not wrong.any() or np.abs(found - expected)[wrong].max() > 1:
        return None
    distance = np.abs(np.abs(steps - np.floor(steps)) - 0.5)
    furthest = float(distance[wrong].max())
    return BorderDistances(int(wrong.sum()), furthest, float((distance <= furthest).mean()))


def _clean_images(case: Case, node: QuantizerNode) -> NDArray[np.bool_]:
    """Images in which all inputs of the quantizer agree."""
    clean = np.ones(len(case.first[0]), bool)
    for name in node.inputs:
        expected, found = case.codes_of(name)
        if expected.size:
            clean &= ~images_that_differ(np.abs(found - expected), len(clean))
    return clean

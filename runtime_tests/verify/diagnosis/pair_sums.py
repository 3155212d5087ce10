"""Sums of two products that 16 bits cannot hold: halve the weight codes, and ask the runtime for a sum that is known.

x86 processors with AVX2 or AVX-512 but without VNNI multiply uint8 by int8 in pairs whose sum must fit 16 bits
(`vpmaddubsw`): 255 · 127 + 255 · 127 does not, and stops at 32,767; halved weight codes always fit. Runtimes differ
here from machine to machine.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from genq_export.core.errors import BackendError
from genq_export.network.names import weight_tensor
from genq_export.network.onnx_graph import layer_names
from genq_export.runtimes.isolation.process import IsolatedBackend
from genq_export.runtimes.largest_codes import RIGHT_SUM, largest_codes
from runtime_tests.verify.constants import Constants
from runtime_tests.verify.diagnosis.case import NOTHING, Case, Finding, codes_of_copy, copy_of
from runtime_tests.verify.diagnosis.rounding import border_distances

# Saturation is to blame where at most this share of the differences is left with halved codes.
_LEFT = 0.01
_UNFUSED = "onnxruntime-unfused"


@dataclass(frozen=True)
class KnownSum:
    """What a runtime makes of one convolution of the largest codes, whose result is known."""

    backend: str
    found: float
    right: float = RIGHT_SUM

    @property
    def saturates(self) -> bool:
        """Does the runtime cut off sums on this processor?"""
        return not np.isclose(self.found, self.right)

    @property
    def evidence(self) -> str:
        """What was seen."""
        return (
            f"a convolution of the largest codes gives {self.found:g} in {self.backend} on this processor;"
            f" {self.right:g} is right"
        )


def known_sum(backend: str, limit: float) -> KnownSum | None:
    """Run the convolution of the largest codes in a runtime; None where it does not run.

    Args:
        backend: Name of the runtime.
        limit: Seconds that an answer may take.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "largest.onnx"
        onnx.save(largest_codes(), path)
        try:
            opened = IsolatedBackend(backend, path, limit, threads=1)
        except BackendError:
            return None
        try:
            (found,) = opened.outputs(np.full((1, 2, 3, 3), 255, np.float32)).values()
            return KnownSum(backend, float(found.min()))
        except BackendError:
            return None
        finally:
            opened.close()


AskKnownSum = Callable[[str, float], KnownSum | None]


def saturating_sums(case: Case, ask: AskKnownSum = known_sum) -> Finding:
    """Does the first layer come right when its weight codes are halved, and does the runtime saturate at all?

    The copy is held against itself without optimisations, where nothing saturates. Halving moves every value, so that
    differences at the border of two codes go as well: where all lie there, it says nothing about saturation.

    Args:
        case: What differs.
        ask: Asks a runtime for a known sum.
    """
    node = case.first_quantizer
    if node is None or case.fidelity.backend == _UNFUSED:
        return NOTHING
    copy = copy_of(case.model)
    layers = [name for name in node.layers if halve_weight_codes(copy, name)]
    before = int(np.not_equal(*case.codes_of(node.name)).sum())
    left = _differing_from_unfused(copy, case, node.name) if layers else None
    if left is None:
        return NOTHING
    evidence = [
        f"with the weight codes of {layer_names(layers)} halved, {left:,} codes of {node.name} differ in one batch from"
        f" those of the same file without optimisations; unhalved, {before:,} differ"
    ]
    if left > _LEFT * before:
        return Finding(evidence=tuple(evidence))
    distances = border_distances(case, node)
    if distances is not None and distances.decides:
        evidence.append("unhalved, they lie at the border of two codes, which halving moves them away from")
        return Finding(evidence=tuple(evidence))
    known = ask(case.fidelity.backend, case.limit)
    if known is None:
        return Finding(evidence=tuple(evidence))
    evidence.append(known.evidence)
    return Finding(_explanation(layers) if known.saturates else None, tuple(evidence))


def saturation_of(layers: tuple[str, ...] | list[str]) -> str:
    """What is said of layers whose sums saturate, the beginning of a sentence."""
    return f"sums of two products of {layer_names(layers)} saturate at 16 bits on this processor"


def _explanation(layers: list[str]) -> str:
    return f"{saturation_of(layers)}: with weights of 7 bits it computes right"


def halve_weight_codes(model: onnx.ModelProto, layer: str) -> bool:
    """Halve, towards zero, the codes that `layer` multiplies by, in place; False where they are not 8-bit codes."""
    constants = Constants(model)
    dequantize = constants.producer(weight_tensor(layer))
    source = constants.source(dequantize.input[0]) if dequantize is not None else None
    codes = constants.value(source) if source is not None else None
    if source is None or codes is None or codes.dtype != np.int8:
        return False
    constants.replace(source, (codes / 2).astype(np.int8))
    return True


def _differing_from_unfused(model: onnx.ModelProto, case: Case, quantizer: str) -> int | None:
    """Codes of one quantizer that a runtime computes differently from ONNX Runtime without optimisations."""
    found = []
    for backend in (case.fidelity.backend, _UNFUSED):
        computed = codes_of_copy(model, backend, case.first[0], case.limit)
        if computed is None or quantizer not in computed[1]:
            return None
        found.append(computed[1][quantizer].astype(np.int32))
    return int((found[0] != found[1]).sum()) if found[0].shape == found[1].shape else None

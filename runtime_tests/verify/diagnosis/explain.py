"""Why do codes differ? Each suspicion is tested by an experiment, and only what an experiment confirms is said.

* A constant of the file differs from the integer model: put the right one into a copy, run it, see whether the layer
  agrees now.
* The runtime's optimisations: run without them.
* Ties: round the oracle's own numbers times 1/scale instead of divided by it, see whether the runtime's codes come out.
* Rounding at the border of two codes: look where the differing values lie between codes.
* Saturation of codes: look whether the runtime's codes stop at the end of its container.
* Saturation of sums: halve the weight codes in a copy, see whether the runtime then computes the copy right.
* Another input: fit the codes of the input against the oracle's.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from genq_export.core.errors import BackendError
from genq_export.network.names import weight_tensor
from genq_export.network.onnx_graph import QuantizerNode, layer_names, quantizers
from genq_export.runtimes.backends import Batch, Codes, TorchBackend
from genq_export.runtimes.isolation.process import IsolatedBackend
from runtime_tests.verify.code_fidelity import CodeComparison, container_shift
from runtime_tests.verify.constants import Constants, Mismatch, mismatches
from runtime_tests.verify.results import BackendFidelity

# Half a step decides which code a value gets. A float32 sum in another order moves it by less than this share of a
# step; of values that have nothing to do with a border, about twice this share lies as close to one.
_BORDER = 1e-3
_FAR_FROM_CHANCE = 0.05
# Optimisations are to blame where at most this share of the differences is left without them.
_FEW = 0.01


@dataclass(frozen=True)
class Case:
    """What an explanation may look at; `first`: a batch in which the first diverging
    quantizer differs by itself, with the oracle's and the runtime's codes."""

    fidelity: BackendFidelity
    oracle: TorchBackend
    first: tuple[Batch, Codes, Codes]
    model: onnx.ModelProto
    nodes: Sequence[QuantizerNode]
    unfused: BackendFidelity | None
    limit: float


def explain(case: Case) -> BackendFidelity:
    """The same result with `explanation` (one sentence without a full stop, or None) and the `evidence` for it."""
    fidelity = case.fidelity
    if fidelity.differing == 0 and not fidelity.missing:
        return fidelity
    evidence: list[str] = []
    if fidelity.missing:
        explanation: str | None = f"the file has no quantizer {layer_names(fidelity.missing)}"
        evidence.append(f"the oracle quantizes {layer_names(fidelity.missing)}, the file has no such codes")
    else:
        tests = (_constants, _ties, _input, _pair_sums, _optimisation, _saturation, _border)
        explanation = next((answer for test in tests if (answer := test(case, evidence))), None)
        if explanation is None:
            evidence.append("none of these experiments explains the difference")
    return fidelity.model_copy(update={"explanation": explanation, "evidence": tuple(evidence)})


def _constants(case: Case, evidence: list[str]) -> str | None:
    found = mismatches(case.model, case.oracle.module)
    if not found:
        evidence.append("all scales, codes, biases and limits in the file are those of the integer model")
        return None
    evidence += [item.sentence for item in found[:5]]
    if len(found) > 5:
        evidence.append(f"{len(found) - 5} more constants differ")
    if any(item.repaired is None for item in found):
        return found[0].sentence
    left = _differing_after_repair(case, found)
    before = sum(int((a != b).sum()) for a, b in (_codes_of(case, name) for name in case.first[1]))
    if left is None or left >= before:
        evidence.append("a copy with the right constants differs as much: they are not the reason")
        return None
    evidence.append(
        f"a copy of the file with the right constants differs in {left:,} codes of one batch, not {before:,}"
    )
    more = f", and {len(found) - 1} other constants differ" if len(found) > 1 else ""
    return found[0].sentence + more


def _differing_after_repair(case: Case, found: list[Mismatch]) -> int | None:
    """Differing codes of one batch when a copy with the integer model's constants runs; None if it does not."""
    copy = onnx.ModelProto()
    copy.CopyFrom(case.model)
    constants = Constants(copy)
    for item in found:
        assert item.repaired is not None
        constants.replace(item.tensor, item.repaired)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "repaired.onnx"
        path.write_bytes(copy.SerializeToString())
        try:
            repaired = IsolatedBackend(case.fidelity.backend, path, case.limit)
        except BackendError:
            return None
        try:
            comparison = CodeComparison(case.fidelity.backend, "oracle", quantizers(copy))
            logits, codes = repaired.codes(case.first[0])
            comparison.add((logits, case.first[1]), (logits, codes))
        except BackendError:
            return None
        finally:
            repaired.close()
    return comparison.result().differing


def _ties(case: Case, evidence: list[str]) -> str | None:
    """Are the runtime's codes `round(x · fl32(1/s))` of the very numbers that the oracle rounds as `round(x / s)`?

    TensorRT's kernels multiply by the reciprocal; ONNX says divide. The two differ only where x / s lies at a tie.
    """
    node = _first(case)
    part, x = (None, None) if node is None else _quantizer_input(case, node.name)
    if node is None or part is None or x is None:
        return None
    expected, found = _codes_of(case, node.name)
    scale = np.float32(part.scale.cpu().numpy())
    multiplied = np.clip(np.rint(x * (np.float32(1) / scale)) + int(part.zero_point), part.lo, part.hi)
    differs = multiplied != expected if multiplied.shape == expected.shape else None
    if differs is None or not differs.any() or not np.array_equal(multiplied, found):
        return None
    evidence.append(
        f"the oracle's numbers at {node.name}, times 1/scale instead of divided by it, give every code of the runtime;"
        f" {int(differs.sum()):,} lie at a tie"
    )
    return f"ties are rounded the other way at {node.name}: the runtime multiplies by 1/scale, the oracle divides"


def _input(case: Case, evidence: list[str]) -> str | None:
    """Is the first difference in the network's input, and is one input a linear function of the other?"""
    node = _first(case)
    if node is None or node.inputs or node.layers:
        return None
    expected, found = _codes_of(case, node.name)
    if expected.size == 0 or expected.std() == 0:
        return None
    slope, offset = (float(value) for value in np.polyfit(expected.ravel(), found.ravel(), 1))
    share = float(np.corrcoef(expected.ravel(), found.ravel())[0, 1] ** 2)
    evidence.append(
        f"the codes of {node.name} are {slope:.3f} times the oracle's plus {offset:.1f}, which explains"
        f" {100 * share:.1f} % of their variance"
    )
    return f"the network gets another input ({node.name} differs before any layer): look at the preprocessing"


def _pair_sums(case: Case, evidence: list[str]) -> str | None:
    """Does the first layer come right when its weight codes are halved?

    x86 processors with AVX2 or AVX-512 but without VNNI multiply uint8 by int8 in pairs whose sum must fit 16 bits
    (`vpmaddubsw`): 255 · 127 + 255 · 127 does not, and stops at 32,767; halved weight codes always fit. Runtimes differ
    here from machine to machine. The copy is held against itself without optimisations, where nothing saturates.
    """
    node = _first(case)
    if node is None or case.fidelity.backend == "onnxruntime-unfused":
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(case.model)
    layers = [name for name in node.layers if halve_weight_codes(copy, name)]
    if not layers:
        return None
    before = int(np.not_equal(*_codes_of(case, node.name)).sum())
    left = _differing_from_unfused(copy, case, node.name)
    if left is None:
        return None
    evidence.append(
        f"with the weight codes of {layer_names(layers)} halved, {left:,} codes of {node.name} differ in one batch from"
        f" those of the same file without optimisations; unhalved, {before:,} differ"
    )
    if left > _FEW * before:
        return None
    return (
        f"sums of two products of {layer_names(layers)} saturate at 16 bits on this processor (no VNNI instructions):"
        " weights of 7 bits, or a processor with VNNI, compute it right"
    )


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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.onnx"
        path.write_bytes(model.SerializeToString())
        for kind in (case.fidelity.backend, "onnxruntime-unfused"):
            try:
                backend = IsolatedBackend(kind, path, case.limit)
            except BackendError:
                return None
            try:
                found.append(backend.codes(case.first[0])[1][quantizer].astype(np.int32))
            except (BackendError, KeyError):
                return None
            finally:
                backend.close()
    return int((found[0] != found[1]).sum()) if found[0].shape == found[1].shape else None


def _optimisation(case: Case, evidence: list[str]) -> str | None:
    if case.unfused is None or case.fidelity.backend == case.unfused.backend:
        return None
    if case.fidelity.backend != "onnxruntime":
        evidence.append(
            f"ONNX Runtime without optimisations differs in {case.unfused.differing:,} codes of the same file"
        )
        return None
    evidence.append(f"with the runtime's optimisations off {case.unfused.differing:,} codes differ")
    if case.unfused.differing > _FEW * case.fidelity.differing:
        return None
    left = f"only {case.unfused.differing:,} differ" if case.unfused.differing else "every code is right"
    return f"the runtime's graph optimisations change the result: without them {left}"


def _saturation(case: Case, evidence: list[str]) -> str | None:
    """Do all differing codes of the first layer sit at one end, where the oracle goes on?"""
    node = _first(case)
    if node is None:
        return None
    expected, found = _codes_of(case, node.name)
    wrong = expected != found
    if not wrong.any():
        return None
    end = int(found[wrong].reshape(-1)[0])
    beyond = bool((found[wrong] == end).all()) and (
        bool((expected[wrong] > end).all() and found.max() == end)
        or bool((expected[wrong] < end).all() and found.min() == end)
    )
    if not beyond:
        return None
    evidence.append(f"all {int(wrong.sum()):,} differing codes of {node.name} are {end}, where the oracle's go on")
    return f"the runtime clamps codes of {node.name} at {end}"


def _border(case: Case, evidence: list[str]) -> str | None:
    """Do the differing values of the first layer lie where two codes meet?"""
    node = _first(case)
    if node is None:
        return None
    clean = _clean_images(case, node)
    expected, found = (codes[clean] for codes in _codes_of(case, node.name))
    steps = _before_rounding(case, node.name)
    if steps is None or expected.shape != steps[clean].shape:
        return None
    steps = steps[clean]
    wrong = expected != found
    if not wrong.any() or np.abs(found - expected)[wrong].max() > 1:
        return None
    distance = np.abs(np.abs(steps - np.floor(steps)) - 0.5)
    furthest = float(distance[wrong].max())
    as_close = float((distance <= furthest).mean())
    evidence.append(
        f"the {int(wrong.sum()):,} codes that {node.name} by itself gets wrong in one batch lie at most"
        f" {furthest:.1g} of a step from the border between two codes; {100 * as_close:.2g} % of all values do"
    )
    if furthest > _BORDER or as_close > _FAR_FROM_CHANCE:
        return None
    return (
        "float rounding decides at the border of two codes: the runtime adds in another order than the integers of"
        f" {layer_names(node.layers) or node.name}"
    )


def _first(case: Case) -> QuantizerNode | None:
    return next((node for node in case.nodes if node.name == case.fidelity.first_diverging), None)


def _codes_of(case: Case, name: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Oracle's and runtime's codes of one quantizer, the container's shift taken out."""
    if name not in case.first[1] or name not in case.first[2]:
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    expected, found = case.first[1][name].astype(np.int32), case.first[2][name].astype(np.int32)
    return expected, found - container_shift(expected, found)


def _clean_images(case: Case, node: QuantizerNode) -> NDArray[np.bool_]:
    """Images in which all inputs of the quantizer agree."""
    clean = np.ones(len(case.first[0]), bool)
    for name in node.inputs:
        expected, found = _codes_of(case, name)
        if expected.size:
            clean &= (expected == found).reshape(len(expected), -1).all(axis=1)
    return clean


def _before_rounding(case: Case, name: str) -> NDArray[np.float64] | None:
    """x / scale + zero-point in the oracle before it is rounded, float64 of the quantizer's shape."""
    part, x = _quantizer_input(case, name)
    if part is None or x is None:
        return None
    steps: NDArray[np.float64] = x.astype(np.float64) / float(part.scale) + int(part.zero_point)
    return steps


def _quantizer_input(case: Case, name: str) -> tuple[Any, NDArray[np.float32] | None]:
    """The oracle's quantizer of that name and the numbers that reach it in the case's batch; None unless it is one."""
    import torch

    seen: list[NDArray[np.float32]] = []

    def keep(_part: Any, inputs: Any) -> None:
        seen.append(inputs[0].cpu().numpy())

    named = (part for part in case.oracle.module.modules() if getattr(part, "name", None) == name)
    parts = [part for part in named if hasattr(part, "scale")]
    if len(parts) != 1:
        return None, None
    handle = parts[0].register_forward_pre_hook(keep)
    try:
        with torch.no_grad():
            case.oracle.module(torch.from_numpy(case.first[0]).to(case.oracle.device))
    finally:
        handle.remove()
    return parts[0], seen[0] if seen else None

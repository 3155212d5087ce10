"""A constant of the file differs from the integer model: put the right one into a copy and run it."""

import onnx

from genq_export.core.errors import BackendError, UserError
from genq_export.network.onnx_graph import quantizers
from runtime_tests.verify.code_comparison import CodeComparison
from runtime_tests.verify.constants import Constants, Mismatch, mismatches
from runtime_tests.verify.diagnosis.case import NOTHING, Case, Finding, codes_of_copy, copy_of

_SHOWN = 5


def wrong_constants(case: Case) -> Finding:
    """Does the difference shrink when a copy of the file has the integer model's constants?"""
    try:
        found = mismatches(case.model, case.oracle.module)
    except UserError:  # the file is of another kind than the integer model: the constants' gate says so
        return NOTHING
    if not found:
        return Finding(evidence=("all scales, codes, biases and limits in the file are those of the integer model",))
    evidence = [item.message for item in found[:_SHOWN]]
    if len(found) > _SHOWN:
        evidence.append(f"{len(found) - _SHOWN} more constants differ")
    if any(item.repaired is None for item in found):
        evidence.append("another number in its place would not repair the file: that it is the reason was not tested")
        return Finding(evidence=tuple(evidence))
    left = _differing_after_repair(case, found)
    before = sum(int((a != b).sum()) for a, b in map(case.codes_of, case.first[1]))
    if left is None or left >= before:
        evidence.append("a copy with the right constants differs as much: they are not the reason")
        return Finding(evidence=tuple(evidence))
    evidence.append(
        f"a copy of the file with the right constants differs in {left:,} codes of one batch, not {before:,}"
    )
    more = f", and {len(found) - 1} other constants differ" if len(found) > 1 else ""
    return Finding(found[0].message + more, tuple(evidence))


def _differing_after_repair(case: Case, found: list[Mismatch]) -> int | None:
    """Differing codes of one batch when a copy with the integer model's constants runs; None if it does not."""
    copy = copy_of(case.model)
    _repair(copy, found)
    batch, expected, _ = case.first
    repaired = codes_of_copy(copy, case.fidelity.backend, batch, case.limit)
    if repaired is None:
        return None
    comparison = CodeComparison(case.fidelity.backend, "oracle", quantizers(copy))
    try:
        comparison.add((repaired[0], expected), repaired)
    except BackendError:
        return None
    return comparison.result().differing


def _repair(copy: onnx.ModelProto, found: list[Mismatch]) -> None:
    constants = Constants(copy)
    for item in found:
        assert item.repaired is not None
        constants.replace(item.tensor, item.repaired)

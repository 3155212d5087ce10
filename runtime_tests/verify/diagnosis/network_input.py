"""Another input: fit the codes of the network's input against the oracle's."""

import numpy as np

from runtime_tests.verify.diagnosis.case import NOTHING, Case, Finding

# Rounding another way moves a code by one, and at most this share of them.
_ROUNDED = 0.05


def another_input(case: Case) -> Finding:
    """Do the codes of the network's input differ by more than rounding can move them?

    The fit says how: the slope of another range of pixels, the offset of another mean.
    """
    node = case.first_quantizer
    if node is None or node.inputs or node.layers:
        return NOTHING
    expected, found = case.codes_of(node.name)
    if expected.size == 0 or expected.std() == 0:
        return NOTHING
    slope, offset = (float(value) for value in np.polyfit(expected.ravel(), found.ravel(), 1))
    share = float(np.corrcoef(expected.ravel(), found.ravel())[0, 1] ** 2)
    evidence = (
        f"the codes of {node.name} are {slope:.3f} times the oracle's plus {offset:.1f}, which explains"
        f" {100 * share:.1f} % of their variance",
    )
    gaps = np.abs(found - expected)
    if gaps.max() <= 1 and (gaps > 0).mean() <= _ROUNDED:
        return Finding(evidence=evidence)
    return Finding(
        f"the network gets another input ({node.name} differs before any layer): look at the preprocessing", evidence
    )

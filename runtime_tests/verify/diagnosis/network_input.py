"""Another input: fit the codes of the network's input against the oracle's."""

import numpy as np

from runtime_tests.verify.diagnosis.case import NOTHING, Case, Finding


def another_input(case: Case) -> Finding:
    """Is the first difference in the network's input, and is one input a linear function of the other?"""
    node = case.first_quantizer
    if node is None or node.inputs or node.layers:
        return NOTHING
    expected, found = case.codes_of(node.name)
    if expected.size == 0 or expected.std() == 0:
        return NOTHING
    slope, offset = (float(value) for value in np.polyfit(expected.ravel(), found.ravel(), 1))
    share = float(np.corrcoef(expected.ravel(), found.ravel())[0, 1] ** 2)
    return Finding(
        f"the network gets another input ({node.name} differs before any layer): look at the preprocessing",
        (
            f"the codes of {node.name} are {slope:.3f} times the oracle's plus {offset:.1f}, which explains"
            f" {100 * share:.1f} % of their variance",
        ),
    )

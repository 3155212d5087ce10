"""Codes clamped early: look whether the runtime's codes stop at an end where the oracle's go on."""

from runtime_tests.verify.diagnosis.case import NOTHING, Case, Finding


def clamped_codes(case: Case) -> Finding:
    """Do all differing codes of the first layer sit at one end, where the oracle goes on?"""
    node = case.first_quantizer
    if node is None:
        return NOTHING
    expected, found = case.codes_of(node.name)
    wrong = expected != found
    if not wrong.any():
        return NOTHING
    end = int(found[wrong].reshape(-1)[0])
    beyond = bool((found[wrong] == end).all()) and (
        bool((expected[wrong] > end).all() and found.max() == end)
        or bool((expected[wrong] < end).all() and found.min() == end)
    )
    if not beyond:
        return NOTHING
    return Finding(
        f"the runtime clamps codes of {node.name} at {end}",
        (f"all {int(wrong.sum()):,} differing codes of {node.name} are {end}, where the oracle's go on",),
    )

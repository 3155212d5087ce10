"""Does the file compute what the oracle computes? Judged by what it makes of the same inputs, and by its outputs.

The share of all codes that are equal is a figure and no condition: behind one rounding tie a deep network has other
codes everywhere, though no layer is at fault.
"""

from dataclasses import dataclass

from genq_export.network.onnx_graph import layer_names
from runtime_tests.verify.gate import Gate, Ungated, gate
from runtime_tests.verify.results import BackendFidelity, CodeDifference

# Share of codes that must equal the oracle's of the same inputs, rounding ties aside. Wider grids have more borders for
# float rounding to fall near, most of all behind operators that stay float (LayerNorm, softmax).
CODE_MATCH_NARROW, CODE_MATCH_WIDE = 0.9999, 0.999
LAYER_CODES = 0.01  # share of one quantizer's codes: a small layer at fault is little of all codes
_SHOWN = 3


@dataclass(frozen=True)
class Compared:
    """The deployed file's codes. found: None where they could not be compared, failure: why, as the end of a sentence.
    where: at which quantizer codes first differ, as the end of a sentence."""

    title: str
    found: BackendFidelity | None
    where: str
    failure: str


def code_match(compared: Compared, required: float) -> Gate:
    """No more than so many codes differ by the file's own making."""
    name, title = "code_match", "Codes equal to the oracle's, or at ties"
    found, value = compared.found, None
    if found is None:
        message = f"codes of {compared.title} could not be compared{compared.failure}"
    elif found.missing:
        value, message = 0.0, f"the file has no quantizer {layer_names(found.missing)}"
    else:
        value = 1.0 if found.codes == 0 else 1 - found.unexplained / found.codes
        own = "" if found.at_origin is None else f", {found.unexplained:,} by themselves and at no rounding tie"
        message = f"{found.differing:,} of {found.codes:,} codes differ{own}{compared.where}"
    return gate(name, title, value, required, True, message)


def layer_codes(compared: Compared) -> Gate | Ungated:
    """No setting: no quantizer makes other codes of the same inputs than the oracle's."""
    name, title = "layer_codes", "Layers with other codes of the same inputs"
    if compared.found is None or compared.found.at_origin is None:
        return Ungated(name=name, reason="codes were not compared, or an earlier release measured")
    wrong = [item for item in compared.found.quantizers if item.unexplained > LAYER_CODES * item.codes]
    return gate(name, title, float(len(wrong)), 0.0, False, _of_quantizers(wrong) + compared.where)


def _of_quantizers(wrong: list[CodeDifference]) -> str:
    if not wrong:
        return "every quantizer makes the oracle's codes of the same inputs"
    shown = [f"{item.name} ({100 * item.unexplained / item.codes:.2g} % of its codes)" for item in wrong[:_SHOWN]]
    more = [f"{len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    return f"of the same inputs other codes are made by {layer_names([*shown, *more])}"


def outputs(compared: Compared, from_float: float | None) -> Gate | Ungated:
    """No setting: the file's outputs are nearer to the oracle's than those are to float's.

    Where a network is so chaotic that ties decide its answers, no layer is at fault and the file is none to ship.

    Args:
        compared: The file's codes and outputs.
        from_float: dB of the reference's outputs against float's; None: not measured.
    """
    name, title = "outputs", "Outputs against the oracle, signal to noise"
    if compared.found is None or compared.found.outputs_sqnr_db is None or from_float is None:
        return Ungated(name=name, reason="outputs were not held against the oracle's and float's")
    value = compared.found.outputs_sqnr_db
    message = (
        f"outputs of {compared.title} are {value:.1f} dB from the {compared.found.against}'s, further than those are"
        f" from float's ({from_float:.1f} dB){compared.where}"
    )
    return gate(name, title, value, from_float, True, message)

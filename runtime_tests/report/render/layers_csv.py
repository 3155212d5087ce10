"""One line of CSV a layer and an activation quantizer."""

import csv
import io

from runtime_tests.report.model import LayerFacts, Report
from runtime_tests.verify import gates
from runtime_tests.verify.results import CodeDifference, LayerQuality, WeightQuality

_COLUMNS = [
    *("name", "kind", "op", "bits", "weight_shape", "integer", "detail"),
    *("sqnr_db", "own_sqnr_db", "cosine", "clipped", "codes", "differing", "own", "at_origin", "ties", "largest", "kl"),
]


def layers_csv(report: Report) -> str:
    """One row a quantized layer (kind `layer`) and one an activation quantizer (kind `activation`)."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    weights = {item.name: item for item in report.run.weights}
    costs = {item.name: item.kl for item in report.sensitivity}
    writer.writerows(_layer(layer, weights.get(layer.name), costs.get(layer.name)) for layer in report.layers)
    fidelity = gates.deployed_fidelity(report.run)
    codes = {item.name: item for item in fidelity.quantizers} if fidelity is not None else {}
    quality = {item.name: item for item in report.run.layers}
    writer.writerows(_activation(name, quality.get(name), codes.get(name)) for name in quality | codes)
    return out.getvalue()


def _layer(layer: LayerFacts, weight: WeightQuality | None, kl: float | None) -> dict[str, str]:
    return {
        "name": layer.name,
        "kind": "layer",
        "op": layer.op,
        "bits": _cell(layer.weight_bits),
        "weight_shape": "x".join(str(size) for size in layer.weight_shape),
        "integer": _cell(layer.integer),
        "detail": layer.detail,
        "sqnr_db": _cell(weight.sqnr_db if weight is not None else None),
        "kl": _cell(kl),
    }


def _activation(name: str, quality: LayerQuality | None, codes: CodeDifference | None) -> dict[str, str | float]:
    row: dict[str, str | float] = {"name": name, "kind": "activation"}
    if quality is not None:
        row |= {"sqnr_db": _cell(quality.sqnr_db), "own_sqnr_db": _cell(quality.own_sqnr_db)}
        row |= {"cosine": round(quality.cosine, 6), "clipped": round(quality.clipped, 6)}
    if codes is not None:
        row |= {"codes": codes.codes, "differing": codes.differing, "own": codes.own, "largest": codes.largest}
        row |= {"at_origin": _cell(codes.at_origin), "ties": _cell(codes.ties)}
    return row


def _cell(value: object) -> str:
    return "" if value is None else str(value)

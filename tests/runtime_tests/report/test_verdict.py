"""A run in a sentence or two."""

from genq_export.config.verify import GatesConfig
from runtime_tests.report.verdict import verdict
from runtime_tests.verify import gates
from tests.runtime_tests.measured import SLOW, audited, codes, grids, run


def test_the_verdict_says_once_where_codes_first_differ() -> None:
    measured = run(fidelity=(codes(10),), agreement={"onnxruntime_vs_reference": 0.8})
    judged, _ = gates.check(measured, (), GatesConfig(), grids(4))
    assert verdict(measured, "onnxruntime", (), judged) == (
        "ONNX Runtime and the reference differ on 2,000 of 10,000 images; codes first differ at layer1.act"
        " (the reason). 10 of 1,000 codes differ."
    )


def test_the_verdict_of_a_good_run_says_what_was_achieved() -> None:
    measured = run(latency=SLOW)
    audit = (audited("x", integer=True), audited("y", integer=False, on_purpose=True))
    judged, _ = gates.check(measured, audit, GatesConfig(), grids(4))
    assert verdict(measured, "onnxruntime", audit, judged) == (
        "The deployed network reaches 92.00 % top-1 and loses 1.00 points against float, is as fast as float within the"
        " noise, is 4.0 times smaller and computes 1 of 2 layers in integers."
    )
    # ONNX Runtime without optimisations stands in for TensorRT where there is no GPU.
    accuracy = measured.accuracy | {"onnxruntime-unfused": measured.accuracy["onnxruntime"]}
    elsewhere = measured.model_copy(update={"deployed": "onnxruntime-unfused", "accuracy": accuracy})
    assert verdict(elsewhere, "tensorrt", audit, ()).startswith(
        "The TensorRT file, computed as written by ONNX Runtime, reaches"
    )

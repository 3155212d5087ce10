"""Gates name the figure or the layer; two builds are compared with chance and noise in mind."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.config.verify import GatesConfig
from runtime_tests.report import compare, html, text
from runtime_tests.report.assemble import Bits, LayerCost, Report, _verdict
from runtime_tests.verify import gates
from runtime_tests.verify.results import (
    BackendFidelity,
    BackendRun,
    Evaluation,
    Latency,
    LayerQuality,
    Machine,
    Score,
    Size,
    Verification,
)


def score(top1: float, n: int = 10000) -> Score:
    return Score(top1=top1, n=n, low=top1, high=top1)


def codes(differing: int) -> BackendFidelity:
    where = {"first_diverging": "layer1.act", "explanation": "the reason"} if differing else {"first_diverging": None}
    return BackendFidelity(
        backend="onnxruntime", against="oracle", images=2, codes=1000, differing=differing, largest=1,
        logits_largest=0, quantizers=(), **where,
    )  # fmt: skip


def run(**changes: Any) -> Verification:
    values: dict[str, Any] = {
        "machine": Machine(name="m", cpu="c", cores=2, memory_gib=4, system="s"),
        "date": "",
        "artefacts": {},
        "versions": {},
        "deployed": "onnxruntime",
        "evaluation": Evaluation(name="test set", n=10000, labelled=True),
        "backends": (),
        "accuracy": {"float": score(0.93), "reference": score(0.92), "onnxruntime": score(0.92)},
        "agreement": {"onnxruntime_vs_reference": 1.0, "onnxruntime_vs_float": 0.97},
        "layers": (
            LayerQuality(name="a", sqnr_db=20.0, own_sqnr_db=20.0, cosine=1, clipped=0),
            LayerQuality(name="b", sqnr_db=5.5, own_sqnr_db=9.0, cosine=1, clipped=0),
        ),
        "size": Size(float_bytes=1000, deployed_bytes=250),
        "constants": (),
        "fidelity": (codes(0),),
    }
    return Verification(**{**values, **changes})


def grids(bits: int, **options: Any) -> QuantizeConfig:
    return BuildConfig.for_model("net", bits=bits, **options).quantize


def sentences(measured: Verification, config: GatesConfig | None = None, bits: int = 4, **audit: Any) -> dict[str, str]:
    judged, _ = gates.check(measured, audit.get("audit"), config or GatesConfig(), grids(bits))
    return {gate.name: gate.sentence for gate in judged if not gate.passed}


def test_accuracy_gate_blames_quantization_and_the_noisiest_layer() -> None:
    lost = run(accuracy={"float": score(0.93), "reference": score(0.90), "onnxruntime": score(0.90)})
    assert sentences(run()) == {}
    assert sentences(lost) == {
        "accuracy_loss": "top-1 fell by 3.00 points, 1.50 are allowed at W4A4: the reference already loses 3.00;"
        " the noisiest layer is b (5.5 dB)"
    }
    assert sentences(lost, bits=3) == {}
    assert sentences(lost, GatesConfig(max_accuracy_loss=3.01)) == {}


def test_accuracy_gate_blames_deployment() -> None:
    lost = run(
        accuracy={"float": score(0.93), "reference": score(0.929), "onnxruntime": score(0.80)},
        agreement={"onnxruntime_vs_reference": 0.8},
    )
    found = sentences(lost)
    assert "12.90 of them between the reference and ONNX Runtime" in found["accuracy_loss"]
    assert found["agreement"] == "ONNX Runtime and the reference differ on 2,000 of 10,000 images"


def test_codes_gate_names_layer_and_reason() -> None:
    expected = "10 of 1,000 codes differ; codes first differ at layer1.act (the reason)"
    assert sentences(run(fidelity=(codes(10),)))["code_match"] == expected


def test_what_nobody_compared_does_not_pass() -> None:
    broken = BackendRun(name="oracle", title="oracle", device="", status="failed", detail="cannot read it")
    assert sentences(run(fidelity=(), constants=None, backends=(broken,))) == {
        "code_match": "codes of ONNX Runtime could not be compared: cannot read it",
        "constants": "the file or the integer model could not be read: cannot read it",
    }


def test_what_is_allowed_names_the_grids_as_the_title_does() -> None:
    measured = run(accuracy={"float": score(0.9), "reference": score(0.7), "onnxruntime": score(0.7)})
    judged, _ = gates.check(measured, None, GatesConfig(), grids(4, average_bits=5))
    assert "are allowed at mixed-5bits:" in next(gate.sentence for gate in judged if gate.name == "accuracy_loss")


def test_the_title_names_the_grids_as_the_folder_does() -> None:
    mixed = BuildConfig.for_model("net", average_bits=5).quantize
    bits = Bits(weights=4, activations=4, first_last=8, grid=mixed.grid_name)
    assert text.title(report(run(), bits=bits)) == "net, mixed-5bits, ONNX Runtime"
    assert text.title(report(run())) == "net, W4A4, ONNX Runtime", "a report that was written without"


def test_integer_gate_names_layers() -> None:
    audit = [{"name": name, "op": "Conv", "integer": name == "x"} for name in ("x", "y", "z")]
    assert sentences(run(), audit=audit) == {"integer_share": "2 of 3 layers compute in float: y and z"}


def test_gates_that_were_asked_for_fail_when_unmeasured() -> None:
    found = sentences(run(), GatesConfig(min_speedup=1.5, max_size_share=0.2))
    assert found["speedup"] == "latency was not measured on this machine"
    assert "250 bytes" in found["size"]


def test_without_labels_accuracy_is_no_condition() -> None:
    judged, skipped = gates.check(
        run(evaluation=Evaluation(name="x", n=3, labelled=False), accuracy={}), None, GatesConfig(), grids(4)
    )
    assert "accuracy_loss" not in {gate.name for gate in judged}
    assert "has no labels" in next(item.reason for item in skipped if item.name == "accuracy_loss")


def report(measured: Verification, **changes: Any) -> Report:
    values: dict[str, Any] = {
        "model": "net", "target": "onnxruntime", "bits": Bits(weights=4, activations=4, first_last=8), "passed": True,
        "verdict": "", "accuracy": measured.accuracy, "agreement": measured.agreement, "latency": None,
        "size": measured.size, "gates": (), "not_gated": (), "run": measured, "elsewhere": (), "layers": (),
        "unquantized": (), "storage": {}, "calibration": {}, "config": {}, "stages": (), "command": "",
    }  # fmt: skip
    return Report(**{**values, **changes})


def test_compare_says_what_changed_beyond_chance() -> None:
    better = run(accuracy={"float": score(0.93), "reference": score(0.925), "onnxruntime": score(0.90)})
    rows = {row.name: row for row in compare.compare(report(run()), report(better, passed=False)).rows}
    assert rows["top-1, deployed"].better == 1
    assert rows["top-1, float"].better is None and rows["top-1, float"].change == "0.00 points"
    assert rows["verdict"].better == 1
    close = run(accuracy={"float": score(0.93), "onnxruntime": score(0.921)})
    row = next(r for r in compare.compare(report(run()), report(close)).rows if r.name == "top-1, deployed")
    assert row.better is None and "within chance" in row.change


def test_the_verdict_says_once_where_codes_first_differ() -> None:
    measured = run(fidelity=(codes(10),), agreement={"onnxruntime_vs_reference": 0.8})
    judged, _ = gates.check(measured, None, GatesConfig(), grids(4))
    assert _verdict(measured, "onnxruntime", None, judged) == (
        "ONNX Runtime and the reference differ on 2,000 of 10,000 images; codes first differ at layer1.act"
        " (the reason). 10 of 1,000 codes differ."
    )


def test_compare_notes_what_cannot_be_compared() -> None:
    elsewhere = run(machine=Machine(name="n", cpu="c", cores=2, memory_gib=4, system="s"))
    notes = compare.compare(report(run()), report(elsewhere, model="other")).notes
    assert any("networks differ" in note for note in notes)
    assert any("different machines" in note for note in notes)


@given(st.floats(0, 1, allow_nan=False))
def test_percent_never_rounds_up_to_all(share: float) -> None:
    shown = text.percent(share)
    assert (shown == "100.00 %") == (share == 1)


@pytest.mark.parametrize(
    ("count", "shown"), [(12, "12 bytes"), (1500, "1.50 kB"), (25_700_000, "25.7 MB"), (10**10, "10.0 GB")]
)
def test_byte_sizes(count: int, shown: str) -> None:
    assert text.byte_size(count) == shown


def test_signed_numbers_use_a_true_minus() -> None:
    assert text.signed(-1.25, 2) == "\N{MINUS SIGN}1.25"
    assert text.signed(-0.0001, 2) == "0.00"
    assert math.isclose(float(text.signed(2, 1)), 2.0)


def test_a_ranking_of_layers_is_drawn_and_tabled(tmp_path: Path) -> None:
    costs = tuple(LayerCost(name=f"layer{n}", weight_bits=4, activation_bits=None, kl=0.1 / n) for n in range(1, 41))
    measured = report(run(), sensitivity=costs, config={"seed": 0})
    page = html.render_html(measured, tmp_path)
    assert page.index("What each layer costs by itself") > page.index("Which layers are weak?")
    assert "1. layer1: KL 0.1 nats, 23 % of the sum over all layers" in page
    assert "The 10 cheapest are left out" in page and '<td class="name">layer40</td>' in page
    assert "What each layer costs" not in html.render_html(report(run(), config={"seed": 0}), tmp_path)


def test_figures_far_from_all_have_two_digits() -> None:
    judged, _ = gates.check(run(), None, GatesConfig(), grids(4))
    gate = judged[0].model_copy(update={"name": "code_match"})
    shown = [text.gate_value(gate, value) for value in (0.75233595, 0.9999, 0.999999, 0.99999942)]
    assert shown == ["75.23 %", "99.99 %", "99.9999 %", "99.999942 %"]


def test_a_speed_up_within_the_noise_is_none(tmp_path: Path) -> None:
    slow = Latency(
        float_ms=1.02, deployed_ms=1.0, speedup=1.02, noise=0.1, significant=False, threads=1, batch=1,
        float_runtime="onnxruntime", deployed_runtime="onnxruntime", method="m",
    )  # fmt: skip
    measured = run(latency=slow)
    whole = report(measured, latency=slow, config={"seed": 0})
    figure, context = next((figure, context) for what, figure, context in text.key_rows(whole) if what == "speed-up")
    assert figure == "none" and "within the noise of 10.0 %" in context
    page = html.render_html(whole, tmp_path)
    assert "no difference beyond the noise of 10.0 %" in page and "1.02×" not in page
    found = sentences(measured, GatesConfig(min_speedup=1.01))
    assert "speedup" in found

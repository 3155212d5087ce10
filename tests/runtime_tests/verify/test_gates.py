"""Gates name the figure or the layer."""

from genq_export.config.verify import GatesConfig
from runtime_tests.verify import gates
from runtime_tests.verify.gate import Gate
from runtime_tests.verify.results import BackendRun, Evaluation
from tests.runtime_tests.measured import SLOW, audited, codes, grids, messages, run, score


def test_accuracy_gate_blames_quantization_and_the_noisiest_layer() -> None:
    lost = run(accuracy={"float": score(0.93), "reference": score(0.90), "onnxruntime": score(0.90)})
    assert messages(run()) == {}
    assert messages(lost) == {
        "accuracy_loss": "top-1 fell by 3.00 points, 1.50 are allowed at W4A4: the reference already loses 3.00;"
        " the noisiest layer is b (5.5 dB)"
    }
    assert messages(lost, bits=3) == {}
    assert messages(lost, GatesConfig(max_accuracy_loss=3.01)) == {}


def test_accuracy_gate_blames_deployment() -> None:
    lost = run(
        accuracy={"float": score(0.93), "reference": score(0.929), "onnxruntime": score(0.80)},
        agreement={"onnxruntime_vs_reference": 0.8},
    )
    found = messages(lost)
    assert "12.90 of them between the reference and ONNX Runtime" in found["accuracy_loss"]
    assert found["agreement"] == "ONNX Runtime and the reference differ on 2,000 of 10,000 images"


def test_codes_gate_names_layer_and_reason() -> None:
    expected = "10 of 1,000 codes differ; codes first differ at layer1.act (the reason)"
    assert messages(run(fidelity=(codes(10),)))["code_match"] == expected


def test_what_nobody_compared_does_not_pass() -> None:
    broken = BackendRun(name="oracle", title="oracle", device="", status="failed", detail="cannot read it")
    assert messages(run(fidelity=(), constants=None, backends=(broken,))) == {
        "code_match": "codes of ONNX Runtime could not be compared: cannot read it",
        "constants": "the file or the integer model could not be read: cannot read it",
        "runtimes": "cannot read it",
    }


def test_what_is_allowed_names_the_grids_as_the_title_does() -> None:
    measured = run(accuracy={"float": score(0.9), "reference": score(0.7), "onnxruntime": score(0.7)})
    judged, _ = gates.check(measured, (), GatesConfig(), grids(4, average_bits=5))
    assert "are allowed at mixed-5bits:" in next(gate.message for gate in judged if gate.name == "accuracy_loss")


def test_integer_gate_names_layers() -> None:
    audit = tuple(audited(name, integer=name == "x") for name in ("x", "y", "z"))
    assert messages(run(), audit=audit) == {"integer_share": "2 of 3 layers compute in float: y and z"}


def test_layers_kept_in_float_on_purpose_do_not_count_against_the_file() -> None:
    audit = (audited("x", integer=True), audited("y", integer=False, on_purpose=True))
    assert messages(run(), audit=audit) == {}
    assert gates.integer_share(audit) == 1


def test_a_speed_up_within_the_noise_is_none() -> None:
    assert "speedup" in messages(run(latency=SLOW), GatesConfig(min_speedup=1.01))


def test_on_a_gpu_integers_have_to_be_faster_than_fp16() -> None:
    """A hair more is no reason for integers, since FP16 is closer to float."""
    on_gpu = SLOW.model_copy(update={"deployed_runtime": "tensorrt", "significant": True, "speedup": 1.01})
    found = messages(run(latency=on_gpu), GatesConfig())
    assert found["speedup"].endswith("in FP16: 1.01 times the speed; ship FP16, which is closer to float")
    fast = on_gpu.model_copy(update={"speedup": 1.03})
    assert "speedup" not in messages(run(latency=fast), GatesConfig())
    assert "speedup" not in messages(run(latency=SLOW), GatesConfig()), "on a CPU it is no condition"


def test_gates_of_an_earlier_release_are_read() -> None:
    old = {"name": "codes", "title": "t", "value": 1, "threshold": 1, "at_least": True, "passed": True, "sentence": "s"}
    gate = Gate.model_validate(old)
    assert gate.message == "s" and "message" in gate.model_dump() and "sentence" not in gate.model_dump()


def test_gates_that_were_asked_for_fail_when_unmeasured() -> None:
    found = messages(run(), GatesConfig(min_speedup=1.5, max_size_share=0.2))
    assert found["speedup"] == "latency was not measured on this machine"
    assert "250 bytes" in found["size"]


def test_without_labels_accuracy_is_no_condition() -> None:
    judged, skipped = gates.check(
        run(evaluation=Evaluation(name="x", n=3, labelled=False), accuracy={}), (), GatesConfig(), grids(4)
    )
    assert "accuracy_loss" not in {gate.name for gate in judged}
    assert "has no labels" in next(item.reason for item in skipped if item.name == "accuracy_loss")

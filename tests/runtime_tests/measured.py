"""A run and a report of it by hand, for tests that judge and render."""

from typing import Any

from export.audit.layer import LayerAudit
from genq_export.config.build import BuildConfig
from genq_export.config.quantize import QuantizeConfig
from genq_export.config.verify import GatesConfig
from runtime_tests.report.model import Bits, Report, Storage
from runtime_tests.verify import gates
from runtime_tests.verify.results import (
    BackendFidelity,
    Evaluation,
    Latency,
    LayerQuality,
    Machine,
    OutputDistance,
    PairedTest,
    Score,
    Size,
    Verification,
)
from runtime_tests.verify.speed import Speed

# As fast as float within the noise.
SLOW = Latency(
    float_ms=1.02, deployed_ms=1.0, speedup=1.02, noise=0.1, significant=False, threads=1, batch=1,
    float_runtime="onnxruntime", deployed_runtime="onnxruntime", method="m",
)  # fmt: skip
COST = PairedTest(first="float", second="onnxruntime", only_first=9, only_second=1, p_value=0.0215)


def no_speed(*_: object) -> Speed:
    """In the place of `measure_speed`, which takes its time."""
    return Speed()


def score(top1: float, n: int = 10000) -> Score:
    return Score(top1=top1, n=n, low=top1, high=top1)


def codes(differing: int) -> BackendFidelity:
    where = {"first_diverging": "layer1.act", "explanation": "the reason"} if differing else {"first_diverging": None}
    return BackendFidelity(
        backend="onnxruntime", against="oracle", images=2, codes=1000, differing=differing, largest=1,
        outputs_largest=0, quantizers=(), **where,
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
        "from_float": (
            OutputDistance(backend="reference", images="held-out", n=32, sqnr_db=20.0, cosine=0.99, agreement=1.0),
            OutputDistance(backend="onnxruntime", images="held-out", n=32, sqnr_db=20.0, cosine=0.99, agreement=1.0),
        ),
        "size": Size(float_bytes=1000, deployed_bytes=250),
        "constants": (),
        "fidelity": (codes(0),),
    }
    return Verification(**{**values, **changes})


def grids(bits: int, **options: Any) -> QuantizeConfig:
    return BuildConfig.for_model("net", bits=bits, **options).quantize


def audited(name: str, integer: bool, **changes: Any) -> LayerAudit:
    return LayerAudit(name=name, op="Conv", integer=integer, detail="", **changes)


def messages(
    measured: Verification,
    config: GatesConfig | None = None,
    bits: int = 4,
    audit: tuple[LayerAudit, ...] = (),
) -> dict[str, str]:
    """Of the gates that failed, by name."""
    judged, _ = gates.check(measured, audit, config or GatesConfig(), grids(bits))
    return {gate.name: gate.message for gate in judged if not gate.passed}


def report(measured: Verification, **changes: Any) -> Report:
    values: dict[str, Any] = {
        "model": "net", "target": "onnxruntime", "bits": Bits(weights=4, activations=4, first_last=8), "passed": True,
        "verdict": "", "measured_here": True, "heading": "",
        "accuracy": measured.accuracy, "agreement": measured.agreement, "latency": None,
        "size": measured.size, "gates": (), "not_gated": (), "run": measured, "elsewhere": (), "layers": (),
        "unquantized": (), "storage": Storage(), "calibration": None, "config": {"seed": 0}, "stages": (),
        "command": "",
    }  # fmt: skip
    return Report(**{**values, **changes})

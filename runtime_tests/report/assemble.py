"""The report object: what the manifest and `verify.json` hold, put together and judged. Nothing is measured here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from genq_export import targets
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.workspace import Workspace
from genq_export.runtimes import runtime
from runtime_tests.report.reproduce import command
from runtime_tests.verify import gates
from runtime_tests.verify.gates import Gate, Ungated
from runtime_tests.verify.results import Frozen, Latency, Score, Size, Verification, VerifyFile

REPORT_VERSION = 1
VERIFY_FILE = "verify.json"


class Bits(Frozen):
    """Grid bits of weights and activations, and of the first and the last layer."""

    weights: int
    activations: int
    first_last: int
    grid: str = Field("", description="`W4A4`, or what mixed precision was given; empty in earlier reports")

    @property
    def name(self) -> str:
        """How people call these grids."""
        return self.grid or f"W{self.weights}A{self.activations}"


class LayerFacts(Frozen):
    """One quantized layer: its grid, and how the deployed file computes it (None: the export left no audit)."""

    name: str
    op: str
    weight_bits: int | None = None
    input_bits: int | None = None
    input_signed: bool | None = None
    weight_shape: tuple[int, ...] = ()
    integer: bool | None = None
    detail: str = ""


class Unquantized(Frozen):
    """An operator that stayed in float, and why."""

    name: str
    op: str
    reason: str


class LayerCost(Frozen):
    """What quantizing one layer alone costs: mean KL(float ‖ float with that layer quantized), nats.

    None: that side stayed in float.
    """

    name: str
    weight_bits: int | None = None
    activation_bits: int | None = None
    kl: float


class StageFacts(Frozen):
    """When, where and with what one stage ran."""

    name: str
    finished: str
    seconds: float
    peak_memory_mib: float | None
    machine: str
    versions: dict[str, str]
    outputs: dict[str, str]


class Report(Frozen):
    """Everything a build says about itself; `report.json` is this object (schema: report.schema.json)."""

    version: Literal[1] = 1
    model: str
    target: str
    bits: Bits
    passed: bool
    verdict: str
    accuracy: dict[str, Score] = Field(description="top-1 as a share in [0, 1] by backend; empty without labels")
    agreement: dict[str, float] = Field(description="share of images with the same top-1 class, `a_vs_b`")
    latency: Latency | None = Field(description="None: not measured on this machine; `notes` says why")
    size: Size | None
    gates: tuple[Gate, ...]
    not_gated: tuple[Ungated, ...]
    run: Verification = Field(description="the newest run, all that it measured")
    elsewhere: tuple[Verification, ...] = Field(description="the newest run of every other machine")
    layers: tuple[LayerFacts, ...]
    unquantized: tuple[Unquantized, ...]
    sensitivity: tuple[LayerCost, ...] = Field((), description="most expensive layer first; empty: not measured")
    storage: dict[str, Any]
    calibration: dict[str, Any]
    config: dict[str, Any]
    stages: tuple[StageFacts, ...]
    command: str


def read_verification(workspace: Workspace) -> VerifyFile:
    """`verify.json`. Raises UserError where it is missing, damaged or of another version."""
    path = workspace.path(VERIFY_FILE)
    try:
        return VerifyFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{workspace.folder} has no {VERIFY_FILE}: run `genq-export verify` first") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "file"
        raise UserError(f"{path} is damaged or of another version ({field}: {first['msg']}): verify again") from None


def read_report(folder: Path) -> Report:
    """`report.json` of a build folder. Raises UserError where it is missing, damaged or of another version."""
    path = folder / "report.json"
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError:
        raise UserError(f"{folder} has no report.json: run `genq-export report` there first") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "file"
        raise UserError(f"{path} is not a report of version {REPORT_VERSION} ({field}: {first['msg']})") from None


def assemble(workspace: Workspace, config: BuildConfig) -> Report:
    """Put the report together from the files of the build folder. Raises UserError where verify has not run."""
    verification = read_verification(workspace)
    if not verification.runs:
        raise UserError(f"{workspace.path(VERIFY_FILE)} holds no run: verify again")
    run = verification.runs[-1]
    quantized, exported = _summary(workspace, "quantize"), _summary(workspace, "export")
    audit = exported.get("audit") or None
    bits = Bits(
        weights=config.quantize.weight_bits,
        activations=config.quantize.activation_bits,
        first_last=config.quantize.first_last_bits,
        grid=config.quantize.grid_name,
    )
    passed_gates, skipped = gates.check(run, audit, config.verify.gates, config.quantize)
    passed = all(gate.passed for gate in passed_gates)
    return Report(
        model=config.model.name,
        target=config.target,
        bits=bits,
        passed=passed,
        verdict=_verdict(run, config.target, audit, passed_gates),
        accuracy=run.accuracy,
        agreement=run.agreement,
        latency=run.latency,
        size=run.size,
        gates=passed_gates,
        not_gated=skipped,
        run=run,
        elsewhere=verification.runs[:-1],
        layers=_layers(quantized, audit),
        unquantized=tuple(_unquantized(entry) for entry in quantized.get("unquantized") or ()),
        sensitivity=_sensitivity(quantized),
        storage={key: exported[key] for key in ("storage", "files", "opset", "ir_version") if key in exported},
        calibration=_summary(workspace, "calibrate"),
        config=config.model_dump(mode="json"),
        stages=_stages(workspace),
        command=command(config),
    )


def _verdict(run: Verification, target: str, audit: list[Mapping[str, Any]] | None, judged: tuple[Gate, ...]) -> str:
    """One or two sentences: the failed gates, or what the build achieved."""
    failed = [gate.sentence for gate in judged if not gate.passed]
    if failed:
        where = gates.first_divergence(run)
        told = next((number for number, sentence in enumerate(failed) if where and where in sentence), len(failed))
        # Where codes first differ explains several gates; once is enough.
        said = [sentence.replace(where, "") if number > told else sentence for number, sentence in enumerate(failed)]
        return " ".join(sentence[0].upper() + sentence[1:] + "." for sentence in said)
    made_for = targets.target(target)
    stands_in = run.deployed == made_for.stand_in
    parts = []
    loss = gates.accuracy_loss(run)
    if loss is not None:
        score = run.accuracy[run.deployed]
        moved = "loses" if loss >= 0 else "gains"
        parts.append(f"reaches {100 * score.top1:.2f} % top-1 and {moved} {abs(loss):.2f} points against float")
    elif f"{run.deployed}_vs_float" in run.agreement:
        parts.append(f"agrees with float on {100 * run.agreement[f'{run.deployed}_vs_float']:.2f} % of the images")
    if run.latency is not None:
        parts.append(_speed(run.latency))
    if run.size is not None:
        parts.append(f"is {run.size.float_bytes / run.size.deployed_bytes:.1f} times smaller")
    share = gates.integer_share(audit)
    if share is not None and audit is not None:
        integer = sum(bool(entry.get("integer")) for entry in audit)
        done = f"all {len(audit)}" if integer == len(audit) else f"{integer} of {len(audit)}"
        parts.append(f"{'has' if stands_in else 'computes'} {done} layers in integers")
    if not parts:
        return "Nothing could be measured on this machine."
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    if stands_in:
        return f"The {made_for.title} file, computed as written by {runtime(run.deployed).product}, {listed}."
    return f"The deployed network {listed}."


def _speed(latency: Latency) -> str:
    if not latency.significant:
        return "is as fast as float within the noise"
    if latency.speedup >= 1:
        return f"runs {latency.speedup:.2f} times as fast"
    return f"runs slower than float ({latency.speedup:.2f} times its speed)"


def _summary(workspace: Workspace, stage: str) -> dict[str, Any]:
    """Facts of a stage, empty where it has not run: the report then says so in their place."""
    record = workspace.read_manifest()["stages"].get(stage)
    return dict(record["summary"]) if record is not None else {}


def _layers(quantized: Mapping[str, Any], audit: list[Mapping[str, Any]] | None) -> tuple[LayerFacts, ...]:
    audited = {str(entry.get("name")): entry for entry in audit or ()}
    listed = [dict(layer) for layer in quantized.get("layers") or ()]
    named = {str(layer.get("name")) for layer in listed}
    listed += [{"name": name, "op": entry.get("op", "")} for name, entry in audited.items() if name not in named]
    found = []
    for layer in listed:
        entry = audited.get(str(layer.get("name")), {})
        found.append(
            LayerFacts(
                name=str(layer.get("name")),
                op=str(layer.get("op", "")),
                weight_bits=layer.get("weight_bits"),
                input_bits=layer.get("input_bits"),
                input_signed=layer.get("input_signed"),
                weight_shape=tuple(layer.get("weight_shape") or ()),
                integer=entry.get("integer"),
                detail=str(entry.get("detail", "")),
            )
        )
    return tuple(found)


def _sensitivity(quantized: Mapping[str, Any]) -> tuple[LayerCost, ...]:
    rows = [
        LayerCost(
            name=str(entry["name"]),
            weight_bits=entry.get("weight_bits"),
            activation_bits=entry.get("activation_bits"),
            kl=float(entry["kl"]),
        )
        for entry in quantized.get("sensitivity") or ()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.kl, row.name)))


def _unquantized(entry: Mapping[str, Any]) -> Unquantized:
    return Unquantized(name=str(entry.get("name")), op=str(entry.get("op", "")), reason=str(entry.get("reason", "")))


def _stages(workspace: Workspace) -> tuple[StageFacts, ...]:
    records = workspace.read_manifest()["stages"]
    order = [name for name in ("calibrate", "quantize", "export", "verify") if name in records]
    return tuple(
        StageFacts(
            name=name,
            finished=str(records[name].get("finished", "")),
            seconds=float(records[name].get("seconds", 0.0)),
            peak_memory_mib=records[name].get("peak_memory_mib"),
            machine=str(records[name].get("machine", "")),
            versions=dict(records[name].get("versions", {})),
            outputs=_few(records[name].get("outputs", {})),
        )
        for name in order
    )


def _few(outputs: Mapping[str, str]) -> dict[str, str]:
    """Single files only: the hashes of a thousand images belong in the manifest."""
    return {name: digest for name, digest in outputs.items() if "/" not in name}

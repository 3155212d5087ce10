"""The report put together from what the stages and `verify` left, and judged. Nothing is measured here."""

from collections.abc import Mapping

from export.audit.layer import LayerAudit
from export.summary import ExportSummary
from genq_export.config.build import BuildConfig
from genq_export.core.errors import UserError
from genq_export.core.manifest import StageRecord
from genq_export.core.workspace import Workspace
from genq_export.quantization.summary import QuantizeSummary
from runtime_tests.report.deployed_graph import deployed_graph
from runtime_tests.report.model import (
    Bits,
    LayerCost,
    LayerFacts,
    Report,
    StageFacts,
    Storage,
    Unquantized,
    provenance,
)
from runtime_tests.report.reproduce import command
from runtime_tests.report.stage_summaries import read_records, read_summaries
from runtime_tests.report.verdict import verdict
from runtime_tests.verify import gates
from runtime_tests.verify.measured_here import is_measured_here
from runtime_tests.verify.verify_file import VERIFY_FILE, read_verification

_STAGES = ("calibrate", "quantize", "export", "verify")


def assemble(workspace: Workspace, config: BuildConfig) -> Report:
    """Put the report together from the files of the build folder.

    Raises:
        UserError: Verify has not run, or what a stage left is damaged.
    """
    measured = read_verification(workspace)
    if not measured.runs:
        raise UserError(f"{workspace.path(VERIFY_FILE)} holds no run: verify again")
    run = measured.runs[-1]
    summaries = read_summaries(workspace)
    quantized, exported = summaries.quantize, summaries.export
    audit = exported.audit if exported is not None else ()
    judged, skipped = gates.check(run, audit, config.verify.gates, config.quantize)
    return Report(
        model=config.model.title,
        target=config.target,
        bits=_bits(config),
        passed=all(gate.passed for gate in judged),
        verdict=verdict(run, config.target, audit, judged),
        **provenance(run),
        accuracy=run.accuracy,
        agreement=run.agreement,
        latency=run.latency,
        size=run.size,
        gates=judged,
        not_gated=skipped,
        run=run,
        elsewhere=measured.runs[:-1],
        elsewhere_measured_here=tuple(is_measured_here(other) for other in measured.runs[:-1]),
        devices=measured.devices,
        layers=_layers(quantized, audit),
        graph=deployed_graph(workspace.path("model.onnx"), quantized),
        unquantized=_unquantized(quantized),
        relu_refit=quantized.relu_refit if quantized is not None else (),
        sensitivity=_sensitivity(quantized),
        storage=_storage(exported),
        calibration=summaries.calibrate,
        config=config.model_dump(mode="json"),
        stages=_stages(read_records(workspace)),
        command=command(config),
    )


def _bits(config: BuildConfig) -> Bits:
    grids = config.quantize
    return Bits(
        weights=grids.weight_bits,
        activations=grids.activation_bits,
        first_last=grids.first_last_bits,
        grid=grids.grid_name,
    )


def _layers(quantized: QuantizeSummary | None, audit: tuple[LayerAudit, ...]) -> tuple[LayerFacts, ...]:
    """Every quantized layer with its audit, then what else was audited."""
    audited = {layer.name: layer for layer in audit}
    found = []
    for layer in quantized.layers if quantized is not None else ():
        seen = audited.pop(layer.name, None)
        found.append(
            LayerFacts(
                name=layer.name,
                op=layer.op,
                weight_bits=layer.weight_bits,
                input_bits=layer.input_bits,
                input_signed=layer.input_signed,
                weight_shape=layer.weight_shape,
                integer=seen.integer if seen is not None else None,
                detail=seen.detail if seen is not None else "",
            )
        )
    found += [
        LayerFacts(name=name, op=layer.op, integer=layer.integer, detail=layer.detail)
        for name, layer in audited.items()
    ]
    return tuple(found)


def _unquantized(quantized: QuantizeSummary | None) -> tuple[Unquantized, ...]:
    listed = quantized.unquantized if quantized is not None else ()
    return tuple(Unquantized(name=item.name, op=item.op, reason=item.reason) for item in listed)


def _sensitivity(quantized: QuantizeSummary | None) -> tuple[LayerCost, ...]:
    costs = quantized.sensitivity if quantized is not None else ()
    rows = (
        LayerCost(name=cost.name, weight_bits=cost.weight_bits, activation_bits=cost.activation_bits, kl=cost.kl)
        for cost in costs
    )
    return tuple(sorted(rows, key=lambda row: (-row.kl, row.name)))


def _storage(exported: ExportSummary | None) -> Storage:
    if exported is None:
        return Storage()
    return Storage(
        storage=exported.storage,
        files=exported.files,
        opset=exported.opset,
        ir_version=exported.ir_version,
        taken_by=exported.taken_by,
        preprocessing=exported.preprocessing,
        free_size=exported.free_size,
        other_sizes=exported.other_sizes,
    )


def _stages(records: Mapping[str, StageRecord]) -> tuple[StageFacts, ...]:
    return tuple(
        StageFacts(
            name=name,
            finished=record.finished,
            seconds=record.seconds,
            peak_memory_mib=record.peak_memory_mib,
            machine=record.machine,
            versions=record.versions,
            outputs=_few(record.outputs),
        )
        for name in _STAGES
        if (record := records.get(name)) is not None
    )


def _few(outputs: Mapping[str, str]) -> dict[str, str]:
    """Single files only: the hashes of a thousand images belong in the manifest."""
    return {name: digest for name, digest in outputs.items() if "/" not in name}

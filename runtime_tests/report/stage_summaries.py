"""What the earlier stages hand to the report: the manifest's summaries as typed models, validated here alone.

A stage that has not run has no summary; one that is damaged is refused with the stage and the field.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from genq_export.core.errors import UserError
from genq_export.core.workspace import Workspace
from runtime_tests.verify.results import Frozen, damaged_field

Setting = bool | int | float | str | None


class ClassCount(Frozen):
    """Images of one class; no label where the set has no classes."""

    label: int | None
    name: str
    kept: int
    drawn: int


class Histogram(Frozen):
    """Counts of kept and of dropped images in equal steps of a score from `low` to `high`."""

    low: float
    high: float
    kept: tuple[int, ...]
    dropped: tuple[int, ...]


class CalibrateSummary(Frozen):
    """Facts of a calibration set; of one that was made before only its place and size are known."""

    model: str | None = None
    generator: str
    license: str | None = None
    seed: int | None = None
    sampler: dict[str, Setting] = Field(default_factory=dict)
    kept: int
    drawn: int | None = None
    real: int = 0
    images_per_second: float | None = None
    reasons: dict[str, int] = Field(default_factory=dict)
    classes: tuple[ClassCount, ...] = ()
    classes_thin: tuple[str, ...] = ()
    classes_dry: tuple[str, ...] = ()
    filters: dict[str, Setting] = Field(default_factory=dict)
    histograms: dict[str, Histogram] = Field(default_factory=dict)


class _Part(BaseModel):
    """A part of a summary that the report does not show in full."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class LayerGrid(_Part):
    """Grids of a quantized layer and of its input; `weight_shape` has output channels first."""

    name: str
    op: str
    weight_bits: int
    input_bits: int
    input_signed: bool
    weight_shape: tuple[int, ...]


class UnquantizedOperator(_Part):
    """An operator that computes in float, and why."""

    name: str
    op: str
    reason: str


class LayerCost(_Part):
    """KL(float ‖ float with one layer quantized) in nats; None: that side stayed in float."""

    name: str
    weight_bits: int | None
    activation_bits: int | None
    kl: float


class QuantizeSummary(_Part):
    """Grids, operators left in float, and the cost of each layer where it was measured."""

    layers: tuple[LayerGrid, ...]
    unquantized: tuple[UnquantizedOperator, ...] = ()
    sensitivity: tuple[LayerCost, ...] = ()


class LayerAudit(_Part):
    """How the deployed file computes a layer; on_purpose: the config keeps it in float."""

    name: str
    op: str
    integer: bool
    detail: str
    on_purpose: bool = False


class Widths(_Part):
    """Grid, storage and compute: three different widths. weights: narrowest container that weights lie in."""

    grid: str
    weights: str
    activations: str
    compute: str


class ExportSummary(_Part):
    """The audit of the deployed file, its containers, and the bytes of each file."""

    audit: tuple[LayerAudit, ...]
    opset: int
    ir_version: int
    files: dict[str, int]
    storage: Widths


class StageRecord(_Part):
    """A finished stage as the manifest has it."""

    finished: str
    seconds: float
    peak_memory_mib: float | None = None
    machine: str
    versions: dict[str, str]
    outputs: dict[str, str]
    summary: dict[str, Any]


@dataclass(frozen=True)
class StageSummaries:
    """What each stage handed on; None where it has not run."""

    calibrate: CalibrateSummary | None
    quantize: QuantizeSummary | None
    export: ExportSummary | None


Model = TypeVar("Model", bound=BaseModel)


def read_summaries(workspace: Workspace) -> StageSummaries:
    """Summaries of the stages in front of `verify`.

    Raises:
        UserError: One of them is damaged.
    """
    records = read_records(workspace)
    return StageSummaries(
        _summary(workspace, records, "calibrate", CalibrateSummary),
        _summary(workspace, records, "quantize", QuantizeSummary),
        _summary(workspace, records, "export", ExportSummary),
    )


def read_records(workspace: Workspace) -> dict[str, StageRecord]:
    """Every finished stage by name.

    Raises:
        UserError: A record is damaged.
    """
    stages = workspace.read_manifest()["stages"]
    return {name: _validated(workspace, name, StageRecord, content) for name, content in stages.items()}


def _summary(workspace: Workspace, records: dict[str, StageRecord], stage: str, model: type[Model]) -> Model | None:
    record = records.get(stage)
    return _validated(workspace, stage, model, record.summary) if record is not None else None


def _validated(workspace: Workspace, stage: str, model: type[Model], content: object) -> Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(
            f"the manifest of {workspace.folder} is damaged at stage '{stage}' ({damaged_field(error)}):"
            f" run `genq-export {stage}` again"
        ) from None

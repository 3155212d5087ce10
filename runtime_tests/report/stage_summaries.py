"""What the earlier stages hand to the report: the manifest's summaries as typed models, validated here alone.

A stage that has not run has no summary; one that is damaged is refused with the stage and the field.
"""

from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from calibrate.summary import CalibrateSummary
from genq_export.core.errors import UserError
from genq_export.core.manifest import StageRecord
from genq_export.core.workspace import Workspace
from genq_export.quantize.summary import QuantizeSummary
from runtime_tests.verify.results import damaged_field


class _Part(BaseModel):
    """A part of a summary that the report does not show in full."""

    model_config = ConfigDict(frozen=True, extra="ignore")


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
    return workspace.read_manifest().stages


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

"""What the earlier stages hand to the report: the manifest's summaries as typed models, validated here alone.

A stage that has not run has no summary; one that is damaged is refused with the stage and the field.
"""

from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from calibrate.summary import CalibrateSummary
from export.summary import ExportSummary
from genq_export.core.damaged_field import damaged_field
from genq_export.core.errors import UserError
from genq_export.core.manifest import StageRecord
from genq_export.core.workspace import Workspace
from genq_export.quantization.summary import QuantizeSummary


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

"""The report as an object: the content of `report.json`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from calibrate.summary import CalibrateSummary
from export.summary import AtOtherSize, Widths
from genq_export.core.damaged_field import damaged_field
from genq_export.core.errors import UserError
from genq_export.core.paths import refuse_links
from genq_export.network.free_size import FreeSize
from genq_export.quantization.summary import RefittedMlp
from runtime_tests.verify.gate import Gate, Ungated
from runtime_tests.verify.measured_here import is_measured_here
from runtime_tests.verify.results import DeviceResult, Frozen, Latency, Score, Size, Verification

REPORT_VERSION = 1


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


class TensorFacts(Frozen):
    """One step of the deployed graph: a quantized tensor, or a layer whose result no quantizer reads.

    reads: the steps it is computed from; none: the input. layers: convolutions and products between these and it.
    """

    name: str
    reads: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    bits: int | None = None


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


class Storage(Frozen):
    """The deployed files: containers, bytes by name, and versions of the format; None and empty before the export."""

    storage: Widths | None = None
    files: dict[str, int] = Field(default_factory=dict)
    opset: int | None = None
    ir_version: int | None = None
    taken_by: str | None = Field(None, description="versions of the runtime that take the file; none: not known")
    preprocessing: str = Field("", description="what happens to a picture before the network; empty in earlier builds")
    free_size: FreeSize | None = Field(None, description="in which other sizes images are taken; None: in none")
    other_sizes: tuple[AtOtherSize, ...] = Field((), description="codes of the file against the oracle's there")


class Report(Frozen):
    """Everything a build says about itself; `report.json` is this object (schema: report.schema.json)."""

    version: Literal[1] = 1
    model: str
    target: str
    bits: Bits
    passed: bool
    verdict: str
    measured_here: bool = Field(False, description="on the machine that wrote or reads this; others only report")
    heading: str = Field(
        "Reported by an earlier release, not measured here", description="over all figures; empty: measured here"
    )
    accuracy: dict[str, Score] = Field(description="top-1 as a share in [0, 1] by backend; empty without labels")
    agreement: dict[str, float] = Field(description="share of images with the same top-1 class, `a_vs_b`")
    latency: Latency | None = Field(description="None: not measured on this machine; `notes` says why")
    size: Size | None
    gates: tuple[Gate, ...]
    not_gated: tuple[Ungated, ...]
    run: Verification = Field(description="the newest run, all that it measured")
    elsewhere: tuple[Verification, ...] = Field(description="the newest run of every other machine")
    elsewhere_measured_here: tuple[bool, ...] = Field((), description="which of these this machine measured")
    devices: tuple[DeviceResult, ...] = Field((), description="what the check found on other devices, as reported")
    layers: tuple[LayerFacts, ...]
    graph: tuple[TensorFacts, ...] = Field((), description="of the deployed file, in order; empty: not known")
    unquantized: tuple[Unquantized, ...]
    relu_refit: tuple[RefittedMlp, ...] = ()
    sensitivity: tuple[LayerCost, ...] = Field((), description="most expensive layer first; empty: not measured")
    storage: Storage
    calibration: Annotated[CalibrateSummary | None, BeforeValidator(lambda value: value or None)] = Field(
        description="None: the folder says nothing about calibration data"
    )
    config: dict[str, Any]
    stages: tuple[StageFacts, ...]
    command: str


def read_report(folder: Path) -> Report:
    """`report.json` of a build folder; whether its figures were measured here is not taken from the file.

    Raises:
        UserError: The file is missing, damaged or of another version.
    """
    path = folder / "report.json"
    if folder.is_dir():
        refuse_links(folder)
    try:
        report = Report.model_validate_json(path.read_bytes())
    except OSError:
        raise UserError(f"{folder} has no report.json: run `genq-export report` there first") from None
    except ValidationError as error:
        where = damaged_field(error)
        raise UserError(f"{path} is not a report of version {REPORT_VERSION} ({where})") from None
    return report.model_copy(update=provenance(report.run))


def provenance(run: Verification) -> dict[str, Any]:
    """`measured_here` and `heading` of a report of this run, as this machine may say."""
    if is_measured_here(run):
        return {"measured_here": True, "heading": ""}
    where, day = run.machine.name or "an unnamed machine", run.date[:10] or "an unknown day"
    return {"measured_here": False, "heading": f"Reported by {where} on {day}, not measured here"}

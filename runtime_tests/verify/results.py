"""What one verification run measured, as frozen models: the content of `verify.json`.

A field that is None was not measured on this machine; the report says so and never guesses. Fields that earlier
releases wrote under another name are read under both.
"""

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from genq_export.network.outputs import LOGITS

# Keys of results that every verification has beside its runtimes.
FLOAT = "float"
REFERENCE = "reference"
UNQUANTIZED = "reference in float"  # its quantizers off

BackendStatus = Literal["ok", "failed", "refused", "missing"]


class Frozen(BaseModel):
    """Base of every result: immutable, and nothing that is not listed."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Machine(Frozen):
    """Where a run took place."""

    name: str
    cpu: str
    cores: int
    memory_gib: float
    system: str
    gpu: str | None = None


class BackendRun(Frozen):
    """One runtime: what it is and whether it got through the evaluation set.

    status: "failed" where it died, hung, or stopped in the middle; "refused" where it does not take the file.
    """

    name: str
    title: str
    device: str
    status: BackendStatus
    detail: str = ""
    seconds: float | None = None
    non_finite: int = 0


class Evaluation(Frozen):
    """The images that accuracy and agreement were measured on."""

    name: str
    n: int
    labelled: bool
    class_names: tuple[str, ...] | None = None
    class_counts: tuple[int, ...] | None = None


class Score(Frozen):
    """Top-1 of one backend as a share in [0, 1], its 95 % Wilson interval, top-5, and correct images by class."""

    top1: float
    n: int
    low: float
    high: float
    top5: float | None = None
    correct_by_class: tuple[int, ...] | None = None


class PairedTest(Frozen):
    """McNemar: images that only one of the two classifies correctly, and the p-value of that being chance."""

    first: str
    second: str
    only_first: int
    only_second: int
    p_value: float


class ConfusionChange(Frozen):
    """How many more (or fewer) images of one class are taken for another after quantization."""

    truth: str
    predicted: str
    float_count: int
    deployed_count: int


class CodeDifference(Frozen):
    """Codes of one quantizer in one backend against the oracle.

    own: differing codes of images in which every quantizer that feeds this one agrees; inherited: the others.
    clean_images: how many images had identical inputs here, that is, could show an own difference. at_origin: codes
    that differ where every quantizer in front hands on the backend's own codes, on all images; ties: those of them that
    lie where two codes meet. Both None in a run of an earlier release.
    """

    name: str
    inputs: tuple[str, ...]
    codes: int
    differing: int
    largest: int
    own: int
    inherited: int
    clean_images: int
    images_differing: int
    at_origin: int | None = None
    ties: int | None = None
    channels: tuple[int, ...] = ()

    @property
    def unexplained(self) -> int:
        """Codes that differ by themselves and are no rounding ties."""
        return (self.at_origin or 0) - (self.ties or 0)


class BackendFidelity(Frozen):
    """Code by code: one backend against the oracle (or the reference where the file has no oracle).

    outputs_largest: largest difference of outputs. outputs_sqnr_db: signal to noise of the output that is furthest from
    the other's, 300 where none differs; None in a run of an earlier release. probe_output_shift: how far outputs move
    when codes are made outputs of the graph; above zero, the runtime computes differently while it is watched.
    probe_effect: why, where an experiment says.
    """

    backend: str
    against: str
    images: int
    codes: int
    differing: int
    largest: int
    first_diverging: str | None
    missing: tuple[str, ...] = ()
    outputs_largest: float = Field(validation_alias=AliasChoices("outputs_largest", "logits_largest"))
    outputs_sqnr_db: float | None = None
    probe_output_shift: float = Field(
        0.0, validation_alias=AliasChoices("probe_output_shift", "probe_logit_shift", "watching_moved")
    )
    quantizers: tuple[CodeDifference, ...]
    explanation: str | None = None
    probe_effect: str | None = Field(None, validation_alias=AliasChoices("probe_effect", "unwatched"))
    evidence: tuple[str, ...] = ()

    @property
    def match(self) -> float:
        """Share of equal codes."""
        return 1.0 if self.codes == 0 else 1 - self.differing / self.codes

    @property
    def at_origin(self) -> int | None:
        """Codes that differ by themselves; None where a run of an earlier release did not look."""
        counts = [item.at_origin for item in self.quantizers]
        return None if not counts or None in counts else sum(count or 0 for count in counts)

    @property
    def unexplained(self) -> int:
        """Differing codes that are of the file's own making and no rounding ties; all of an earlier release's run."""
        return self.differing if self.at_origin is None else sum(item.unexplained for item in self.quantizers)


class LayerQuality(Frozen):
    """One activation quantizer of the reference against the float network (None: no noise at all).

    sqnr_db: the network's quantized tensor against the float network's, everything before it included; own_sqnr_db:
    what this quantizer alone adds to its input; clipped: share of values outside the grid.
    """

    name: str
    sqnr_db: float | None
    own_sqnr_db: float | None
    cosine: float
    clipped: float


class OutputDistance(Frozen):
    """Outputs of one backend against the float network's on one set of images.

    images: "held-out" (synthetic, calibrated nothing), "calibration", "evaluation" or "random". output: its name.
    sqnr_db: None: no difference at all. agreement: share of equal top-1 classes where the output is logits.
    """

    backend: str
    images: str
    output: str = LOGITS
    n: int
    sqnr_db: float | None
    cosine: float
    agreement: float | None = None


class AnswerFigure(Frozen):
    """One number of a task: how near the answers of a backend are to the float network's on one set of images, or how
    right they are by its labels.

    name, title, unit: as the task gives them; a value of unit % is a share of 1.
    """

    backend: str
    images: str
    n: int
    name: str
    title: str
    value: float
    unit: str


class WeightRelation(Frozen):
    """What the codes of a layer keep of its float weight; None: the layer has no weight, or no bias, to compare.

    likeness: of a channel, the larger of the cosine of its codes and its float weight and the correlation of its output
    and float's on images; the least of all channels, and `channel`. exchanged: the two channels whose codes are most
    like each other's float weight, and by how much more than like their own, in cosine (below 0 no two are); of those
    whose output does not clearly move as float's. chance: how many pairs of the layer noise alone is expected to
    bring as near; None in a run of an earlier release. scale: median of the channels' scales to those searched anew.
    slope: of a channel's output to float's, median of the channels whose output clearly moves as float's. bias: norm of
    the bias to the float bias's.
    """

    likeness: float | None = None
    channel: int | None = None
    exchanged: tuple[int, int] | None = None
    exchange: float | None = None
    chance: float | None = None
    scale: float | None = None
    slope: float | None = None
    bias: float | None = None


class WeightQuality(Frozen):
    """The weight of one layer on its grid against the float weight, dB (None: equal).

    worst_db: of the output channel where it is least, `worst_channel`; None: equal, or a run of an earlier release.
    bias_db: of the bias against the float bias, None: equal, or the layer had none. relation: None in a run of an
    earlier release.
    """

    name: str
    bits: int
    sqnr_db: float | None
    worst_db: float | None = None
    worst_channel: int | None = None
    bias_db: float | None = None
    relation: WeightRelation | None = None


class RangeQuality(Frozen):
    """The scale of one activation quantizer, as a ratio to the one that is searched anew on the calibration images."""

    name: str
    bits: int
    ratio: float


class LatencyRow(Frozen):
    """One session under one setting: milliseconds a call over `runs` alternating calls.

    parts_ms: medians of the first and of the second half of the calls, and of every other one from the first and from
    the second. cuda_graph: did each call replay a CUDA graph; None where nothing ran on a GPU.
    """

    runtime: str
    variant: Literal["float", "deployed", "deployed again"]
    batch: int
    threads: int
    runs: int
    median_ms: float
    p90_ms: float
    p99_ms: float
    images_per_second: float
    parts_ms: tuple[float, ...] = ()
    cuda_graph: bool | None = None


class Latency(Frozen):
    """Float against deployed on this machine.

    `significant` is False where the difference is no larger than the noise. memory: peak of a fresh process that loads
    the file and runs one image. load: of the file, by a runtime that is there. clocks: of the GPU before and after, as
    they were found; None on a CPU.
    """

    float_ms: float
    deployed_ms: float
    speedup: float
    noise: float
    significant: bool
    threads: int
    batch: int
    float_runtime: str
    deployed_runtime: str
    method: str
    rows: tuple[LatencyRow, ...] = ()
    float_memory_mib: float | None = None
    deployed_memory_mib: float | None = None
    float_load_ms: float | None = None
    deployed_load_ms: float | None = None
    clocks: str | None = None


class Size(Frozen):
    """Bytes of the float32 and of the deployed network, both as ONNX files where both exist."""

    float_bytes: int
    deployed_bytes: int


class Verification(Frozen):
    """One run of `verify` on one machine.

    answers: what the task counts, of the reference and the deployed file, against float. against_labels: of float, too,
    against labelled boxes or masks. constants: how scales, codes and biases in
    the deployed file differ from the integer model, a sentence each. seconds: wall time of evaluation, fidelity,
    quality and latency.
    """

    machine: Machine
    date: str
    artefacts: dict[str, str]
    versions: dict[str, str]
    deployed: str
    evaluation: Evaluation | None
    backends: tuple[BackendRun, ...]
    accuracy: dict[str, Score] = {}
    agreement: dict[str, float] = {}
    divergence: dict[str, float] = {}
    cost: PairedTest | None = None
    confusion: tuple[ConfusionChange, ...] = ()
    fidelity: tuple[BackendFidelity, ...] = ()
    from_float: tuple[OutputDistance, ...] = ()
    task: str = "classification"
    answers: tuple[AnswerFigure, ...] = ()
    against_labels: tuple[AnswerFigure, ...] = ()
    layers: tuple[LayerQuality, ...] = ()
    weights: tuple[WeightQuality, ...] = ()
    ranges: tuple[RangeQuality, ...] = ()
    latency: Latency | None = None
    size: Size | None = None
    constants: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = {}


ShortText = Annotated[str, Field(max_length=500)]
Count = Annotated[int, Field(ge=0, le=10**9)]
Number = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]


class CallTimes(Frozen):
    """Milliseconds of a call."""

    median: Number
    p90: Number


class DeviceResult(Frozen):
    """What the check of a build found on another device, as its programs write it.

    model, golden: sha256 of what was checked. received: the day on which it was taken into the build. compared_by:
    "host" where the device sent its codes of fresh images and did not know what was expected.
    """

    format: Literal[1]
    verdict: Literal["same codes", "same within its tolerance", "other codes"]
    images: Count
    outputs_equal: bool
    outputs_largest_gap: Number
    same_answers: Count
    quantizers: Count
    quantizers_unlike: Count
    codes_equal: Annotated[float, Field(ge=0, le=1)]
    moved_by_watching: Number
    first_unlike: ShortText
    first_unlike_codes: Count
    first_unlike_by: Count
    model: ShortText
    golden: ShortText
    runtime: ShortText
    device: ShortText
    threads: Annotated[int, Field(ge=0, le=4096)]
    latency_ms: Annotated[dict[Literal["deployed", "float"], CallTimes], Field(max_length=2)]
    note: ShortText = ""
    received: ShortText = ""
    compared_by: Literal["device", "host"] = "device"


class VerifyFile(Frozen):
    """`verify.json`: the newest run of every machine on the same artefacts, oldest first, and what devices reported."""

    version: Literal[1] = 1
    runs: tuple[Verification, ...] = ()
    devices: tuple[DeviceResult, ...] = ()

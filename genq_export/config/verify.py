"""What the deployed file is held against, and what it must reach."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from genq_export.config.base import Frozen, OneOf, Option
from genq_export.config.registry import RUNTIMES

REFERENCES = ("reference", "oracle")  # computed here by torch, beside every runtime

Runtime = Annotated[str, OneOf("runtime", lambda: (*REFERENCES, *RUNTIMES))]
Batch = Annotated[int, Field(ge=1, le=65536)]


class GatesConfig(Frozen):
    """Thresholds a build must meet; None: chosen by bits (runtime_tests/verify/gates.py says how)."""

    max_accuracy_loss: float | None = Field(
        None, ge=-100, le=100, description="points of top-1, mAP or mIoU against float; None: by bits"
    )
    min_agreement: float = Field(0.999, ge=0, le=1, description="deployed file against reference, same top-1")
    min_float_sqnr: float | None = Field(
        None, ge=-300, le=300, description="dB of the outputs against float, on held-out images, too; None: by bits"
    )
    min_code_match: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of codes equal to the oracle's of the same inputs, or at rounding ties; None: by bits",
    )
    min_integer_share: float = Field(1.0, ge=0, le=1, description="share of convolutions and linears in integers")
    min_speedup: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="deployed against float latency; None: 1.02 against FP16 where that was measured on a GPU, else no"
        " condition",
    )
    max_size_share: float | None = Field(
        None, gt=0, le=1000, description="deployed bytes against float; None: not a condition"
    )


class VerifyConfig(Frozen):
    """What the deployed file is held against."""

    evaluation: Annotated[Path | None, Option(("build", "verify"), flags=("--eval",))] = Field(
        None,
        description="images to judge by: labelled folder, .tar shards, Hugging Face data set, boxes as COCO has them,"
        " masks (docs/your-data.md); without: the zoo's test set, if it is the model's",
    )
    labels: Annotated[Literal["index0", "index1"] | None, Option(("build", "calibrate", "verify", "inspect"))] = Field(
        None,
        description="numbers that label images count from 0 or from 1; without: labels are names, and numbers count"
        " only where exactly 0 to N-1 are there",
    )
    label_column: Annotated[str | None, Option(("build", "calibrate", "verify", "inspect"))] = Field(
        None, description="column or field of the labels of images, where there are several"
    )
    image_column: Annotated[str | None, Option(("build", "calibrate", "verify", "inspect"))] = Field(
        None, description="column of the images of a data set or table, where there are several"
    )
    latency_runs: int = Field(
        200, ge=10, le=1_000_000, description="timed calls of each of float and deployed, alternating"
    )
    latency_batches: tuple[Batch, ...] = Field(
        (1, 8, 32), min_length=1, max_length=64, description="timed; the main one first"
    )
    threads: int = Field(1, ge=1, le=4096, description="threads of the timed sessions")
    batch_size: int = Field(32, ge=1, le=65536, description="images computed together where nothing is timed")
    backends: Annotated[tuple[Runtime, ...] | None, Option(("verify",), flags=("--backend",))] = Field(
        None, description="runtimes to test beside reference, oracle and the target's; without: all that are here"
    )
    fidelity_images: int = Field(256, ge=1, le=10_000_000, description="images whose codes are compared one by one")
    time_limit: float = Field(120.0, gt=0, le=604_800, description="seconds a runtime may take over one request")
    gates: GatesConfig = GatesConfig()

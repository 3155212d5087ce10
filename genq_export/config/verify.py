"""What the deployed file is held against, and what it must reach."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from genq_export.config.base import Frozen


class GatesConfig(Frozen):
    """Thresholds a build must meet; None: chosen by bits (runtime_tests/verify/gates.py says how)."""

    max_accuracy_loss: float | None = Field(None, description="points of top-1 against float")
    min_agreement: float = Field(0.999, ge=0, le=1, description="deployed file against reference, same top-1")
    min_code_match: float | None = Field(
        None, ge=0, le=1, description="share of activation codes equal to the oracle's; None: by bits"
    )
    min_integer_share: float = Field(1.0, ge=0, le=1, description="share of convolutions and linears in integers")
    min_speedup: float | None = Field(None, gt=0, description="deployed against float latency; None: not a condition")
    max_size_share: float | None = Field(None, gt=0, description="deployed bytes against float; None: not a condition")


Runtime = Literal["reference", "oracle", "onnxruntime", "onnxruntime-unfused", "openvino", "tensorrt"]


class VerifyConfig(Frozen):
    """What the deployed file is held against."""

    evaluation: Path | None = Field(None, description="labelled images; None: the zoo's test set, if it is the model's")
    latency_runs: int = Field(200, ge=10, description="timed calls of each of float and deployed, alternating")
    latency_batches: tuple[PositiveInt, ...] = Field((1, 8, 32), min_length=1, description="timed; the main one first")
    threads: int = Field(1, ge=1, description="threads of the timed sessions")
    batch_size: int = Field(32, ge=1)
    backends: tuple[Runtime, ...] | None = Field(None, description="tested beside those of the verdict; None: all")
    fidelity_images: int = Field(256, ge=1, description="images whose codes are compared one by one")
    time_limit: float = Field(120.0, gt=0, description="seconds a runtime may take over one request")
    gates: GatesConfig = GatesConfig()
